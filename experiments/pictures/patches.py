"""Pictures of an RBM of whitened patches: its features and the Gabor functions in them, samples."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import figures, rbm
from dbn_jax.data import patches
from dbn_jax.training import workdir
from experiments.pictures import gabor

# A feature counts as a Gabor function above this correlation, and as oriented if the wave at right
# angles has less than half of its amplitude.
_FITS = 0.8
_ORIENTED = 0.5
_NUM_FITS_SHOWN = 24
_NUM_SAMPLES = 24
_COLUMNS = 12


def draw(
    run_dir: workdir.Workdir,
    params: rbm.RBM,
    whitening: patches.Whitening,
    data: patches.Patches,
    densities: Mapping[str, object],
    *,
    sample_steps: int,
    seed: int,
) -> dict[str, float]:
    """Draws the pictures of a learnt RBM.

    Args:
      run_dir: whose figures they become.
      params: the RBM, of whitened patches.
      whitening: how they were whitened.
      data: the patches; test patches are shown beside samples.
      densities: scikit-learn's mixtures that are sampled too, by name.
      sample_steps: Gibbs steps before a sample.
      seed: of everything random.

    Returns:
      What the pictures tell in numbers: `gabor_share` of the features whose correlation with a
      Gabor function is above 0.8, `oriented_gabor_share` of those that are oriented besides
      (`gabor.orientation_selectivity` above 1/2), `gabor_correlation` (median), and of those above
      0.8 the median `gabor_frequency` (cycles per pixel), `gabor_width` and `gabor_length` (pixels;
      α and β of `experiments.pictures.gabor`).
    """
    shape = data.image_shape
    # A hidden unit that is on adds σW_j to the mean of the whitened patch.
    added = (params.weights * params.visible.scale[:, None]).T
    features = np.asarray(whitening.zca(added))
    grey = np.asarray((added * whitening.scales[None]) @ whitening.components)
    images = jnp.asarray(features).reshape(-1, *shape)
    fits = gabor.fit(images)
    correlation = np.asarray(fits.correlation)
    good = correlation > _FITS
    oriented = good & (np.asarray(gabor.orientation_selectivity(images)) > _ORIENTED)
    share = (
        f"{good.mean():.0%} of all {len(good)} correlate by over {_FITS} with a Gabor function, "
        f"and {oriented.mean():.0%} are oriented as well"
    )

    def save(picture, name):
        figures.save(picture, run_dir.figures / f"{name}.png")

    for name, images, what in (
        ("features", features, "whitened patch"),
        ("features_in_grey_levels", grey, "patch of grey levels"),
    ):
        picture = figures.receptive_fields(
            images.T,
            image_shape=shape,
            title=f"What each hidden unit adds to a {what}",
            subtitle=share if name == "features" else None,
            max_units=200,
            scale="unit",
        )
        save(picture, name)
    shown = slice(_NUM_FITS_SHOWN)
    save(
        figures.image_rows(
            {
                "feature": _to_one(features[shown]),
                "Gabor function": _to_one(np.asarray(fits.image)[shown].reshape(-1, shape[0] ** 2)),
            },
            image_shape=shape,
            title="The first features, and the Gabor functions that fit them best",
            subtitle=share,
            columns=_COLUMNS,
            value_range=(-1, 1),
        ),
        "gabor_functions",
    )
    rows = {"test patches": data.test[:_NUM_SAMPLES]}
    start_key, chain_key = jax.random.split(jax.random.key(seed + 2))
    noise = jax.random.normal(start_key, (_NUM_SAMPLES, params.visible.num_units))
    z, _ = rbm.gibbs(chain_key, params, noise, sample_steps)
    rows["RBM"] = np.asarray(whitening.unwhiten(z))
    for name, model in densities.items():
        # Drawn component by component: shuffled, so that the first are not all of one.
        drawn = np.random.RandomState(seed).permutation(model.sample(100 * _NUM_SAMPLES)[0])
        z = jnp.asarray(drawn[:_NUM_SAMPLES], jnp.float32)
        rows[name] = np.asarray(whitening.unwhiten(z))
    # Full black and white for the most extreme thousandth of the pixels.
    limit = float(np.quantile(np.abs(data.test), 0.999))
    save(
        figures.image_rows(
            {name: np.clip(images, -limit, limit) for name, images in rows.items()},
            image_shape=shape,
            title="Patches, and samples of the models",
            subtitle=f"without the patches' means; black and white are ±{limit:.0f} of 255 grey "
            f"levels; RBM: {sample_steps} Gibbs steps from noise",
            columns=_COLUMNS,
            value_range=(-limit, limit),
        ),
        "samples",
    )
    _draw_curves(run_dir)
    results = {
        "gabor_share": float(good.mean()),
        "oriented_gabor_share": float(oriented.mean()),
        "gabor_correlation": float(np.median(correlation)),
    }
    if good.any():
        widths = np.asarray(fits.widths)[good]
        results |= {
            "gabor_frequency": float(np.median(np.asarray(fits.frequency)[good])),
            "gabor_width": float(np.median(widths[:, 0])),
            "gabor_length": float(np.median(widths[:, 1])),
        }
    return results


def _draw_curves(run_dir):
    table = figures.read_metrics(run_dir.metrics)
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
    picture = figures.learning_curves(curves, title="Learning", x_label="epoch")
    figures.save(picture, run_dir.figures / "curves.png")


def _to_one(images):
    return images / np.maximum(np.abs(images).max(axis=1, keepdims=True), 1e-12)
