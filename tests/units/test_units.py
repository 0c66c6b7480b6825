"""One table of unit types, and the contract that every row keeps: that of `dbn_jax.testing`."""

import dataclasses
import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from dbn_jax import random, testing, units
from tests import oracles, significance, small_learning, small_rbms


def concat(*parts_and_sizes):
    parts, sizes = zip(*parts_and_sizes, strict=True)
    return units.Concat(parts=parts, sizes=sizes), sum(sizes)


# Name: (description, number of units). A new type is a row here and in the small models' tables.
TABLE = {
    "bernoulli": (units.Bernoulli(), 2),
    "spin": (units.Spin(), 2),
    "softmax": (units.Softmax(num_classes=4), 4),
    "softmax groups": (units.Softmax(num_classes=3), 6),
    "binomial of 1": (units.Binomial(num_trials=1), 2),
    "binomial of 5": (units.Binomial(num_trials=5), 2),
    "poisson": (units.Poisson(), 2),
    "gaussian": (units.Gaussian(), 2),
    "gaussian narrow": (units.Gaussian(sigma=0.3), 2),
    "gaussian learnt": (units.Gaussian(sigma=2.0, learn_sigma=True), 2),
    "relu": (units.ReLU(), 2),
    "pixels and label": concat((units.Bernoulli(), 3), (units.Softmax(num_classes=3), 3)),
    "real concat": concat((units.Gaussian(sigma=0.5, learn_sigma=True), 1), (units.ReLU(), 1)),
    "nested concat": concat(
        concat((units.Spin(), 1), (units.Bernoulli(), 1)), (units.Binomial(num_trials=2), 2)
    ),
    "maps": (units.Maps(units.Bernoulli(), 3), 6),
    "softmax maps": (units.Maps(units.Softmax(num_classes=3), 2), 6),
    "real maps": (units.Maps(units.Gaussian(sigma=0.5, learn_sigma=True), 2), 2),
    "pooled": (units.MaxPooled(shape=(2, 2)), 8),
    "pooled, wide": (units.MaxPooled(shape=(2, 4)), 8),
}
REAL = [name for name in TABLE if re.match("gaussian|relu|real", name)]
INFINITE = [*REAL, "poisson"]
FINITE = [name for name in TABLE if name not in INFINITE]
every_row = pytest.mark.parametrize("name", TABLE)
# Pooled units are hidden ones: nothing is known of their values.
fitted_rows = pytest.mark.parametrize("name", [name for name in TABLE if "pooled" not in name])

# Of each p-value, of which there are few.
FALSE_ALARM = 1e-7
NUM_DRAWS = 20_000


def make(name, dtype=jnp.float64, seed=0):
    """Units of a row with random parameters."""
    description, num_units = TABLE[name]
    rng = np.random.default_rng(seed)
    return jax.tree.map(  # numpy's addition need not be compiled for every shape
        lambda x: jnp.asarray(np.asarray(x) + 0.5 * rng.normal(size=x.shape), x.dtype),
        description.init(num_units, dtype),
    )


def make_inputs(name, shape=(2, 3), dtype=jnp.float64, seed=1):
    """Inputs within ±2, different in every place."""
    shape = (*shape, TABLE[name][1])
    return jnp.asarray(np.random.default_rng(seed).uniform(-2, 2, shape), dtype)


def allclose(actual, expected, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "layers",
    [
        [layer for layer, _ in TABLE.values()],
        [layer for layer, _ in small_rbms.LAYERS.values()],
        [layer for pair in small_learning.PAIRS.values() for layer, _ in pair],
    ],
    ids=["units", "small_rbms", "small_learning"],
)
def test_every_unit_type_is_in_every_table(layers):
    public = {
        cls
        for _, cls in inspect.getmembers(units, inspect.isclass)
        if issubclass(cls, units.Units) and not inspect.isabstract(cls)
    }
    assert len(public) >= 8
    assert public == {type(part) for layer in layers for part in [layer, *layer.elements()]}


@every_row
def test_types_keep_the_contract(name):
    """All but the energy and the statistic, which the kit believes."""
    testing.check_units(jax.random.key(0), *TABLE[name])


@jax.jit
def energies(made, x):
    """Energy and statistic of values (..., N), and the energy's gradient by the parameters."""
    slope = jax.grad(lambda made: made.energy(x).sum())(made)
    return made.energy(x), made.statistic(x), slope


@every_row
def test_energy_and_statistic(name, x64):
    made = make(name)
    layer = oracles.Layer.of(made)
    x = layer.states[np.random.default_rng(2).integers(len(layer.states), size=(2, 3))]
    energy, statistic, slope = energies(made, jnp.asarray(x))
    allclose(energy, -layer.log_density(x))
    allclose(statistic, layer.statistic(x))
    found = oracles.unit_leaves(slope)
    allclose(found["bias"], layer.total(-layer.statistic(x).sum((0, 1))))
    allclose(found["log_sigma"], layer.total(-layer.log_sigma_derivative(x, 0).sum((0, 1))))


@every_row
def test_equal_types_are_equal_values_and_never_traced_twice(name):
    traced = []

    @jax.jit
    def cumulant(made, inputs):
        traced.append(name)
        return made.cumulant(inputs)

    description, num_units = TABLE[name]
    for seed in range(3):
        cumulant(make(name, jnp.float32, seed), jnp.full(num_units, seed, jnp.float32))
    assert len(traced) == 1

    again = dataclasses.replace(description)
    assert again is not description
    assert again == description
    assert hash(again) == hash(description)
    structures = [jax.tree.structure(d.init(num_units)) for d in (description, again)]
    assert structures[0] == structures[1]
    assert hash(structures[0]) == hash(structures[1])
    others = {jax.tree.structure(d.init(n)) for d, n in TABLE.values()}
    assert len(others) == len(TABLE)  # what differs is told apart
    assert jax.tree.leaves(description) == []  # a description has no parameters


# Sampling.


@jax.jit
def draw(key, made, inputs):
    return made.sample(key, inputs)


def rectified_distribution(m, x):
    """P(X <= x) of the normal distribution N(m, 1) cut off below 0."""
    log_of_upper_tail = scipy.special.log_ndtr(m - x) - scipy.special.log_ndtr(m)
    return np.where(x < 0, 0, -np.expm1(log_of_upper_tail))


# Both sides of the switch at −5, the deep tail, and where nothing is cut off.
RECTIFIED = np.array([-1000.0, -30.0, -5.001, -4.999, -1.0, 0.0, 1.0, 10.0, 1000.0])


@pytest.mark.parametrize("m", RECTIFIED)
def test_rectified_samples_also_in_the_tails(m):
    made = units.ReLU().init(1)
    x = np.float64(draw(jax.random.key(3), made, jnp.full((NUM_DRAWS, 1), m)))[:, 0]
    assert np.all(np.isfinite(x))
    assert np.all(x >= 0)
    u = rectified_distribution(np.float64(np.float32(m)), x)
    assert scipy.stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    # Without chance: what is inverted is the survival function, at uniform numbers of this key.
    survival = 1 - np.float64(random.uniform(jax.random.key(3), (NUM_DRAWS, 1)))[:, 0]
    # Float32 numbers at 1000 are 6e-5 apart; log Φ(−5) in float32 is off by 5e-6.
    allclose(1 - u, survival, rtol=0, atol=8e-6 if abs(m) <= 10 else 5e-5)
    significance.assert_mean(x, rectified_mean(m), FALSE_ALARM)


def rectified_mean(m):
    """E[X] of the normal distribution N(m, 1) cut off below 0."""
    return m + math.sqrt(2 / math.pi) / scipy.special.erfcx(-np.maximum(m, -1e6) / math.sqrt(2))


def rectified_cumulant(m):
    """log ∫₀^∞ exp(m x − x²/2) dx."""
    left = np.log(math.sqrt(math.pi / 2) * scipy.special.erfcx(-np.minimum(m, 0) / math.sqrt(2)))
    right = m**2 / 2 + scipy.special.log_ndtr(m) + 0.5 * math.log(2 * math.pi)
    return np.where(m < 0, left, right)


def test_rectified_units_in_float32_at_every_size_of_input():
    grid = np.concatenate([-np.logspace(4, -3, 500), np.logspace(-3, 4, 500), [-5.0, 0.0]])
    grid = np.float64(np.float32(grid))
    made = units.ReLU().init(1)
    inputs = jnp.asarray(grid, jnp.float32)[:, None]
    mean, cumulant = jax.jit(lambda made, x: (made.mean(x), made.cumulant(x)))(made, inputs)
    # Just above −5, log Φ = −15 with an error of two units in the last place (2e-6) is multiplied
    # by 5 in the mean. It is the worst place.
    allclose(mean[:, 0], rectified_mean(grid), rtol=2e-6, atol=1e-5)
    allclose(cumulant, rectified_cumulant(grid), rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rare_values_are_drawn_in_half_precision_too(dtype):
    """Uniform numbers of half precision would miss them, and would favour the first of a tie."""
    softmax = units.Softmax(num_classes=4).init(4, dtype)
    inputs = np.array([-5.5, -5.0, -4.5, 0.0])  # exact in either type, as the zero biases are
    many = jnp.broadcast_to(jnp.asarray(inputs, dtype), (25 * NUM_DRAWS, 4))
    layer = oracles.Layer.of(softmax)
    counts = layer.counts(np.float64(draw(jax.random.key(4), softmax, many)))
    assert significance.chi_squared(counts, layer.given(inputs)) > FALSE_ALARM

    gaussian = units.Gaussian().init(1, dtype)
    x = np.float64(draw(jax.random.key(5), gaussian, jnp.zeros((NUM_DRAWS, 1), dtype)))[:, 0]
    # Between values of either type, so that rounding moves next to nothing across.
    edges = np.array([-3.17, -2.17, -1.17, 0.17, 1.17, 2.17, 3.17])
    counts = np.bincount(np.searchsorted(edges, x), minlength=8)
    p = np.diff(scipy.special.ndtr([-np.inf, *edges, np.inf]))
    assert significance.chi_squared(counts, p) > FALSE_ALARM


# Enumeration.


@pytest.mark.parametrize("name", INFINITE)
def test_infinitely_many_states_are_refused(name):
    made = make(name, jnp.float32)
    with pytest.raises(TypeError, match=r"infinitely many states.*enumerate the other layer"):
        _ = made.num_states
    with pytest.raises(TypeError, match=r"cannot be enumerated|infinitely many states"):
        made.states(jnp.arange(2))


# Fitting to data.


@jax.jit
def fit(description, data):
    fitted = description.init(data.shape[-1]).fit(data)
    return fitted, fitted.mean(jnp.zeros_like(data[0]))


def counted_mean(layer, data):
    """The mean with half a count of each extreme value, or of each class, added to the data."""
    expected, data = [], data.reshape(-1, layer.num_units // layer.places)
    for block, x in zip(layer.blocks, layer.split(data), strict=True):
        total, count = x.sum(0), len(x)
        if block.kind == "Softmax":
            each = total.reshape(-1, block.count) + 0.5
            expected.append((each / each.sum(1, keepdims=True)).ravel())
        elif block.kind in ("Gaussian", "Poisson", "ReLU"):
            expected.append(total / count)
        else:
            low, high = {"Bernoulli": (0, 1), "Spin": (-1, 1)}.get(block.kind, (0, block.count))
            expected.append((total + (low + high) / 2) / (count + 1))
    return layer.spread(np.concatenate(expected))


@fitted_rows
@pytest.mark.parametrize("which", ["a sample", "zeros"])
def test_fit_of_units_that_never_vary_is_finite(name, which):
    if which == "zeros" and (name == "spin" or "softmax" in name or "concat" in name):
        return
    made = make(name, jnp.float32)
    value = np.zeros(made.num_units)
    if which == "a sample":
        value = np.float64(draw(jax.random.key(1), made, jnp.zeros(made.num_units)))
    data = np.broadcast_to(value, (500, made.num_units))
    fitted, mean = fit(TABLE[name][0], jnp.asarray(data, jnp.float32))
    expected = counted_mean(oracles.Layer.of(made), data)
    if name in ("poisson", "relu"):
        expected = np.maximum(expected, 0.5 / 500)
    allclose(mean, expected, rtol=1e-5, atol=1e-5)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(fitted))


@pytest.mark.usefixtures("unchecked_annotations")
def test_fit_refuses_integers():
    with pytest.raises(TypeError, match="uint8 numbers; convert them"):
        units.Bernoulli().fit(jnp.zeros((3, 2), jnp.uint8))


def test_fit_learns_sigma_down_to_its_bound():
    rng = np.random.default_rng(0)
    data = jnp.asarray(rng.normal([1, -2, 7], [0.5, 3, 0], (1000, 3)), jnp.float32)
    fitted, mean = fit(units.Gaussian(learn_sigma=True, min_share=0.05), data)
    std = np.float64(data).std(0)
    allclose(fitted.scale, np.maximum(std, 0.05 * np.sqrt(np.mean(std**2))), rtol=1e-5)
    allclose(mean, data.mean(0), rtol=1e-6)
    fixed, mean = fit(units.Gaussian(sigma=2.0), data)
    allclose(fixed.scale, [2, 2, 2], rtol=1e-6)
    allclose(mean, data.mean(0), rtol=1e-6)


def test_learnt_sigma_does_not_fall_below_its_bound():
    made = units.Gaussian(learn_sigma=True, sigma=2.0, min_share=0.05).init(2)
    made = dataclasses.replace(made, log_sigma=jnp.array([-20.0, 0.5]))
    allclose(made.scale, [0.1, math.exp(0.5)], rtol=1e-6)
    x = jnp.array([0.3, 0.3])
    allclose(made.energy(x), 0.5 * (3**2 + 0.09 / math.e), rtol=1e-5)
    gradient = jax.grad(lambda made: made.energy(x))(made)
    assert gradient.log_sigma[0] == 0
    assert gradient.log_sigma[1] != 0


@pytest.mark.parametrize("mean", [1e-3, 0.05, 0.8, 3.0, 200.0])
def test_fit_of_rectified_units_inverts_their_mean(mean):
    data = jnp.array([[0.5 * mean], [1.5 * mean]] * 1000)
    fitted, _ = fit(units.ReLU(), data)
    allclose(rectified_mean(np.float64(fitted.bias)), mean, rtol=1e-4)
