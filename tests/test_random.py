"""The fused generator: bits and keys of jax.random, draws that obey their probabilities exactly."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import random
from tests import binaries, jaxprs, significance

SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 3, 400)]
bernoulli = jax.jit(random.bernoulli)
DTYPES = ["bfloat16", "float32", "float64"]


def integers(key, shape):
    """The 24-bit integers behind `uniform`, by way of jax.random."""
    return np.asarray(jax.random.bits(key, shape, jnp.uint32)) >> 8


def primitives(function, *args):
    """Names of all primitives in a function's jaxpr."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return {equation.primitive.name for equation in jaxprs.equations(jaxpr)}


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_are_those_of_jax(shape):
    key = jax.random.key(17)
    result = jax.jit(random.bits, static_argnums=1)(key, shape)
    assert result.dtype == jnp.uint32
    np.testing.assert_array_equal(result, jax.random.bits(key, shape, jnp.uint32))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_bits_are_those_of_jax_for_every_generator_also_uncompiled(impl):
    key = jax.random.key(18, impl=impl)
    expected = jax.random.bits(key, (4, 3), jnp.uint32)
    np.testing.assert_array_equal(random.bits(key, (4, 3)), expected)
    np.testing.assert_array_equal(jax.jit(lambda: random.bits(key, (4, 3)))(), expected)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_bits_are_those_of_jax_for_mapped_keys(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 6).reshape(2, 3)

    def mapped(draw):
        return jax.vmap(jax.vmap(lambda key: draw(key, (5, 2))))(keys)

    expected = mapped(lambda key, shape: jax.random.bits(key, shape, jnp.uint32))
    assert expected.shape == (2, 3, 5, 2)
    np.testing.assert_array_equal(jax.jit(lambda: mapped(random.bits))(), expected)


def test_bits_and_keys_are_those_of_jax_when_it_is_not_partitionable():
    key = jax.random.key(2)

    def draw(source):
        return source.bits(key, (9,)), jax.random.key_data(source.split(key, 3))

    partitionable = draw(jax.random)
    with jax.threefry_partitionable(False):
        found, expected = draw(random), draw(jax.random)
    for a, b, other in zip(found, expected, partitionable, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(b != other)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_are_those_of_jax(impl):
    key = jax.random.key(31, impl=impl)

    def compare(keys, expected):
        assert keys.dtype == expected.dtype
        np.testing.assert_array_equal(*map(jax.random.key_data, (keys, expected)))

    compare(random.split(key), jax.random.split(key))
    compare(random.split(key, 0), jax.random.split(key, 0))  # of a net of one layer
    compare(jax.jit(lambda key: random.split(key, 5))(key), jax.random.split(key, 5))
    for number in (0, 7, 2**32 - 1, jnp.int32(-1), jnp.uint32(2**32 - 2)):
        compare(random.fold_in(key, number), jax.random.fold_in(key, number))
    keys, numbers = jax.random.split(key, 6).reshape(2, 3), jnp.arange(6).reshape(2, 3)
    for ours, theirs, *args in [
        (random.split, jax.random.split, keys),
        (random.fold_in, jax.random.fold_in, keys, numbers),
    ]:
        ours, theirs = (jax.jit(jax.vmap(jax.vmap(function))) for function in (ours, theirs))
        compare(ours(*args), theirs(*args))


def test_keys_are_those_of_jax_as_a_tpu_derives_them(monkeypatch):
    """The program for a TPU, which has no small arrays, run here: one number after the other."""
    key = jax.random.key(31)

    def lowered(platform):
        traced = jax.jit(lambda key: random.split(random.fold_in(key, 7), 3)).trace(key)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "optimization_barrier" in lowered("cpu")
    assert "optimization_barrier" not in lowered("tpu")
    assert "optimization_barrier" in lowered("cuda")

    monkeypatch.setattr(random, "_at_once", random._one_by_one)
    jax.clear_caches()
    for ours, theirs in [
        (random.split(key, 3), jax.random.split(key, 3)),
        (random.fold_in(key, 7), jax.random.fold_in(key, 7)),
    ]:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(*map(jax.random.key_data, (ours, theirs)))
    jax.clear_caches()


def test_fold_in_takes_one_number():
    with pytest.raises(TypeError, match=r"\(2,\).* one number"):
        random.fold_in(jax.random.key(0), jnp.arange(2))
    with pytest.raises(OverflowError, match="-1"):
        random.fold_in(jax.random.key(0), -1)


def test_bits_and_keys_are_elementwise_operations_only():
    """The point of the module: nothing that stops XLA from fusing the draw with its use."""
    loops = {"threefry2x32", "random_bits", "random_wrap", "while", "scan"}
    assert not loops & primitives(lambda key: random.bits(key, (100, 5)), jax.random.key(0))
    # Nor does a key need a loop of tiny programs; wrapping its words is none.
    key_loops = loops - {"random_wrap"}
    assert not key_loops & primitives(lambda key: random.split(key, 5), jax.random.key(0))
    assert not key_loops & primitives(random.fold_in, jax.random.key(0), 3)
    # Beyond 2³² the counter would wrap: jax.random takes over. Traced only, 16 GB otherwise.
    large = primitives(lambda key: random.bits(key, (2**16, 2**16)), jax.random.key(0))
    assert "random_bits" in large


def test_uniform_are_the_upper_24_bits():
    key, shape = jax.random.key(7), (1000, 30)
    draws = jax.jit(random.uniform, static_argnums=1)(key, shape)
    assert draws.dtype == jnp.float32
    np.testing.assert_array_equal(np.float64(draws), integers(key, shape) / 2**24)
    assert draws.min() >= 0
    assert draws.max() < 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_acts_on_probabilities_rounded_up_to_24_bits(dtype):
    key = jax.random.key(9)
    special = [0.0, 1.0, 2**-24, 1e-30, 1 - 2**-24, 0.5, 1 / 3, 0.3 * 2**-23, 1 - 2**-30]
    smooth = np.random.default_rng(0).random(5000)
    probability = jnp.tile(jnp.array([*special, *smooth], dtype), (40, 1))
    draws = bernoulli(key, probability)
    assert draws.dtype == probability.dtype
    assert draws.shape == probability.shape
    threshold = np.ceil(np.float64(probability) * 2**24)  # exact: a product by a power of two
    expected = integers(key, probability.shape) < threshold
    np.testing.assert_array_equal(np.float64(draws), expected)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bernoulli_is_0_at_its_own_draw_and_1_just_above(dtype):
    key = jax.random.key(12)
    drawn = jnp.asarray(integers(key, (10_000,)) / 2**24, dtype)  # exact in float32
    assert not np.any(bernoulli(key, drawn))
    assert np.all(bernoulli(key, jnp.nextafter(drawn, jnp.ones_like(drawn))) == 1)


def test_several_keys_are_refused_as_jax_refuses_them():
    """By what the shape checks of the tests leave alone: inside they see no key of ours."""
    keys = jax.random.split(jax.random.key(0), 2)
    assert random._is_ours(keys[0])
    assert not random._is_ours(keys)


def test_sizes_may_be_symbols():
    """In a process of its own: run-time checks of shapes ask for numbers."""
    program = """
import jax, jax.numpy as jnp
from jax import export
from dbn_jax import random
shape = jax.ShapeDtypeStruct(export.symbolic_shape("b, 6"), jnp.float32)
key, p = jax.random.key(0), jnp.full((5, 6), 0.5)
exported = export.export(jax.jit(random.bernoulli))(key, shape)
print(bool((exported.call(key, p) == random.bernoulli(key, p)).all()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=binaries.ROOT,
        env=binaries.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr


def test_dropout_keeps_the_mean():
    x = jnp.array([0.3, -2.0, 0.0, 1.0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    for rate in (0.2, 0.5):
        draws = jax.vmap(lambda key, rate=rate: random.dropout(key, x, rate))(keys)
        values = np.unique(np.asarray(draws[:, 1]))
        np.testing.assert_allclose(values, [-2.0 / (1 - rate), 0.0], rtol=1e-6)
        significance.assert_mean(draws[:, jnp.array([0, 1, 3])], x[jnp.array([0, 1, 3])])
        with pytest.raises(AssertionError):  # the power: without the division it would be seen
            significance.assert_mean(draws[:, :2] * (1 - rate), x[:2])
        # Units drop out independently of each other.
        out = np.asarray(draws == 0)
        significance.assert_mean(1.0 * (out[:, 0] & out[:, 1]), np.array(rate**2))
    assert random.dropout(jax.random.key(0), x, 0.0) is x
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"dropout rate is {rate}; it must be at least 0"):
            random.dropout(jax.random.key(0), x, rate)
