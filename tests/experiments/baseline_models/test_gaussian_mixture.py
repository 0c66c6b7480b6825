"""Mixtures of Gaussians against their formula."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from experiments.baseline_models import gaussian_mixture


def scale_mixture(random, count):
    """Half of the examples from N(0, I), half from N(0, 9 I), in four dimensions, shuffled."""
    wide = random.random_sample(count) < 0.5
    x = random.standard_normal((count, 4)) * np.where(wide, 3, 1)[:, None]
    return x.astype(np.float32)


def true_log_density(x):
    parts = [scipy.stats.multivariate_normal(cov=s * np.eye(4)).logpdf(x) for s in (1.0, 9.0)]
    return scipy.special.logsumexp(parts, axis=0) - np.log(2)


@pytest.fixture(scope="module")
def x():
    random = np.random.RandomState(0)
    return scale_mixture(random, 4000), scale_mixture(random, 1000)


def test_one_component_is_the_gaussian_with_all_covariances(x):
    train, test = x
    model = gaussian_mixture.fit(train, 1)
    cov = np.cov(train, rowvar=False, bias=True) + gaussian_mixture._FLOOR * np.eye(4)
    expected = scipy.stats.multivariate_normal(train.mean(axis=0), cov).logpdf(test)
    np.testing.assert_allclose(model.score_samples(test), expected, rtol=1e-4)


def test_more_components_have_the_density_of_the_formula(x):
    train, test = x
    model = gaussian_mixture.fit(train, 3)
    parts = [
        np.log(weight) + scipy.stats.multivariate_normal(mean, cov).logpdf(test)
        for weight, mean, cov in zip(model.weights_, model.means_, model.covariances_, strict=True)
    ]
    expected = scipy.special.logsumexp(parts, axis=0)
    np.testing.assert_allclose(model.score_samples(test), expected, rtol=1e-3, atol=1e-3)


def test_the_number_of_components_is_chosen_on_validation_patches(x):
    train, validation = x
    gaussian, best, scores = gaussian_mixture.choose(train, validation, 8)
    assert gaussian.n_components == 1
    assert list(scores) == [1, 2, 4, 8][: len(scores)]
    assert best.n_components == max(scores, key=scores.get)
    assert best.n_components > 1
    # As good as the truth, up to the fit of some 30 numbers: half a nat in 4,000 examples for each.
    truth = true_log_density(validation).mean()
    assert scores[best.n_components] == pytest.approx(truth, abs=0.03)
    assert scores[1] < truth - 0.1
    assert list(gaussian_mixture.choose(train, validation, 1)[2]) == [1]
