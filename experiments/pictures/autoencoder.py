"""The pictures of `train_autoencoder`: reconstructions, also by PCA and logistic PCA; curves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from matplotlib.figure import Figure

from dbn_jax import data, figures, networks
from dbn_jax.embedding import logistic_pca, pca
from dbn_jax.training import progress

_NUM_TRAIN = 2000  # training images whose error is reported
# The methods beside the autoencoder, by their names in the summary.
_NAMES = {
    "logistic PCA, best codes": "logistic_pca",
    "logistic PCA, linear codes": "linear_codes",
    "PCA": "pca",
}


def pixels(key: jax.Array, transform: data.Transform, images: np.ndarray) -> jax.Array:
    """Turns rows of the data set into pixels."""
    return jnp.asarray(data.in_blocks(functools.partial(data.apply, transform), key, images))


def draw(
    key: jax.Array,
    dataset: data.Dataset,
    transform: data.Transform,
    model: networks.Autoencoder,
    shallow: networks.Autoencoder,
    table: dict[str, np.ndarray],
    *,
    with_logistic_pca: bool,
) -> tuple[dict[str, object], dict[str, Figure]]:
    """Draws reconstructions of held-out images by each method, and the curves of fine-tuning.

    Results for the summary, the errors, come first.

    Args:
      model: the deep autoencoder; PCA and logistic PCA use as many numbers as its code has.
      shallow: the autoencoder without hidden layers.
      table: the metrics of fine-tuning.
      with_logistic_pca: whether logistic PCA finds the best codes too, which takes longest.
    """
    part, held_out = dataset.held_out
    train_key, held_out_key = jax.random.split(key)
    train = pixels(train_key, transform, dataset.train.images)
    v = pixels(held_out_key, transform, held_out.images)
    size = model.decoder[0].kernel[...].shape[0]
    linear = pca.fit(train, size)
    methods = {"deep autoencoder": functools.partial(_restore, model)}
    found = {}
    if with_logistic_pca:
        logistic = logistic_pca.fit(train, size, callback=_report)
        if not logistic.converged:
            logging.warning("logistic PCA has not converged: its error may be too large")
        found = {
            "logistic_pca_iterations": len(logistic.objective),
            "logistic_pca_converged": logistic.converged,
        }
        methods["logistic PCA, best codes"] = lambda v: logistic_pca.decode(
            logistic.model, logistic_pca.encode(logistic.model, v)
        )
    methods["logistic PCA, linear codes"] = functools.partial(_restore, shallow)
    methods["PCA"] = lambda v: pca.decode(linear, pca.encode(linear, v))
    # The first image of each class.
    shown = np.array([np.flatnonzero(held_out.labels == c)[0] for c in np.unique(held_out.labels)])
    rows, errors, notes = {"real data": v[shown]}, {}, {}
    for name, restore in methods.items():
        restored = data.in_blocks(lambda _, block, restore=restore: restore(block), key, v)
        errors[name] = float(np.mean(np.sum((v - restored) ** 2, axis=-1)))
        row = f"{size}-D {name}"
        # PCA leaves the range of grey levels.
        rows[row], notes[row] = np.clip(restored[shown], 0, 1), f"{errors[name]:.2f}"
    picture = figures.image_rows(
        {name: dataset.pictures(images) for name, images in rows.items()},
        image_shape=dataset.image_shape,
        columns=len(shown),
        title=f"Unseen images and their reconstructions from {size} numbers",
        subtitle=f"at the right: squared error, summed over the pixels, averaged over all "
        f"{len(v):,} {part} images",
        notes=notes,
    )
    curves = {
        "cross-entropy (nats)": {"training": (table["epoch"], table["loss"])},
        "squared error per image": {
            line: (table["epoch"], table[column])
            for line, column in (("training", "eval_error_train"), ("held out", "eval_error"))
            if column in table
        },
    }
    pictures = {
        "reconstructions": picture,
        "curves_autoencoder": figures.learning_curves(
            curves, title="Fine-tuning of the autoencoder", x_label="epoch"
        ),
    }
    results = {
        "split": part,
        "reconstruction_error": errors["deep autoencoder"],
        "reconstruction_error_train": float(
            networks.reconstruction_error(model, data.spread(train, _NUM_TRAIN))
        ),
    }
    for name, key in _NAMES.items():
        if name in errors:
            results[f"reconstruction_error_{key}"] = errors[name]
    return results | found, pictures


def _report(iteration, objective):
    if iteration % 10 == 0:
        progress.say(f"logistic PCA, iteration {iteration}, objective {objective:.6g}")


@jax.jit
def _restore(model, v):
    return model.decode(model.encode(v))
