"""How well `train_autoencoder`'s net restores unseen images, beside PCA and logistic PCA."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from dbn_jax import data, figures, networks
from dbn_jax.embedding import logistic_pca, pca
from dbn_jax.training import progress, workdir
from experiments.common import shared

NUM_WATCHED = 2000  # images of a split that are looked at after every epoch
_BLOCK = 2000


def pixels(transform: data.Transform, images: np.ndarray) -> jax.Array:
    """Pixels of rows of the data set, the same ones every time."""
    blocks = [
        shared.transformed(transform, jax.random.key(start), jnp.asarray(rows))
        for start, rows in _blocks(images)
    ]
    return jnp.concatenate(blocks)


def draw(
    run_dir: workdir.Workdir,
    dataset: data.Dataset,
    transform: data.Transform,
    model: networks.Autoencoder,
    shallow: networks.Autoencoder,
) -> dict[str, object]:
    """Draws held-out images as each method restores them, and the curves of fine-tuning.

    Args:
      run_dir: where the pictures go; with the metrics of the run.
      dataset: what was learnt from.
      transform: makes pixels of the data set's rows.
      model: the deep autoencoder; PCA and logistic PCA get as many numbers as its code has.
      shallow: the autoencoder without hidden layers.

    Returns:
      Figures for the summary: the errors.
    """
    part = "test" if dataset.validation is None else "validation"
    held_out = dataset.validation or dataset.test
    train, v = pixels(transform, dataset.train.images), pixels(transform, held_out.images)
    size = model.decoder[0].kernel[...].shape[0]
    with progress.Iterations("logistic PCA", "objective") as shown_progress:
        logistic = logistic_pca.fit(train, size, callback=shown_progress.report)
    if not logistic.converged:
        logging.warning("logistic PCA has not converged: its error may be too large")
    linear = pca.fit(train, size)
    methods = {
        "deep autoencoder": functools.partial(_restore, model),
        "logistic PCA, best codes": lambda v: logistic_pca.decode(
            logistic.model, logistic_pca.encode(logistic.model, v)
        ),
        "logistic PCA, linear codes": functools.partial(_restore, shallow),
        "PCA": lambda v: pca.decode(linear, pca.encode(linear, v)),
    }
    # The first image of each class.
    shown = np.array([np.flatnonzero(held_out.labels == c)[0] for c in np.unique(held_out.labels)])
    rows, errors, notes = {"real data": v[shown]}, {}, {}
    for name, restore in methods.items():
        restored = np.concatenate([np.asarray(restore(block)) for _, block in _blocks(v)])
        errors[name] = float(np.mean(np.sum((v - restored) ** 2, axis=-1)))
        row = f"{size}-D {name}"
        # PCA leaves the range of grey levels.
        rows[row], notes[row] = np.clip(restored[shown], 0, 1), f"{errors[name]:.2f}"
    print(
        f"squared error per {part} image: "
        + ", ".join(f"{value:.2f} ({name})" for name, value in errors.items())
    )
    picture = figures.image_rows(
        {name: dataset.pictures(images) for name, images in rows.items()},
        image_shape=dataset.image_shape,
        columns=len(shown),
        title=f"Unseen images, and what is left of them in {size} numbers",
        subtitle=f"at the right: squared error, summed over the pixels, averaged over all "
        f"{len(v):,} {part} images",
        notes=notes,
    )
    figures.save(picture, run_dir.figures / "reconstructions.png")
    _draw_curves(run_dir)
    return {
        "split": part,
        "reconstruction_error": errors["deep autoencoder"],
        "reconstruction_error_train": float(
            networks.reconstruction_error(model, train[:NUM_WATCHED])
        ),
        "reconstruction_error_logistic_pca": errors["logistic PCA, best codes"],
        "reconstruction_error_linear_codes": errors["logistic PCA, linear codes"],
        "reconstruction_error_pca": errors["PCA"],
        "logistic_pca_iterations": len(logistic.objective),
        "logistic_pca_converged": logistic.converged,
    }


def _blocks(rows: np.ndarray | jax.Array) -> Iterator[tuple[int, np.ndarray | jax.Array]]:
    return ((i, rows[i : i + _BLOCK]) for i in range(0, len(rows), _BLOCK))


@jax.jit
def _restore(model, v):
    return model.decode(model.encode(v))


def _draw_curves(run_dir):
    table = figures.read_metrics(run_dir.metrics)
    errors = {"training": (table["epoch"], table["eval_error_train"])}
    if "eval_error" in table:
        errors["held out"] = (table["epoch"], table["eval_error"])
    curves = {
        "cross-entropy (nats)": {"training": (table["epoch"], table["loss"])},
        "squared error per image": errors,
    }
    picture = figures.learning_curves(curves, title="Fine-tuning", x_label="epoch")
    figures.save(picture, run_dir.figures / "curves_autoencoder.png")
