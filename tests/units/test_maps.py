"""Units in maps: what places share, and pooling, in exact numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import units
from dbn_jax.examples import Examples
from tests import convolutional_oracle, oracles, significance
from tests.small_rbms import FALSE_ALARM


def pooled(shape, block, num_maps=2):
    made = units.MaxPooled(shape=shape, block=block).init(num_maps * shape[0] * shape[1])
    return dataclasses.replace(made, bias=jnp.linspace(-0.5, 0.5, num_maps))


@pytest.mark.parametrize(
    "made",
    [units.Maps(units.Bernoulli(), 3).init(6), units.MaxPooled(shape=(1, 3), block=1).init(6)],
)
def test_what_places_share_is_spread_and_summed(made):
    assert made.bias.shape == (2,)
    np.testing.assert_array_equal(made.spread(jnp.array([1.0, 2.0])), [1, 2, 1, 2, 1, 2])
    x = jnp.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(made.total_shared(x), [[0 + 2 + 4, 1 + 3 + 5], [24, 27]])
    assert made.num_pooled == made.num_units == 6
    for same in (made.pool, made.pool_transposed, made.unpool_mean):
        np.testing.assert_array_equal(same(x), x)
    np.testing.assert_array_equal(made.unpool(jax.random.key(0), x), x)


def test_units_of_their_own_share_and_pool_nothing():
    made, x = units.Spin().init(3), jnp.arange(3.0)
    for same in (made.spread, made.total_shared, made.pool, made.pool_transposed, made.unpool_mean):
        assert same(x) is x
    assert made.unpool(jax.random.key(0), x) is x
    assert made.num_pooled == 3


def test_pooling_in_exact_numbers():
    """Two rows of four units in two maps; blocks side by side."""
    made = pooled((2, 4), 2)
    first = [[0, 1, 0, 0], [0, 0, 0, 0]]  # the left block is on
    second = [[0, 0, 0, 0], [0, 0, 1, 0]]  # the right one
    h = jnp.asarray(np.stack([first, second], axis=-1).ravel(), jnp.float32)
    np.testing.assert_array_equal(made.pool(h), [1, 0, 0, 1])  # (block, map), blocks by rows
    assert made.num_pooled == 4
    p = jnp.array([0.4, 0.0, 0.8, 1.0])
    below = np.stack([[[0.4, 0.4, 0.8, 0.8]] * 2, [[0, 0, 1, 1]] * 2], axis=-1).ravel()
    np.testing.assert_allclose(made.pool_transposed(p), below)
    np.testing.assert_allclose(made.unpool_mean(p), below / 4)
    np.testing.assert_allclose(made.pool(made.unpool_mean(p)), p)


@pytest.mark.parametrize(("shape", "block"), [((2, 4), 2), ((3, 6), 3), ((6, 3), 3)])
def test_pooled_units_are_a_softmax_of_each_block(shape, block):
    """Mean, cumulant, samples and pooling, block by block in numpy."""
    made = pooled(shape, block)
    inputs = np.random.default_rng(0).normal(size=made.num_units)
    total = inputs + np.tile(np.asarray(made.bias), shape[0] * shape[1])

    def blocks(x):
        return convolutional_oracle.blocks(x, shape, block)

    weights = np.exp(blocks(total))
    norm = 1 + weights.sum(axis=-1)
    expected = weights / norm[:, None]
    np.testing.assert_allclose(blocks(made.mean(jnp.float32(inputs))), expected, rtol=1e-5)
    np.testing.assert_allclose(made.cumulant(jnp.float32(inputs)), np.log(norm).sum(), rtol=1e-5)
    np.testing.assert_allclose(
        made.pool(made.mean(jnp.float32(inputs))), expected.sum(axis=-1), rtol=1e-5
    )
    many = jnp.asarray(np.tile(inputs, (20_000, 1)), jnp.float32)
    drawn = made.sample(jax.random.key(0), many)
    assert convolutional_oracle.allowed(drawn, shape, block).all()
    for i, (each, p) in enumerate(zip(blocks(drawn).swapaxes(0, 1), expected, strict=True)):
        counts = np.append(each.sum(axis=0), (each.sum(axis=1) == 0).sum())
        assert significance.chi_squared(counts, np.append(p, 1 - p.sum())) > FALSE_ALARM, i
    # Blocks are independent of each other.
    on = np.asarray(made.pool(drawn))
    products, p = on[:, :, None] * on[:, None, :], expected.sum(axis=-1)
    significance.assert_mean(products, np.where(np.eye(len(p)), p, np.outer(p, p)), FALSE_ALARM)


@pytest.mark.parametrize("block", [2, 3])
def test_unpooling_puts_what_is_on_anywhere_in_its_block(block):
    made = pooled((block, 2 * block), block)
    states = jnp.tile(jnp.array([1.0, 0.0, 0.0, 1.0]), (20_000, 1))
    drawn = made.unpool(jax.random.key(0), states)
    np.testing.assert_array_equal(made.pool(drawn), states)
    assert convolutional_oracle.allowed(drawn, made.shape, block).all()
    counts = np.asarray(drawn).sum(axis=0)
    p = np.asarray(made.unpool_mean(states[0]))
    for of_block in convolutional_oracle.blocks(
        np.stack([counts, p]), made.shape, block
    ).T.swapaxes(0, 1):
        if of_block[:, 1].any():
            assert significance.chi_squared(*of_block.T) > FALSE_ALARM
        else:
            assert not of_block.any()
    # The two blocks that are on choose for themselves.
    places = [
        convolutional_oracle.blocks(drawn, made.shape, block)[:, i].argmax(axis=-1) for i in (0, 3)
    ]
    together = np.bincount(places[0] * block**2 + places[1], minlength=block**4)
    assert significance.chi_squared(together, np.ones(block**4)) > FALSE_ALARM


def test_large_inputs_leave_no_choice_and_no_nan():
    made = pooled((2, 2), 2, num_maps=1)
    inputs = jnp.array([[1e4, 0.0, -1e4, 9e3], [-1e4] * 4])
    np.testing.assert_array_equal(made.mean(inputs), [[1, 0, 0, 0], [0] * 4])
    np.testing.assert_allclose(made.cumulant(inputs), [1e4 - 0.5, 0], rtol=1e-6, atol=1e-6)
    slope = jax.grad(lambda x: made.cumulant(x).sum())(inputs)
    np.testing.assert_array_equal(slope, made.mean(inputs))


def test_maps_are_fitted_to_the_data_of_all_places():
    random = np.random.default_rng(0)
    data = random.normal([1.0, -2.0], [0.5, 3.0], (50, 4, 2))
    made = units.Maps(units.Gaussian(learn_sigma=True), 4).fit(jnp.float32(data.reshape(50, 8)))
    np.testing.assert_allclose(made.each.location, data.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(made.each.scale, data.std((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(made.bias, [0, 0])

    on = (random.random((50, 4, 2)) < [0.2, 0.7]).astype(np.float32)
    mean = (on.sum((0, 1)) + 0.5) / 201
    made = units.Maps(units.Bernoulli(), 4).fit(jnp.asarray(on.reshape(50, 8)))
    np.testing.assert_allclose(oracles.sigmoid(np.float64(made.bias)), mean, rtol=1e-5)

    weights, observed = random.random(50), random.random((50, 4, 2)) < 0.6
    counted = weights[:, None, None] * observed
    expected = ((counted * on).sum((0, 1)) + 0.5) / (counted.sum((0, 1)) + 1)
    holes = np.where(observed, on, np.nan).reshape(50, 8)
    examples = Examples(
        jnp.float32(holes), jnp.float32(weights), jnp.asarray(observed.reshape(50, 8))
    )
    made = units.Maps(units.Bernoulli(), 4).fit(examples)
    np.testing.assert_allclose(oracles.sigmoid(np.float64(made.bias)), expected, rtol=1e-5)
