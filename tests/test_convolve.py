"""Products of images with filters against sums written out, and their derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolve

PADDINGS = [((0, 0), (0, 0)), ((1, 0), (2, 1))]


def small(seed=0):
    """Images, filters, and a maker of what comes out of them."""
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.normal(size=shape)) for shape in ((2, 5, 6, 3), (2, 3, 3, 4)))


def written_out(images, filters, padding):
    images = np.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns, _, num_maps = filters.shape
    down, across = images.shape[1] - rows + 1, images.shape[2] - columns + 1
    out = np.zeros((len(images), down, across, num_maps))
    for y, x in itertools.product(range(down), range(across)):
        seen = images[:, y : y + rows, x : x + columns]
        out[:, y, x] = np.tensordot(seen, filters, axes=3)
    return out


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("padding", PADDINGS)
def test_values_and_both_forms_of_the_derivative(padding):
    images, filters = small()
    expected = written_out(images, filters, padding)
    for function in (convolve.convolve, convolve._by_rows):
        np.testing.assert_allclose(function(images, filters, padding), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("padding", PADDINGS)
def test_derivatives_are_those_of_the_convolution(padding):
    images, filters = small()
    moves = tuple(small(1))

    def plain(images, filters):
        return convolve._by_convolution(images, filters, padding)

    def own(images, filters):
        return convolve.convolve(images, filters, padding)

    for argument in ((0,), (1,), (0, 1)):  # where one is fixed, nothing is computed for it

        def of(function, argument=argument):
            given = [images, filters]

            def partial(*changed):
                both = given.copy()
                for i, x in zip(argument, changed, strict=True):
                    both[i] = x
                return function(*both)

            at = tuple(given[i] for i in argument)
            _, tangent = jax.jvp(partial, at, tuple(moves[i] for i in argument))
            out, back = jax.vjp(partial, *at)
            return tangent, back(jnp.cos(out))

        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10), of(own), of(plain))


@pytest.mark.usefixtures("x64")
def test_gradients_of_several_models_at_once():
    images, filters = small()
    several = jnp.stack([filters, 2 * filters])

    def loss(filters):
        return jnp.sum(convolve.convolve(images, filters, PADDINGS[1]) ** 2)

    found = jax.vmap(jax.grad(loss))(several)
    each = [jax.grad(loss)(each) for each in several]
    np.testing.assert_allclose(found, jnp.stack(each), rtol=1e-10)


def test_no_convolution_with_odd_dimensions_is_left_in_a_loop():
    """XLA:CPU is slow at these: in a loop it leaves the order of their dimensions as it is."""
    images, filters = (x.astype(jnp.float32) for x in small())

    def update(filters, _):
        gradient = jax.grad(lambda w: jnp.sum(convolve.convolve(images, w, PADDINGS[0]) ** 2))
        return filters - 1e-3 * gradient(filters), None

    loop = jax.jit(lambda filters: jax.lax.scan(update, filters, length=3)[0])
    text = loop.lower(filters).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in text
