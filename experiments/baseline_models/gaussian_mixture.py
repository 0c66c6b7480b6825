"""Mixtures of Gaussians of whitened patches, with which an RBM is compared."""

import numpy as np

_TOLERANCE = 0.05  # nats per patch that an iteration must gain
_MAX_FITTED = 30_000  # training patches, as each iteration passes through all of them
_MAX_ITERATIONS = 200
_FLOOR = 1e-3  # added to each variance, of data whose mean variance is one


def fit(x: np.ndarray, num_components: int):
    """Fits a mixture of Gaussians with any means and covariances, by EM.

    It starts as a scale mixture, since patches differ most in contrast (Wainwright, Simoncelli
    2000, "Scale mixtures of Gaussians and the statistics of natural images"): patches are grouped
    by their norm, and each group gives one round component its width. Random starts left most
    components without patches. Of whitened patches (N, K), in random order, the first 30,000 are
    fitted.

    Returns:
      scikit-learn's `GaussianMixture`.
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise ModuleNotFoundError(
            "mixtures of Gaussians need scikit-learn: pip install 'dbn_jax[experiments]'"
        ) from error
    x = x[:_MAX_FITTED]
    variances = np.sort(np.mean(x.astype(np.float64) ** 2, axis=1))
    scales = [group.mean() for group in np.array_split(variances, num_components)]
    identity = np.eye(x.shape[1])
    model = GaussianMixture(
        num_components,
        tol=_TOLERANCE,
        reg_covar=_FLOOR,
        max_iter=_MAX_ITERATIONS,
        weights_init=np.full(num_components, 1 / num_components),
        means_init=np.zeros((num_components, x.shape[1])),
        precisions_init=np.stack([identity / (scale + _FLOOR) for scale in scales]),
        random_state=0,
    )
    return model.fit(x)


def choose(train: np.ndarray, validation: np.ndarray, max_components: int):
    """Fits mixtures of 1, 2, 4, … components while the likelihood of validation patches rises.

    Returns:
      The Gaussian, the chosen mixture (the Gaussian too, should none be better), and the mean
      log-likelihood of the validation patches (nats) by number of components.
    """
    scores, models = {}, {}
    count = 1
    while count <= max_components:
        models[count] = fit(train, count)
        scores[count] = float(np.mean(models[count].score_samples(validation)))
        if scores[count] < max(scores.values()):
            break
        count *= 2
    return models[1], models[max(scores, key=scores.__getitem__)], scores
