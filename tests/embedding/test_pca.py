"""Linear components against numpy."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.embedding import logistic_pca, pca


def correlated(num_examples, num_pixels, seed=0):
    """Examples whose variances fall from direction to direction, none equal; away from zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_examples, num_pixels)) * 0.8 ** np.arange(num_pixels)
    rotation = np.linalg.qr(rng.normal(size=(num_pixels, num_pixels)))[0]
    return x @ rotation + rng.normal(size=num_pixels)


@pytest.mark.parametrize("shape", [(40, 7), (7, 7), (5, 12)])
def test_fit_is_the_singular_value_decomposition(shape):
    x = correlated(*shape)
    num_components = min(shape) - 1  # centred: one fewer than images
    model = pca.fit(jnp.asarray(x, jnp.float32), num_components)
    np.testing.assert_allclose(model.mean, x.mean(axis=0), rtol=1e-5, atol=1e-6)
    _, singular_values, rows = np.linalg.svd(x - x.mean(axis=0))
    expected = rows[:num_components].T
    expected = expected * np.sign(expected[np.abs(expected).argmax(0), np.arange(num_components)])
    np.testing.assert_allclose(model.components, expected, atol=1e-5)
    variances = singular_values[:num_components] ** 2 / len(x)
    np.testing.assert_allclose(model.variances, variances, rtol=1e-5)
    codes = np.asarray(pca.encode(model, jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(codes, (x - x.mean(axis=0)) @ expected, atol=1e-5)
    np.testing.assert_allclose(codes.T @ codes / len(x), np.diag(variances), atol=1e-5)
    x_hat = pca.decode(model, jnp.asarray(codes))
    np.testing.assert_allclose(x_hat, x.mean(axis=0) + codes @ expected.T, atol=1e-5)


def test_small_variances_keep_their_digits():
    # In the eigenvalues of a float32 covariance matrix they would drown: 1e-8 beside 1.
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scales = np.array([1, 1e-1, 1e-2, 1e-3, 1e-4, 3e-5])
    x = (rng.normal(size=(200, 6)) * scales) @ basis
    x -= x.mean(axis=0)
    found = pca.fit(jnp.asarray(x, jnp.float32), 6).variances
    expected = np.linalg.svd(x, compute_uv=False) ** 2 / len(x)
    np.testing.assert_allclose(np.sqrt(found), np.sqrt(expected), rtol=0.01)


def test_fits_are_compiled_and_mapped(x64):
    x = jnp.asarray(np.stack([correlated(12, 5, seed) for seed in range(3)]))
    one_by_one = [pca.fit(part, 2) for part in x]
    mapped = jax.jit(jax.vmap(lambda x: pca.fit(x, 2)))(x)
    for i, model in enumerate(one_by_one):
        own = jax.tree.map(operator.itemgetter(i), mapped)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), own, model)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "bool", "float64", "list"])
def test_images_of_any_floats_and_booleans(kind):
    x = np.random.default_rng(0).integers(0, 2, (30, 6)).astype(np.float32)
    given = x.tolist() if kind == "list" else x.astype(jnp.dtype(kind))
    model = pca.fit(jnp.asarray(x), 2)
    jax.tree.map(np.testing.assert_array_equal, pca.fit(given, 2), model)
    codes = pca.encode(model, jnp.asarray(x))
    np.testing.assert_array_equal(pca.encode(model, given), codes)
    np.testing.assert_array_equal(pca.decode(model, codes.tolist()), pca.decode(model, codes))
    logistic = logistic_pca.fit(jnp.asarray(x), 2, max_iterations=2)
    jax.tree.map(
        np.testing.assert_array_equal,
        logistic_pca.fit(given, 2, max_iterations=2).model,
        logistic.model,
    )
    codes = logistic_pca.encode(logistic.model, jnp.asarray(x))
    np.testing.assert_array_equal(logistic_pca.encode(logistic.model, given), codes)
    found = logistic_pca.decode(logistic.model, codes.tolist())
    np.testing.assert_array_equal(found, logistic_pca.decode(logistic.model, codes))
