"""Examples with weights, and with missing values: every learner against plain batches."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import dbn, learning, networks, rbm, training, units
from dbn_jax.examples import Examples
from dbn_jax.learning import (
    PCD,
    Centred,
    Exact,
    FastPCD,
    Incomplete,
    LabelledPCD,
    ParallelTempering,
    Sparse,
    backprop,
    bound_gradient,
    monitor,
    updown,
)
from dbn_jax.likelihood import evaluation
from tests import oracles
from tests.missing_values import KNOWN, completions
from tests.random_models import random_net
from tests.significance import assert_mean
from tests.small_learning import PAIRS, assert_trees_close, draw_batch, make, replicas

pytestmark = pytest.mark.usefixtures("x64")
make = functools.partial(make, dtype=jnp.float64)
draw_batch = functools.partial(draw_batch, seed=2)  # labels of both classes, unequal examples
close = functools.partial(assert_trees_close, rtol=1e-9, atol=1e-11)
# Their random numbers do not depend on the number of examples.
LEARNERS = {
    "exact": Exact(),
    "pcd": PCD(num_chains=7),
    "fast_pcd": FastPCD(num_chains=7),
    "tempering": ParallelTempering(num_chains=7, num_temperatures=3),
    "centred": Centred(Exact()),
    "enhanced": Centred(PCD(num_chains=7), model_share=0.5, sliding=1.0),
    "sparse": Sparse(PCD(num_chains=7)),
    "incomplete": Incomplete(PCD(num_chains=7)),
    "labelled_pcd": LabelledPCD(num_chains=7, label_cost=2.0),
}
TIMES = np.array([1, 2, 0, 3])
WEIGHTS = TIMES.astype(np.float64)


def twice(batch):
    """The examples as often as their weights say."""
    return jax.tree.map(lambda x: jnp.repeat(x, TIMES, axis=0, total_repeat_length=6), batch)


@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, "memory" if name == "labelled_pcd" else "bernoulli") for name in LEARNERS]
    + [("pcd", pair) for pair in PAIRS],
)
def test_a_weight_of_two_is_the_example_twice(name, pair):
    learner, params, key = LEARNERS[name], make(pair), jax.random.key(0)
    batch, chains = draw_batch(params, 4), learner.init(key, params)
    estimate = jax.jit(functools.partial(learner.estimate, key, params, chains))
    found = estimate(Examples(batch, WEIGHTS))
    close(found, estimate(twice(batch)))
    # Only their ratios count; and equal weights are none.
    close(estimate(Examples(batch, 7 * WEIGHTS)), found)
    close(estimate(Examples(batch, jnp.ones(4))), estimate(batch))


def weighted_sum(trees):
    """Σ w·g / Σ w over the leading axis."""
    return jax.tree.map(lambda g: np.tensordot(WEIGHTS, g, 1) / np.sum(WEIGHTS), trees)


def of_net(key, batch, module):
    """Of a 4-3-2 net with labels, by updown or bound_gradient."""
    net = dbn.untie(random_net(0, (4, 3, 2), num_labels=2, dtype=jnp.float64))
    labels = jnp.eye(2, dtype=jnp.float64)[jnp.array([0, 1, 1, 0])]
    if module is updown:
        options = {"label_cost": 0.5, "adversarial_radius": 0.3}
        return updown.gradient(key, net, batch, labels, **options)
    return bound_gradient.gradient(key, net, None, batch, labels, learner=Exact())[::2]


def of_classifier(key, batch):
    model = networks.init_classifier(jax.random.key(3), (4, 3, 2))
    graphdef, params = backprop.split(jax.tree.map(lambda x: x.astype(jnp.float64), model))
    labels = jnp.array([0, 1, 1, 0])

    def loss(params):
        return backprop.classification_loss(
            key, backprop.merge(graphdef, params), (batch, labels), adversarial_radius=0.5
        )

    return jax.grad(loss, has_aux=True)(params)


def of_autoencoder(key, batch):
    net = random_net(0, (4, 3), code=units.Gaussian(), dtype=jnp.float64)
    graphdef, params = backprop.split(networks.unroll(net))

    def loss(params):
        return backprop.reconstruction_loss(key, backprop.merge(graphdef, params), batch)

    return jax.grad(loss, has_aux=True)(params)


def of_rbm(key, batch):
    return rbm.cd_gradient(
        key, random_net(0, (4, 3), dtype=jnp.float64).top, batch, num_gibbs_steps=2
    )


GRADIENTS = {
    "cd": of_rbm,
    "updown": functools.partial(of_net, module=updown),
    "bound": functools.partial(of_net, module=bound_gradient),
    "classifier": of_classifier,
    "autoencoder": of_autoencoder,
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_weighted_means_of_those_of_each_example(name):
    """Where each example has random numbers of its own, they are the same for all weights."""
    x, key = draw_batch(make("bernoulli"), 4), jax.random.key(1)
    gradient = jax.jit(lambda weights: GRADIENTS[name](key, Examples(x, weights)))
    of_each = jax.jit(jax.vmap(gradient))(jnp.eye(4))

    def linear(result):  # all but norms
        change, metrics = result
        return change, {k: v for k, v in metrics.items() if not k.endswith("norm")}

    close(linear(gradient(WEIGHTS)), weighted_sum(linear(of_each)))
    close(gradient(jnp.ones(4)), GRADIENTS[name](key, x))
    nothing = linear(gradient(jnp.zeros(4)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(nothing))


@pytest.mark.parametrize("pair", PAIRS)
def test_biases_are_fitted_to_weighted_and_to_known_values(pair):
    params = make(pair)
    batch = draw_batch(params, 4)
    close(rbm.fit_visible(params, Examples(batch, WEIGHTS)), rbm.fit_visible(params, twice(batch)))
    # The first examples are known in their first half, the others in their second.
    half = jnp.arange(batch.shape[1]) < batch.shape[1] // 2
    known = jnp.concatenate([jnp.tile(half, (3, 1)), jnp.tile(~half, (4, 1))])
    rows = jnp.concatenate([batch[:3], batch])
    holes = jnp.where(known, rows, jnp.nan)
    if pair in ("softmax", "concat", "memory", "maps"):
        return  # a group is known whole; what places share: test_maps
    found = rbm.fit_visible(params, Examples(holes, None, known)).visible
    expected = [rbm.fit_visible(params, x).visible for x in (batch[:3], batch)]
    expected = jax.tree.map(lambda *x: jnp.where(half, *x), *expected)
    if pair == "gaussian":  # the smallest σ is that of a layer
        bound = math.log(found.min_share) + 0.5 * jnp.log(jnp.mean(expected.scale**2))
        expected = dataclasses.replace(expected, log_bound=jnp.tile(bound, len(half)))
    close(found, expected)


def test_monitors_and_likelihoods_take_weights():
    params, key = make("bernoulli"), jax.random.key(0)
    batch = draw_batch(params, 4)
    weighted, repeated = Examples(batch, WEIGHTS), twice(batch)
    compare = functools.partial(monitor.compare, params, two_valued=False)
    close(compare(batch[:2], weighted), compare(batch[:2], repeated))
    close(compare(weighted, batch[:2]), compare(repeated, batch[:2]))

    def evaluate(train, held_out):
        return evaluation.evaluate(
            key, params, (train, None), (held_out, None), num_steps=10, num_reverse=4
        )

    found, expected = evaluate(weighted, weighted), evaluate(repeated, repeated)
    for name in ("log_z", "log_likelihood"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)
    plain, same = evaluate(batch, batch), evaluate(batch, Examples(batch, 3 * jnp.ones(4)))
    for name in plain:
        np.testing.assert_allclose(same[name], plain[name], rtol=1e-9, err_msg=name)


def test_a_data_set_of_examples_trains():
    """One whose weights are zero is as if it were not there."""
    params, learner, optimizer = make("bernoulli"), PCD(num_chains=7), optax.sgd(0.1)
    x = draw_batch(params, 8)
    step = functools.partial(learning.step, learner=learner, optimizer=optimizer)
    state = learning.init_state(jax.random.key(0), params, learner=learner, optimizer=optimizer)
    settings = training.Settings(seed=0, num_epochs=3, batch_size=8, show_progress=False)

    def train(x):
        weights = jnp.repeat(jnp.array([1.0, 0.0]), 4)
        return training.train(step, state, Examples(x, weights), settings=settings).params

    close(train(x), train(x.at[4:].set(1 - x[4:])))


# Missing values.


@pytest.mark.parametrize("learner", [Exact(), PCD(num_chains=50)], ids=["exact", "pcd"])
@pytest.mark.parametrize("pair", ["bernoulli", "memory"])
def test_missing_values_are_summed_out(learner, pair):
    """The gradient of −mean log p(observed), where p(v | observed) weighs those of log p(v)."""
    known = KNOWN if pair == "bernoulli" else KNOWN[:, [0, 1, 2, 2]]  # a group is known whole
    params = make(pair)
    model, rows = oracles.Model.of(params), draw_batch(params, 5)
    expected = []
    for row, mask in zip(np.asarray(rows), known, strict=True):
        states, p = completions(model, row, mask)
        of_each = [model.log_likelihood_gradient(state[None]) for state in states]
        expected.append(
            {k: -sum(w * g[k] for w, g in zip(p, of_each, strict=True)) for k in of_each[0]}
        )
    expected = {k: np.mean([g[k] for g in expected], axis=0) for k in expected[0]}
    batch = Examples(jnp.where(known, rows, jnp.nan), None, jnp.asarray(known))
    whole = Incomplete(learner, num_gibbs_steps=30)
    found = replicas(
        whole, params, batch, num_replicas=2000, burn_in=0 if learner == Exact() else 30
    )
    assert_mean(found, {k: expected[k] for k in found})


def test_what_learns_from_whole_examples_alone_says_so():
    params = make("bernoulli")
    batch = Examples(draw_batch(params, 5), None, jnp.asarray(KNOWN))
    with pytest.raises(ValueError, match="values of the batch are missing: learn by `learning"):
        rbm.cd_gradient(jax.random.key(0), params, batch)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"weights": np.ones(4)}, r"weights of shape \(4,\) .* \(5, 3\): give one for each"),
        ({"weights": np.array([1, 1, -2, 1, 1])}, "smallest weight is -2; none may be negative"),
        ({"weights": np.full(5, np.nan)}, "smallest weight is nan; none may be negative"),
        ({"observed": np.ones(3, bool)}, r"observed has shape \(3,\), .* say of each whether"),
    ],
)
def test_weights_and_masks_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Examples(np.zeros((5, 3), np.float32), **parts)
