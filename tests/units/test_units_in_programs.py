"""What JAX asks of unit types: maps, gradients, dtypes, equality."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import oracles
from tests.units.test_units import (
    FINITE,
    TABLE,
    allclose,
    every_row,
    make,
    make_inputs,
)


def everything(key, made, inputs):
    """Samples and all methods, and the gradients that learning takes."""

    def total(made, inputs):
        return made.cumulant(inputs).sum() + made.mean(inputs).sum()

    x = made.sample(key, inputs)
    values = {
        "sample": x,
        "energy": made.energy(x),
        "statistic": made.statistic(x),
        "cumulant": made.cumulant(inputs),
        "mean": made.mean(inputs),
        "mean_statistic": made.mean_statistic(inputs),
    }
    return values, lambda: jax.grad(total, argnums=(0, 1))(made, inputs)


@jax.jit
@jax.vmap
def mapped(key, made, inputs):
    values, gradients = everything(key, made, inputs)
    return values, gradients()


@functools.cache
def ensemble(name):
    """Three models with ordinary inputs (3, 20, N) and a fourth with extreme ones; mapped."""
    models = [make(name, jnp.float32, seed) for seed in range(4)]
    num_units = models[0].num_units
    # exp(I) is the mean of Poisson units: beyond 88 it is infinite in float32, and rightly so.
    largest = 50.0 if name == "poisson" else 1e4
    rng = np.random.default_rng(5)
    extreme = rng.permuted(np.tile(np.linspace(-1, 0.8, num_units), (20, 1)), axis=1)
    inputs = np.concatenate([rng.uniform(-2, 2, (3, 20, num_units)), largest * extreme[None]])
    inputs = jnp.asarray(inputs, jnp.float32)
    keys = jax.random.split(jax.random.key(8), 4)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *models)
    with jax.debug_nans(True):
        return keys, models, inputs, mapped(keys, stacked, inputs)


@jax.jit
def one_by_one(key, made, inputs):
    return everything(key, made, inputs)[0]


@pytest.mark.parametrize(
    ("name", "function"),
    [(name, one_by_one) for name in TABLE]
    + [(name, one_by_one.__wrapped__) for name in ("bernoulli", "real concat")],
)
def test_mapped_equal_a_loop_compiled_or_not(name, function):
    keys, models, inputs, (together, _) = ensemble(name)
    for i in range(3):
        alone = function(keys[i], models[i], inputs[i])
        for method, value in alone.items():
            # Inverting a distribution function magnifies rounding; other draws differ by about 1.
            tolerance = 1e-3 if method == "sample" else 1e-5
            allclose(together[method][i], value, rtol=1e-5, atol=tolerance)


@every_row
def test_extreme_inputs_give_finite_values_and_gradients(name):
    _, models, inputs, results = ensemble(name)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results))
    if name in FINITE:  # so strong an input leaves no choice
        layer = oracles.Layer.of(models[3])
        values = {method: np.float64(value[3]) for method, value in results[0].items()}
        extreme = np.float64(inputs[3])
        only = layer.states[np.argmax(extreme @ layer.states.T, axis=1)]
        np.testing.assert_array_equal(values["sample"], only)
        allclose(values["mean"], only, atol=1e-6)
        allclose(values["cumulant"], np.sum(extreme * only, axis=1), rtol=1e-2)


@every_row
def test_equal_types_are_equal_values_and_never_traced_twice(name):
    traced = []

    @jax.jit
    def cumulant(made, inputs):
        traced.append(name)
        return made.cumulant(inputs)

    inputs = make_inputs(name, dtype=jnp.float32)
    for seed in range(3):
        cumulant(make(name, jnp.float32, seed), inputs + seed)
    assert len(traced) == 1

    description, num_units = TABLE[name]
    again = dataclasses.replace(description)
    assert again is not description
    assert again == description
    assert hash(again) == hash(description)
    structures = [jax.tree.structure(d.init(num_units)) for d in (description, again)]
    assert structures[0] == structures[1]
    assert hash(structures[0]) == hash(structures[1])
    others = {jax.tree.structure(d.init(n)) for d, n in TABLE.values()}
    assert len(others) == len(TABLE)  # what differs is told apart


@every_row
def test_a_description_becomes_units_of_the_wanted_size_and_dtype(name):
    description, num_units = TABLE[name]
    made = description.init(num_units, jnp.bfloat16)
    assert type(made) is type(description)
    assert made.num_units == num_units
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.bfloat16)}
    assert not np.any(np.float32(made.bias))
    assert jax.tree.leaves(description) == []  # a description has no parameters


@every_row
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_results_have_the_parameters_dtype(name, dtype):
    description, num_units = TABLE[name]

    def results(key, inputs):
        made = description.init(num_units, dtype)
        values, gradients = everything(key, made, inputs)
        return values, gradients(), None if "pooled" in name else made.fit(inputs)

    with jax.enable_x64(True):
        shape = jax.ShapeDtypeStruct((4, num_units), dtype)
        found = jax.eval_shape(results, jax.random.key(0), shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
