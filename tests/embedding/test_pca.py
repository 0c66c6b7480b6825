"""Linear components against numpy."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.embedding import pca


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def correlated(num_examples, num_pixels, seed=0):
    """Examples whose variances fall from direction to direction, none equal; away from zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_examples, num_pixels)) * 0.8 ** np.arange(num_pixels)
    rotation = np.linalg.qr(rng.normal(size=(num_pixels, num_pixels)))[0]
    return x @ rotation + rng.normal(size=num_pixels)


def squared_error(model, x):
    x_hat = np.asarray(pca.decode(model, pca.encode(model, x)), np.float64)
    return np.mean(np.sum((np.asarray(x, np.float64) - x_hat) ** 2, axis=-1))


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


def test_components_are_orthonormal_and_errors_add_up():
    x = correlated(50, 9)
    images = jnp.asarray(x, jnp.float32)
    full = pca.fit(images, 9)
    np.testing.assert_allclose(full.components.T @ full.components, np.eye(9), atol=1e-6)
    assert squared_error(full, images) < 1e-10
    for num_components in (1, 2, 5, 8):
        model = pca.fit(images, num_components)
        found = squared_error(model, images)
        np.testing.assert_allclose(found, full.variances[num_components:].sum(), rtol=1e-5)
        x_hat = pca.decode(model, pca.encode(model, images))
        # A projection: what is in the subspace stays as it is.
        again = pca.decode(model, pca.encode(model, x_hat))
        np.testing.assert_allclose(again, x_hat, atol=1e-5)


def test_no_other_subspace_is_better(x64):
    x = jnp.asarray(correlated(60, 8))
    model = pca.fit(x, 3)
    least = squared_error(model, x)
    rng = np.random.default_rng(1)
    full = pca.fit(x, 8)
    for _ in range(50):
        basis = jnp.asarray(np.linalg.qr(rng.normal(size=(8, 3)))[0])
        other = pca.PCA(model.mean, basis, model.variances)
        assert squared_error(other, x) > least
    # The nearest rivals: a component tilted toward one that was left out costs what it must.
    angle = 1e-3
    for kept, left_out in [(0, 3), (2, 3), (1, 7)]:
        tilted = (
            np.cos(angle) * full.components[:, kept] + np.sin(angle) * full.components[:, left_out]
        )
        other = pca.PCA(model.mean, model.components.at[:, kept].set(tilted), model.variances)
        cost = np.sin(angle) ** 2 * (full.variances[kept] - full.variances[left_out])
        np.testing.assert_allclose(squared_error(other, x) - least, cost, rtol=1e-6)


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
