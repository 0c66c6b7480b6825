"""The pictures of `train_patches`: features, the Gabor functions that fit them, samples, curves."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import figures, rbm
from dbn_jax.data import patches
from experiments.pictures import gabor, steps

_NUM_FITS_SHOWN = 24
_NUM_SAMPLES = 24
_COLUMNS = 12


def draw(
    key: jax.Array,
    params: rbm.RBM,
    whitening: patches.Whitening,
    data: patches.Patches,
    densities: Mapping[str, object],
    table: Mapping[str, np.ndarray],
    *,
    num_steps: int,
) -> tuple[dict[str, float], dict[str, Figure]]:
    """Draws the pictures of an RBM of whitened patches.

    Args:
      densities: scikit-learn's mixtures that are sampled too, by name.
      table: the metrics of training.
      num_steps: Gibbs steps before a sample.

    Returns:
      Results for the summary (`gabor.describe`), and the pictures.
    """
    shape = data.image_shape
    # A hidden unit that is on adds σW_j to the mean of the whitened patch.
    added = (params.weights * params.visible.scale[:, None]).T
    features = np.asarray(whitening.zca(added))
    grey = np.asarray((added * whitening.scales[None]) @ whitening.components)
    images = jnp.asarray(features).reshape(-1, *shape)
    fits, results, share = gabor.describe(images)

    def weights(images, what, subtitle=None):
        return figures.receptive_fields(
            images.T,
            image_shape=shape,
            title=f"What each hidden unit adds to a {what}",
            subtitle=subtitle,
            max_units=200,
            scale="unit",
        )

    shown = slice(_NUM_FITS_SHOWN)
    fitted = np.asarray(fits.image)[shown].reshape(-1, shape[0] ** 2)
    pictures = {
        "features": weights(features, "whitened patch", share),
        "features_in_grey_levels": weights(grey, "patch of grey levels"),
        "gabor_functions": figures.image_rows(
            {"feature": _to_one(features[shown]), "Gabor function": _to_one(fitted)},
            image_shape=shape,
            title="The first features and the Gabor functions that fit them best",
            subtitle=share,
            columns=_COLUMNS,
            value_range=(-1, 1),
        ),
        "samples": _samples(key, params, whitening, data, densities, num_steps),
        "curves": _curves(table),
    }
    return results, pictures


def _samples(key, params, whitening, data, densities, num_steps) -> Figure:
    """Test patches, and samples of each model in a row."""
    rows = {"test patches": data.test[:_NUM_SAMPLES]}
    start_key, chain_key, shuffle_key = jax.random.split(key, 3)
    noise = jax.random.normal(start_key, (_NUM_SAMPLES, params.visible.num_units))
    z, _ = rbm.gibbs(chain_key, params, noise, num_steps)
    rows["RBM"] = np.asarray(whitening.unwhiten(z))
    for name, model in densities.items():
        # Drawn component by component: shuffled, so that the first are not all of one.
        drawn = jnp.asarray(model.sample(100 * _NUM_SAMPLES)[0], jnp.float32)
        drawn = jax.random.permutation(shuffle_key, drawn)[:_NUM_SAMPLES]
        rows[name] = np.asarray(whitening.unwhiten(drawn))
    # Full black and white for the most extreme thousandth of the pixels.
    limit = float(np.quantile(np.abs(data.test), 0.999))
    return figures.image_rows(
        {name: np.clip(images, -limit, limit) for name, images in rows.items()},
        image_shape=data.image_shape,
        title="Test patches, and samples of the models",
        subtitle=f"without the patches' means; black and white are ±{limit:.0f} of 255 grey "
        f"levels; RBM: {steps.in_words(num_steps)} from noise",
        columns=_COLUMNS,
        value_range=(-limit, limit),
    )


def _curves(table) -> Figure:
    epoch = table["epoch"]
    curves = {
        "log-likelihood by annealing (nats)": {
            "training": (epoch, table["eval_log_likelihood_train"]),
            "validation": (epoch, table["eval_log_likelihood"]),
        },
        "reconstruction error": {"training": (epoch, table["reconstruction_error"])},
        "hidden units on": {"validation": (epoch, table["eval_hidden_activity"])},
        "σ, mean": {"visible units": (epoch, table["eval_sigma"])},
    }
    return figures.learning_curves(
        curves, title="Training of the RBM", x_label="epoch", shares=["hidden units on"]
    )


def _to_one(images):
    return images / np.maximum(np.abs(images).max(axis=1, keepdims=True), 1e-12)
