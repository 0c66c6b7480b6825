"""What tells numbers multiplies in full float32 on every device; learning as it is asked."""

import functools
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from dbn_jax import (
    associative_memory,
    convolutional,
    data,
    dbn,
    joint,
    label_units,
    learning,
    networks,
    precision,
    rbm,
    recognition,
    temporal,
    units,
)
from dbn_jax.belief_nets import infinite, sbn, wake_sleep
from dbn_jax.data.patches import Whitening
from dbn_jax.embedding import affinities, logistic_pca, pairwise, pca
from dbn_jax.learning import bound_gradient, monitor, updown
from dbn_jax.likelihood import annealing, bound, evaluation, partition, pseudo_likelihood
from dbn_jax.temporal import evaluation as of_sequences
from tests import rounded_products
from tests.random_models import random_net, random_rbm
from tests.temporal import small_temporal

ROOT = pathlib.Path(__file__).parent.parent
HIGHEST = (jax.lax.Precision.HIGHEST,) * 2
BFLOAT16 = jax.lax.DotAlgorithmPreset.BF16_BF16_F32
KEY = jax.random.key(0)
V = jnp.zeros((2, 4))
X = jnp.linspace(0, 1, 24).reshape(6, 4)
LABELS = jnp.eye(3)[:2]
PARAMS = random_rbm((units.Bernoulli(), 4), (units.Bernoulli(), 3))
MAPS = convolutional.init_params(KEY, (2, 2, 1), 3, 1)
NET = random_net(0, (4, 3, 5), 3)
PLAIN = random_net(0, (4, 3, 5))
BETAS = jnp.linspace(0, 1, 4)
BELIEF = sbn.make(jnp.triu(jnp.ones((4, 4)), 1), jnp.zeros(4))
SEEN = np.array([False, False, True, True])
MACHINE = wake_sleep.init(KEY, (3, 4))
GRU = small_temporal.make("gru", dtype=jnp.float32)
CONDITIONAL = small_temporal.make("conditional", units.Gaussian(), dtype=jnp.float32)
FRAMES = small_temporal.draw(0, 5, dtype=jnp.float32)
MEMORIES = temporal.recall(KEY, GRU, FRAMES)[0]
PCA = pca.fit(X, 2)
LOGISTIC = logistic_pca.LogisticPCA(PCA.mean, PCA.components, jnp.float32(0.1))
WHITENING = Whitening(PCA.mean, PCA.components.T, PCA.variances)
LABELLED = learning.LabelledPCD(num_chains=3)
AUTOENCODER = networks.init_autoencoder(KEY, (4, 3, 2))


def some_energies(params):
    return rbm.energy(params, V, jnp.zeros((2, 3))), params.visible.energy(V)


# What tells a number, and whatever it takes.
FULL = {
    "rbm.energy": (some_energies, PARAMS),
    "rbm.free_energy": (rbm.free_energy, PARAMS, V),
    "rbm.free_energy of maps": (rbm.free_energy, MAPS, V),
    "joint.energy": (joint.energy, PLAIN, (V, jnp.zeros((2, 3)), jnp.zeros((2, 5)))),
    "label_units.free_energies": (label_units.free_energies, NET.top, jnp.zeros((2, 3))),
    "label_units.log_posterior": (label_units.log_posterior, NET.top, jnp.zeros((2, 3))),
    "classify": (associative_memory.classify, NET, V),
    "classify_by_sampling": (associative_memory.classify_by_sampling, KEY, NET, V),
    "classify_by_gibbs": (associative_memory.classify_by_gibbs, KEY, NET, V),
    "exact_log_partition": (partition.exact_log_partition, PARAMS),
    "its gradient": (jax.grad(partition.exact_log_partition), PARAMS),
    "log_likelihood": (partition.log_likelihood, PARAMS, V, jnp.float32(0)),
    "ais": (functools.partial(annealing.ais, betas=BETAS), KEY, PARAMS),
    "reverse_ais": (functools.partial(annealing.reverse_ais, betas=BETAS), KEY, PARAMS, V),
    "log_pseudo_likelihood": (
        functools.partial(pseudo_likelihood.log_pseudo_likelihood, num_units=2),
        KEY,
        PARAMS,
        V,
    ),
    "bound.sample_terms": (bound.sample_terms, KEY, NET, V, LABELS),
    "bound.exact": (bound.exact, NET, V, LABELS),
    "evaluation.log_ratios": (evaluation._log_ratios, KEY, (V, LABELS), NET, 2),
    "evaluation.top_states": (evaluation.top_states, KEY, NET, (V, LABELS)),
    "monitor.compare": (functools.partial(monitor.compare, two_valued=True), PARAMS, V, V),
    "monitor.log_likelihood": (
        functools.partial(monitor.log_likelihood, num_steps=3, num_chains=2),
        KEY,
        PARAMS,
        V,
        V,
    ),
    "reconstruction_error": (lambda v: networks.reconstruction_error(AUTOENCODER, v), V),
    "classifier_of": (lambda net: networks.classifier_of(net, 3).hidden[0].bias[...], NET),
    "temporal.log_probs": (temporal.log_probs, KEY, GRU, FRAMES),
    "temporal.ais_log_probs": (
        functools.partial(temporal.ais_log_probs, betas=BETAS, num_chains=2),
        KEY,
        GRU,
        MEMORIES,
        FRAMES,
    ),
    "predictions": (
        functools.partial(of_sequences._together, temporal.predict),
        KEY[None],
        GRU,
        [FRAMES[None]],
        None,
    ),
    "sbn.log_likelihood": (lambda x: sbn.log_likelihood(BELIEF, x, SEEN), V[0]),
    "sbn.posterior": (lambda x: sbn.posterior(BELIEF, x, SEEN), V[0]),
    "wake_sleep.bound": (wake_sleep.bound, MACHINE, V[0]),
    "infinite.kernel": (infinite.kernel, PARAMS),
    "infinite.spectrum": (infinite.spectrum, PARAMS),
    "infinite.equilibrium": (infinite.equilibrium, PARAMS),
    "infinite.laws": (lambda params: infinite.laws(params, jnp.ones(16) / 16, 2), PARAMS),
    "complementary_prior": (infinite.complementary_prior, PARAMS, V[0]),
    "infinite.gradient_terms": (lambda params: infinite.gradient_terms(params, V, 1), PARAMS),
    "pca.encode": (pca.encode, PCA, X),
    "pca.decode": (pca.decode, PCA, X[:, :2]),
    "logistic_pca.iteration": (
        logistic_pca._iterate,
        X,
        (LOGISTIC, X[:, :2]),
        (LOGISTIC, X[:, :2]),
        0.0,
    ),
    "logistic_pca.canonical": (logistic_pca._canonical, LOGISTIC, X[:, :2]),
    "logistic_pca.encode": (logistic_pca.encode, LOGISTIC, X),
    "logistic_pca.decode": (logistic_pca.decode, LOGISTIC, X[:, :2]),
    "pairwise.nearest": (pairwise.nearest, X),
    "affinities": (functools.partial(affinities._conditional, block=2), X, 2.0),
    "whitening": (lambda x: WHITENING.zca(WHITENING.whiten(WHITENING.unwhiten(x))), X[:, :2]),
    "fit_autoregression": (
        lambda v: temporal.fit_autoregression(CONDITIONAL, [v]),
        FRAMES,
    ),
}
# What learns, by the key of its randomness.
LEARNERS = {
    "rbm.cd_gradient": lambda key: rbm.cd_gradient(key, PARAMS, V),
    "rbm.cd_gradient of maps": lambda key: rbm.cd_gradient(key, MAPS, V),
    "labelled_pcd": lambda key: LABELLED.estimate(
        key, NET.top, LABELLED.init(key, NET.top), jnp.zeros((2, 6))
    ),
    "updown": lambda key: updown.gradient(
        key, dbn.untie(NET), V, LABELS, label_cost=1.0, adversarial_radius=1.0
    ),
    "bound_gradient": lambda key: bound_gradient.gradient(
        key, dbn.untie(PLAIN), None, V, learner=learning.CD()
    ),
    "temporal.cd_loss": lambda key: jax.grad(
        lambda model: temporal.cd_loss(key, model, temporal.Sequences(FRAMES[None]))[0]
    )(GRU),
}


def products(function, *args):
    """Each product in the program of a call: its precision, and whether it is of two matrices."""

    def within(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive is core.primitives.dot_general_p:
                contracted, batch = eqn.params["dimension_numbers"]
                sides = zip(eqn.invars, contracted, batch, strict=True)
                free = [x.aval.ndim - len(i) - len(j) for x, i, j in sides]
                yield eqn.params["precision"], min(*free, len(contracted[0])) > 0
            if eqn.primitive.name == "conv_general_dilated":
                yield eqn.params["precision"], True
            for inner in jax.tree.leaves(eqn.params):
                if isinstance(inner, core.Jaxpr | core.ClosedJaxpr):
                    yield from within(getattr(inner, "jaxpr", inner))

    return list(within(jax.make_jaxpr(function)(*args).jaxpr))


@pytest.mark.parametrize("name", FULL)
def test_what_tells_a_number_multiplies_in_full(name):
    """Whatever the precision is that it is called in."""
    with precision.learning("bfloat16"):
        found = products(*FULL[name])
    assert {asked for asked, _ in found} == {HIGHEST}


@pytest.mark.parametrize("name", LEARNERS)
def test_learning_multiplies_as_it_is_asked(name):
    """All but energies, products with biases, which cost nothing."""
    asked = {"default": None, "bfloat16": BFLOAT16, "float32": HIGHEST}
    for setting, expected in asked.items():
        with precision.learning(setting):
            found = products(LEARNERS[name], KEY)
        assert {asked for asked, is_of_matrices in found if is_of_matrices} == {expected}
        assert {asked for asked, _ in found} <= {expected, HIGHEST}


def test_whatever_recognises_does_so_in_full():
    """Of classifiers too, which are no part of this package's nets."""
    found = []

    def classify(key, model, v):
        found.append(jax.config.jax_default_matmul_precision)
        return v

    recognition.log_posteriors(KEY, None, np.zeros((2, 3), np.uint8), data.Transform(), classify)
    assert found == ["highest"]


def test_the_trial_finds_what_products_round():
    assert precision.NAMES == ("default", "bfloat16", "float32")
    assert [precision.found(name) for name in precision.NAMES] == ["float32"] * 3
    with rounded_products.rounded():
        found = [precision.found(name) for name in precision.NAMES]
    assert found == ["bfloat16", "bfloat16", "float32"]


def test_rounded_products_are_protected_from():
    """Files of exact values hold while all products that may be rounded are; others would not."""
    files = ["partition", "bound"]
    files = [f"tests/likelihood/test_{name}.py" for name in files] + ["tests/test_label_units.py"]
    options = ["-q", "-p", "tests.rounded_products", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    with rounded_products.rounded():
        means, exact = rbm.hidden_mean(PARAMS, X), precision.full(rbm.hidden_mean)(PARAMS, X)
    assert np.abs(means - exact).max() > 1e-4
