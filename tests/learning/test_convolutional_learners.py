"""Every learner on a convolutional RBM of 3×3 pixels and pooled maps, against enumeration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import convolutional, learning, rbm, units
from dbn_jax.examples import Examples
from dbn_jax.learning import (
    CD,
    PCD,
    Centred,
    Exact,
    FastPCD,
    Incomplete,
    ParallelTempering,
    Sparse,
)
from tests import convolutional_oracle, oracles, significance
from tests.missing_values import completions
from tests.random_models import at_random
from tests.small_learning import assert_trees_close, replicas

# How the chains persist, of 8 hidden units in 2 maps.
CHAINS = {
    "exact": (Exact(), None),
    "cd": (CD(2), None),
    "pcd": (PCD(7), (7, 8)),
    "fast_pcd": (FastPCD(7), ((7, 8), "parameters")),
    "tempering": (ParallelTempering(7, 3), (3, 7, 8)),
    "sparse": (Sparse(PCD(7)), ((2,), (7, 8))),
    "sparse_biases": (Sparse(CD(), bias_only=True, decay=0.0), ((2,), None)),
    "incomplete": (Incomplete(PCD(7)), (7, 8)),
}
every_learner = pytest.mark.parametrize("name", CHAINS)


def make(seed=0, **options):
    """2 maps of 2×2 units, pooled."""
    options = {"block": 2, **options}

    def blank():
        return convolutional.init_params(jax.random.key(0), (3, 3, 1), 2, 2, **options)

    return at_random(seed, blank, 0.7)


BATCH = (np.random.default_rng(0).random((5, 9)) < 0.4).astype(np.float32)


def shapes(chains, params):
    """The shape of what persists; `parameters` where it is a tree like them."""
    if isinstance(chains, rbm.RBM):
        assert jax.tree.map(jnp.shape, chains) == jax.tree.map(jnp.shape, params)
        return "parameters"
    if isinstance(chains, tuple):
        return tuple(shapes(each, params) for each in chains)
    return None if chains is None else chains.shape


@every_learner
def test_an_ensemble_learns_as_its_members_and_chains_keep_their_shapes(name):
    learner, expected = CHAINS[name]
    optimizer = optax.sgd(0.02, momentum=0.9)
    options = {"learner": learner, "optimizer": optimizer}
    keys, models = jax.random.split(jax.random.key(0), 3), [make(seed) for seed in range(3)]
    start = [
        learning.init_state(key, params, **options)
        for key, params in zip(keys, models, strict=True)
    ]
    assert shapes(start[0].chains, models[0]) == expected
    hidden = learner.hidden_chains(start[0].chains)
    assert hidden is None or hidden.shape == (7, 8)

    def step(key, state):
        return learning.step(key, state, jnp.asarray(BATCH), **options)

    alone = []
    for key, state in zip(keys, start, strict=True):
        for _ in range(2):
            state, metrics = step(key, state)
        assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, start[0])
        assert metrics
        alone.append(state)

    def twice(key, state):
        return step(key, step(key, state)[0])[0]

    stacked, expected = (jax.tree.map(lambda *x: jnp.stack(x), *each) for each in (start, alone))
    together = jax.jit(jax.vmap(twice))(keys, stacked)
    assert together.params.weights.shape == (3, 9, 8)
    assert_trees_close(together, expected, rtol=1e-4, atol=1e-5)


@every_learner
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_dtypes_are_kept(name, dtype):
    options = {"learner": CHAINS[name][0], "optimizer": optax.sgd(0.1, momentum=0.9)}
    init, step = (functools.partial(f, **options) for f in (learning.init_state, learning.step))
    with jax.enable_x64(dtype == "float64"):
        params = make(dtype=jnp.dtype(dtype), visible=units.Gaussian(learn_sigma=True))
        state = jax.eval_shape(init, jax.random.key(0), params)
        batch = jax.ShapeDtypeStruct((5, 9), "float32")
        after, _ = jax.eval_shape(step, jax.random.key(0), state, batch)
    described = [jax.tree.map(lambda x: (x.shape, x.dtype), each) for each in (after, state)]
    assert described[0] == described[1]
    assert {x.dtype for x in jax.tree.leaves(after.params)} == {jnp.dtype(dtype)}


def test_exact_gradient():
    params = make()
    gradient, _, metrics = Exact().estimate(None, params, None, jnp.asarray(BATCH))
    model = oracles.Model.of(params)
    for name, expected in model.log_likelihood_gradient(np.float64(BATCH)).items():
        found = oracles.leaves(gradient)[name]
        np.testing.assert_allclose(found, -expected, rtol=2e-5, atol=2e-5, err_msg=name)
    expected = model.log_likelihood(np.float64(BATCH)).mean()
    np.testing.assert_allclose(metrics["log_likelihood"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "learner",
    [CD(50), PCD(5), FastPCD(5, fast_rate=0.0), ParallelTempering(5, 3), Incomplete(PCD(5))],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.parametrize("shared", [True, False])
def test_chains_in_equilibrium_estimate_the_likelihood_gradient(learner, shared):
    params = make(shared=shared)
    burn_in = 0 if isinstance(learner, CD) else 50
    found = replicas(learner, params, jnp.asarray(BATCH), num_replicas=1000, burn_in=burn_in)
    expected = oracles.Model.of(params).log_likelihood_gradient(np.float64(BATCH))
    significance.assert_mean(found, {name: -slope for name, slope in expected.items()})


def test_what_is_missing_is_free_in_the_positive_phase():
    """The gradient of log p(what is observed), by its completions."""
    params, learner = make(), Incomplete(Exact(), num_gibbs_steps=50)
    observed = np.random.default_rng(1).random(BATCH.shape) < 0.6
    values = jnp.asarray(np.where(observed, BATCH, np.nan))
    examples = Examples(values, observed=jnp.asarray(observed))
    found = replicas(learner, params, examples, num_replicas=1000, burn_in=0)
    model = oracles.Model.of(params)
    data = [
        model.free_energy_gradient(*completions(model, row, mask))
        for row, mask in zip(np.float64(BATCH), observed, strict=True)
    ]
    of_model = model.free_energy_gradient(model.visible.states, model.visible_marginal())
    expected = {
        name: np.mean([each[name] for each in data], axis=0) - slope
        for name, slope in of_model.items()
    }
    significance.assert_mean(found, expected)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("bias_only", [True, False])
def test_the_pull_to_the_target_by_hand(shared, block, bias_only):
    """On each unit's total input: so the bias of a map gets it from all of its places."""
    params = make(shared=shared, block=block)
    learner = Sparse(CD(), target=0.05, cost=0.3, decay=0.4, bias_only=bias_only)
    key, batch = jax.random.key(0), jnp.asarray(BATCH)
    chains = learner.init(key, params)
    plain = CD().estimate(key, params, None, batch)[0]
    found, after, _ = learner.estimate(key, params, chains, batch)

    model = oracles.Model.of(params)
    active = (model.hidden_given(BATCH) @ model.hidden.states).mean(axis=0)  # of each unit
    mean = 0.4 * 0.05 + 0.6 * active.reshape(4, 2).mean(axis=0)
    np.testing.assert_allclose(after.mean, mean, rtol=1e-5)
    pull = np.tile(0.3 * (mean - 0.05), 4)
    moved = jax.tree.map(lambda a, b: np.asarray(a - b), found, plain)
    np.testing.assert_allclose(moved.hidden.bias, pull.reshape(4, 2).sum(axis=0), rtol=1e-4)
    of_matrix = 0 if bias_only else np.outer(BATCH.mean(axis=0), pull)
    expected = np.zeros(params.weights.shape) + of_matrix
    expected = convolutional_oracle.fold(params.weights, expected)
    np.testing.assert_allclose(moved.weights.filters, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(moved.visible.bias, [0])


@pytest.mark.parametrize("side", ["hidden", "visible"])
def test_centred_gradients_need_biases_of_their_own(side):
    params = make()
    if side == "visible":
        params = dataclasses.replace(params, hidden=units.Bernoulli().init(8))
    kind, number, shared = ("MaxPooled", 8, 2) if side == "hidden" else ("Maps", 9, 1)
    if side == "hidden":
        params = dataclasses.replace(params, visible=units.Bernoulli().init(9))
    message = (
        f"^{number} {kind} units share {shared} biases; the centred gradient needs one for each: "
        "learn without `Centred`$"
    )
    for learner in (Centred(), Sparse(Centred())):
        with pytest.raises(ValueError, match=message):
            learner.init(jax.random.key(0), params)


def test_filters_decay_and_biases_do_not():
    params = make()
    mask = rbm.weight_mask(params)
    assert mask.weights.filters
    assert not mask.visible.bias
    assert not mask.hidden.bias


def test_persistent_chains_start_at_examples():
    params, learner = make(), PCD(7)
    chains = learner.init(jax.random.key(0), params)
    start_at = functools.partial(learner.start_at, params=params, chains=chains)
    moved = start_at(jax.random.key(1), x=jnp.asarray(BATCH))
    assert moved.shape == (7, 8)
    assert convolutional_oracle.allowed(moved, (2, 2), 2).all()
    assert not np.array_equal(moved, chains)
