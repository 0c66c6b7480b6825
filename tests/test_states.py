"""What is given for the states of a layer: bytes are refused everywhere, other kinds are converted.

Each call has a net of one layer where it can, in which nothing lies between the images and the RBM.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import associative_memory, clamping, dbn, label_units, networks, rbm, trajectories
from dbn_jax.belief_nets import infinite, sbn, wake_sleep
from dbn_jax.learning import backprop
from dbn_jax.likelihood import annealing, bound, partition, pseudo_likelihood
from tests.random_models import random_net
from tests.small_rbms import make

NUM_LABELS = 2
NUM_STEPS = 2
KEY = jax.random.key(0)
BETAS = jnp.array([0.0, 0.5, 1.0])
STATES = np.array([[1, 0, 1], [0, 1, 1]])

RBM = make("bernoulli", "bernoulli")
MEMORY = random_net(5, (3, 4), NUM_LABELS)
UNTIED = dbn.untie(random_net(5, (3, 4, 2)))
TWO = random_net(5, (3, 2, 2))
CLASSIFIER = networks.init_classifier(KEY, (3, 4, NUM_LABELS))
AUTOENCODER = networks.init_autoencoder(KEY, (3, 2))
BELIEFS = sbn.layered((jnp.ones((1, 2)),), (jnp.zeros(1), jnp.ones(2)))
MACHINE = wake_sleep.init(KEY, (2, 3))
NOTHING = jnp.zeros(3, bool)


def loss(x, **options):
    batch = x, jnp.array([0, 1])
    return backprop.classification_loss(KEY, CLASSIFIER, batch, **options)


CALLS = {
    "hidden_inputs": lambda x: rbm.hidden_inputs(RBM, x),
    "visible_inputs": lambda x: rbm.visible_inputs(RBM, x),
    "energy of v": lambda x: rbm.energy(RBM, x, jnp.ones((2, 3))),
    "energy of h": lambda x: rbm.energy(RBM, jnp.ones((2, 3)), x),
    "free_energy": lambda x: rbm.free_energy(RBM, x),
    "hidden_mean": lambda x: rbm.hidden_mean(RBM, x),
    "visible_mean": lambda x: rbm.visible_mean(RBM, x),
    "sample_hidden": lambda x: rbm.sample_hidden(KEY, RBM, x),
    "sample_visible": lambda x: rbm.sample_visible(KEY, RBM, x),
    "reconstruct": lambda x: rbm.reconstruct(RBM, x),
    "gibbs": lambda x: rbm.gibbs(KEY, RBM, x, NUM_STEPS),
    "gibbs_from_hidden": lambda x: rbm.gibbs_from_hidden(KEY, RBM, x, NUM_STEPS),
    "fit_visible": lambda x: rbm.fit_visible(RBM, x),
    "cd_gradient": lambda x: rbm.cd_gradient(KEY, RBM, x),
    "clamped_gibbs": lambda x: clamping.gibbs(KEY, RBM, x, NOTHING, NUM_STEPS),
    "join": lambda x: label_units.join(MEMORY.top, x),
    "free_energies": lambda x: label_units.free_energies(MEMORY.top, x),
    "log_posterior": lambda x: label_units.log_posterior(MEMORY.top, x),
    "classify": lambda x: associative_memory.classify(MEMORY, x),
    "classify_by_sampling": lambda x: associative_memory.classify_by_sampling(KEY, MEMORY, x, 2),
    "classify_by_gibbs": lambda x: associative_memory.classify_by_gibbs(KEY, MEMORY, x, 2, 2),
    "recognise": lambda x: dbn.recognise(MEMORY, x),
    "sample_recognition": lambda x: dbn.sample_recognition(KEY, MEMORY, x),
    "up_pass": lambda x: dbn.up_pass(MEMORY, x),
    "dbn.reconstruct": lambda x: dbn.reconstruct(MEMORY, x),
    "dbn.generate": lambda x: dbn.generate(KEY, dbn.stack((RBM,)), x, NUM_STEPS),
    "log_generative": lambda x: dbn.log_generative(UNTIED.generative, (x, jnp.ones((2, 4)))),
    "log_recognition": lambda x: dbn.log_recognition(UNTIED.recognition, (x, jnp.ones((2, 4)))),
    "perceive": lambda x: trajectories.perceive(KEY, MEMORY, x),
    "trajectory": lambda x: trajectories.trajectory(
        KEY, dbn.stack((RBM,)), x, NOTHING, jnp.array([1, 2])
    ),
    "reverse_ais": lambda x: annealing.reverse_ais(KEY, RBM, x, betas=BETAS),
    "log_likelihood": lambda x: partition.log_likelihood(RBM, x, jnp.float32(1)),
    "log_pseudo_likelihood": lambda x: pseudo_likelihood.log_pseudo_likelihood(KEY, RBM, x),
    "bound.sample_terms": lambda x: bound.sample_terms(KEY, TWO, x),
    "bound.exact": lambda x: bound.exact(TWO, x),
    "classifier": CLASSIFIER,
    "classifier's features": CLASSIFIER.features,
    "encode": AUTOENCODER.encode,
    "reconstruction_error": lambda x: networks.reconstruction_error(AUTOENCODER, x),
    "classification_loss": loss,
    "classification_loss, dropout": functools.partial(loss, input_dropout=0.5),
    "classification_loss, adversarial": functools.partial(loss, adversarial_radius=0.5),
    "reconstruction_loss": lambda x: backprop.reconstruction_loss(KEY, AUTOENCODER, x),
    "sbn.log_prob": lambda x: sbn.log_prob(BELIEFS, x),
    "sbn.complete": lambda x: sbn.complete(KEY, BELIEFS, x[:, :2]),
    "sbn.gibbs": lambda x: sbn.gibbs(KEY, BELIEFS, x, NOTHING, NUM_STEPS),
    "sbn.gradient": lambda x: sbn.gradient(BELIEFS, x),
    "wake_sleep": lambda x: wake_sleep.gradient(KEY, MACHINE, x),
    "gradient_terms": lambda x: infinite.gradient_terms(RBM, x, 1),
}
# Their states are those of `recognise` and the like, which are converted already.
OF_LAYERS = {"log_generative", "log_recognition"}
# These take any number of units, or compare it with another one.
OF_ANY_WIDTH = {"sbn.complete", "wake_sleep"}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", CALLS)
def test_bytes_are_refused(name):
    words = (
        r"the batch holds uint8 numbers; convert them: bytes to grey levels with "
        r"batch\.astype\('float32'\) / 255, counts with batch\.astype\('float32'\)"
    )
    with pytest.raises(TypeError, match=words):
        CALLS[name](jnp.asarray(255 * STATES, jnp.uint8))


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("dtype", [bool, jnp.bfloat16])
@pytest.mark.parametrize("name", sorted(CALLS.keys() - OF_LAYERS))
def test_booleans_and_half_precision_are_converted(name, dtype):
    found, expected = (CALLS[name](jnp.asarray(STATES, kind)) for kind in (dtype, jnp.float32))
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - OF_LAYERS))
def test_numpy_arrays_are_taken_too(name):
    """Annotations, which are checked here, say so to type checkers."""
    found, expected = (CALLS[name](make(STATES, "float32")) for make in (np.asarray, jnp.asarray))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(found))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", sorted(CALLS.keys() - OF_ANY_WIDTH))
def test_another_number_of_units_is_refused(name):
    x = jnp.ones((2, 5))
    with pytest.raises(ValueError, match=r"shape \(2, 5\); its last axis must hold the 3 "):
        CALLS[name](x)
