"""Logistic components against autodiff, scipy and a planted model; what both kinds have alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from dbn_jax.embedding import logistic_pca, pca


def planted(num_examples, num_pixels, num_components, seed=0):
    """Natural parameters of a model with components: (N, V)."""
    rng = np.random.default_rng(seed)
    codes, components = (rng.normal(size=(n, num_components)) for n in (num_examples, num_pixels))
    return rng.normal(size=num_pixels) + codes @ components.T


def grey(theta, num_draws, seed=0):
    """Means of so many binary draws with these natural parameters."""
    draws = np.random.default_rng(seed).binomial(num_draws, scipy.special.expit(theta))
    return draws / num_draws


@jax.jit
def objective(parts, x, penalty):
    """The penalised log-likelihood in nats per image, written anew."""
    offset, components, codes = parts
    theta = jnp.broadcast_to(offset, x.shape) + codes @ components.T
    log_p = x * jax.nn.log_sigmoid(theta) + (1 - x) * jax.nn.log_sigmoid(-theta)
    squares = sum(jnp.sum(part**2) for part in parts)
    return (jnp.sum(log_p) - penalty / 2 * squares) / len(x)


slopes = jax.jit(jax.grad(objective))


def parts_of(fit):
    return fit.model.offset, fit.model.components, fit.codes


# Grey and binary pixels; more images than pixels, and fewer; one component, and all of them.
CASES = {
    "grey": (30, 8, 2, 5, 0.1),
    "binary": (30, 8, 2, 1, 0.2),
    "wide": (7, 20, 1, 3, 0.5),
    "full": (9, 6, 6, 2, 0.3),
}


@pytest.mark.parametrize("case", CASES)
def test_objective_rises_to_a_stationary_point(x64, case):
    *shape, num_draws, penalty = CASES[case]
    x = jnp.asarray(grey(planted(*shape), num_draws))
    num_components = shape[2]
    fit = logistic_pca.fit(x, num_components, penalty=penalty, tolerance=1e-14, max_iterations=3000)
    assert fit.converged
    assert len(fit.objective) > 3
    # It rises, and it is the objective of what was returned.
    assert np.diff(fit.objective).min() > 0
    assert fit.objective[-1] - fit.objective[0] > 0.01
    parts = parts_of(fit)
    np.testing.assert_allclose(fit.objective[-1], objective(parts, x, penalty), rtol=1e-12)
    # 1e-14 of the objective, at curvatures of about 1, leaves gradients of about 1e-7.
    start = jax.tree.map(lambda part: np.asarray(part) + 0.1, parts)
    assert max(np.abs(g).max() for g in slopes(start, x, penalty)) > 1e-2
    for gradient in slopes(parts, x, penalty):
        assert np.abs(gradient).max() < 1e-5
    # The canonical form: one diagonal matrix of inner products, from large to small, and signs.
    _, components, codes = map(np.asarray, parts)
    inner = components.T @ components
    np.testing.assert_allclose(codes.T @ codes, inner, atol=1e-8)
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-8)
    assert np.all(np.diff(np.diag(inner)) <= 1e-12)
    largest = np.abs(components).argmax(axis=0)
    assert np.all(components[largest, np.arange(num_components)] >= 0)


def test_fit_extrapolates_and_keeps_the_best(x64):
    x = jnp.asarray(grey(planted(30, 8, 2), 1))
    fits = {
        n: logistic_pca.fit(x, 2, penalty=0.1, tolerance=0.0, max_iterations=n) for n in (1, 30)
    }
    for fit in fits.values():
        assert not fit.converged
        np.testing.assert_allclose(fit.objective[-1], objective(parts_of(fit), x, 0.1), rtol=1e-12)
    assert fits[1].objective.shape == (1,)
    # As many plain iterations get less far.
    now = fits[1].model, fits[1].codes
    for _ in range(29):
        *now, found = logistic_pca._iterate(x, tuple(now), tuple(now), 0.0)
    exact = logistic_pca.fit(x, 2, penalty=0.1, tolerance=1e-15, max_iterations=3000)
    left, left_plain = (exact.objective[-1] - float(y) for y in (fits[30].objective[-1], found))
    assert -1e-12 < left < left_plain / 2


def test_penalty_is_the_nuclear_norm(x64):
    # Its subgradient says when no component is worth its penalty: once no singular value of the
    # residual exceeds λ.
    x = grey(planted(30, 8, 2), 5)
    largest = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[0]
    for penalty, num_alive in [(1.5 * largest, 0), (largest / 1.5, 1)]:
        fit = logistic_pca.fit(
            jnp.asarray(x), 3, penalty=float(penalty), tolerance=1e-14, max_iterations=3000
        )
        offset, components, codes = (np.asarray(part) for part in parts_of(fit))
        theta = offset + codes @ components.T
        values = np.linalg.svd(x - scipy.special.expit(theta), compute_uv=False)
        lengths = np.linalg.norm(components, axis=0)
        alive = lengths > 1e-3
        assert alive.sum() >= num_alive
        assert (num_alive > 0) == alive.any()
        np.testing.assert_allclose(values[: alive.sum()], penalty, rtol=1e-5)
        assert np.all(values[alive.sum() :] < penalty * (1 + 1e-5))


def test_equal_images_leave_base_rates_only(x64):
    image = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    x = jnp.asarray(np.tile(image, (20, 1)))
    fit = logistic_pca.fit(x, 2, penalty=0.5, tolerance=1e-15)
    np.testing.assert_allclose(fit.model.components, np.zeros((5, 2)), atol=1e-12)
    offset = np.asarray(fit.model.offset)
    np.testing.assert_allclose(20 * (image - scipy.special.expit(offset)), 0.5 * offset, atol=1e-6)


@pytest.fixture(scope="module")
def fitted():
    """Images (float64), and components fitted to convergence."""
    with jax.enable_x64(True):
        x = grey(planted(30, 8, 2), 1)
        return x, logistic_pca.fit(
            jnp.asarray(x), 2, penalty=0.1, tolerance=1e-15, max_iterations=3000
        )


def test_codes_of_training_images_are_those_of_the_fit(x64, fitted):
    x, fit = fitted
    found = logistic_pca.encode(fit.model, jnp.asarray(x), tolerance=1e-14)
    np.testing.assert_allclose(found, fit.codes, atol=1e-5)
    offset, components = np.asarray(fit.model.offset), np.asarray(fit.model.components)
    x_hat = scipy.special.expit(offset + np.asarray(found) @ components.T)
    np.testing.assert_allclose(logistic_pca.decode(fit.model, found), x_hat, rtol=1e-10)


def test_codes_of_unseen_images_maximise_their_likelihood(x64, fitted):
    _, fit = fitted
    x = grey(planted(6, 8, 2, seed=3), 1, seed=4)
    x[0] = 0.0  # nothing but the penalty may hold these
    x[1] = 1.0
    model = fit.model
    codes = logistic_pca.encode(model, jnp.asarray(x), tolerance=1e-14)

    def cost(code, image):
        theta = np.asarray(model.offset) + np.asarray(model.components) @ code
        return np.logaddexp(0, theta).sum() - image @ theta + 0.05 * code @ code

    for image, code in zip(x, codes, strict=True):
        best = scipy.optimize.minimize(cost, np.zeros(2), args=(image,), tol=1e-12)
        np.testing.assert_allclose(code, best.x, atol=1e-4)
    rough = logistic_pca.encode(model, jnp.asarray(x), max_iterations=1)
    assert np.abs(rough - codes).max() > 0.01


def single(fit):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), fit.model)


def test_any_leading_axes_one_by_one_compiled_and_mapped(fitted):
    x = jnp.asarray(fitted[0], jnp.float32)
    with jax.enable_x64(True):
        logistic = single(fitted[1])
    for kind, model in ((pca, pca.fit(x, 2)), (logistic_pca, logistic)):
        codes = kind.encode(model, x)
        assert (codes.shape, codes.dtype) == ((30, 2), jnp.float32)
        grid = kind.encode(model, x.reshape(2, 15, 8))
        np.testing.assert_allclose(grid.reshape(30, 2), codes, atol=1e-5)
        np.testing.assert_allclose(kind.encode(model, x[3]), codes[3], atol=1e-5)
        assert kind.decode(model, grid).shape == (2, 15, 8)
        np.testing.assert_allclose(jax.jit(kind.encode)(model, x), codes, atol=1e-5)
        halved = jax.tree.map(lambda a: jnp.asarray(np.asarray(a) / 2), model)
        ensemble = jax.tree.map(lambda a, b: np.stack([a, b]), model, halved)
        mapped = jax.jit(jax.vmap(kind.encode, in_axes=(0, None)))(ensemble, x)
        np.testing.assert_allclose(mapped[0], codes, atol=1e-5)
        half = kind.encode(halved, x)
        np.testing.assert_allclose(mapped[1], half, atol=1e-5)
        assert np.abs(half - codes).max() > 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_precision_is_that_of_the_data_but_single_at_least(x64, dtype):
    x = jnp.asarray(grey(planted(30, 8, 2), 1), dtype)
    wanted = jnp.float64 if dtype == "float64" else jnp.float32
    fit = logistic_pca.fit(x, 2, max_iterations=2)
    for leaf in jax.tree.leaves((pca.fit(x, 2), fit.model, fit.codes)):
        assert leaf.dtype == wanted
    assert logistic_pca.encode(fit.model, x).dtype == wanted
    assert logistic_pca.decode(fit.model, fit.codes).dtype == wanted


def test_single_precision_finds_the_same(fitted):
    x, fit = fitted
    found = logistic_pca.fit(jnp.asarray(x, jnp.float32), 2, penalty=0.1, tolerance=1e-7)
    assert abs(found.objective[-1] - fit.objective[-1]) < 1e-4


def test_callback_hears_of_every_iteration():
    heard = []
    x = jnp.asarray(grey(planted(30, 8, 2), 1), jnp.float32)
    fit = logistic_pca.fit(x, 2, max_iterations=3, callback=lambda *news: heard.append(news))
    assert [iteration for iteration, _ in heard] == [1, 2, 3]
    assert {value for _, value in heard} == set(fit.objective)


GREY = jnp.linspace(0, 1, 24).reshape(6, 4)


@pytest.mark.parametrize("fit", [pca.fit, logistic_pca.fit])
def test_bad_data_are_refused(fit):
    for num_components in (0, 5):
        with pytest.raises(
            ValueError, match=rf"is {num_components}, but x of shape \(6, 4\) has 1 to 4"
        ):
            fit(GREY, num_components)
    with pytest.raises(ValueError, match="NaN or infinity; remove those images"):
        fit(GREY.at[2, 1].set(jnp.nan), 2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit(GREY.at[2, 1].set(jnp.inf), 2)
    with pytest.raises(TypeError, match=r"uint8 numbers; convert .* / 255"):
        fit(jnp.zeros((6, 4), jnp.uint8), 2)


def test_logistic_pca_wants_grey_levels_and_a_penalty():
    with pytest.raises(ValueError, match=r"lies in \[-.*, .*\], but must lie in \[0, 1\]"):
        logistic_pca.fit(GREY - 0.5, 2)
    with pytest.raises(ValueError, match=r"lies in \[0, 1\.5\]"):
        logistic_pca.fit(1.5 * GREY, 2)
    for penalty in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be positive, or there may be no maximum"):
            logistic_pca.fit(GREY, 2, penalty=penalty)


def test_images_to_encode_must_be_like_those_of_the_fit():
    logistic = logistic_pca.fit(GREY, 2, max_iterations=1).model
    for kind, model in ((pca, pca.fit(GREY, 2)), (logistic_pca, logistic)):
        with pytest.raises(ValueError, match="images of 3 pixels; the components have 4"):
            kind.encode(model, GREY[:, :3])
        with pytest.raises(ValueError, match="NaN"):
            kind.encode(model, GREY.at[0, 0].set(jnp.nan))
        with pytest.raises(TypeError, match="uint8"):
            kind.encode(model, jnp.zeros((6, 4), jnp.uint8))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        logistic_pca.encode(logistic, 2 * GREY)
