"""What `finetune_classifier` reports: errors on held-out images; how far each layer has moved."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures, networks
from dbn_jax.training import workdir
from experiments.common import recognition, shared

_NUM_COMPARED = 2000  # images on which features before and after are compared
_NUM_FEATURES = 100


def draw(
    run_dir: workdir.Workdir,
    dataset: data.Dataset,
    transform: data.Transform,
    before: networks.Classifier,
    after: networks.Classifier,
    *,
    seed: int,
) -> dict[str, object]:
    """Draws what a classifier gets wrong, its curves, and its features before and after.

    Args:
      run_dir: where the pictures go; with the metrics of the run.
      dataset: what it learnt from.
      transform: makes pixels of the data set's rows.
      before: the classifier at first.
      after: and in the end.
      seed: of everything random.

    Returns:
      Figures for the summary: its errors on held-out images, and `changes`.
    """
    part = "test" if dataset.validation is None else "validation"
    held_out = dataset.validation or dataset.test
    answer_key, view_key = jax.random.split(jax.random.key(seed))
    log_p = recognition.log_posteriors(answer_key, after, held_out, transform, classify)
    error = recognition.error_rate(log_p, held_out.labels)
    confidence = np.exp(log_p.max(axis=-1))
    results = {
        "split": part,
        "error_rate": error,
        "log_loss": float(-log_p[np.arange(len(held_out)), held_out.labels].mean()),
        "calibration_error": recognition.calibration(
            confidence, log_p.argmax(axis=-1) == held_out.labels
        ).error,
    }
    print(f"of {len(held_out):,} {part} images it gets wrong: {error:.2%}")
    v = shared.transformed(transform, view_key, jnp.asarray(held_out.images[:_NUM_COMPARED]))
    results |= {name: float(value) for name, value in changes(before, after, v).items()}

    pictures = {"curves": _curves(figures.read_metrics(run_dir.metrics))}
    sheet = recognition.error_sheet(dataset, held_out, log_p, part)
    if sheet is not None:
        pictures["errors"] = sheet
    fields = {"before": before.hidden[0].kernel[...], "after": after.hidden[0].kernel[...]}
    # One scale for both, so that they can be compared.
    limit = float(np.percentile(np.abs(np.stack(list(fields.values()))), 99.8)) or None
    for when, kernel in fields.items():
        pictures[f"features_{when}"] = figures.receptive_fields(
            kernel,
            image_shape=dataset.image_shape,
            title=f"Features of the first layer {when} fine-tuning",
            max_units=min(kernel.shape[1], _NUM_FEATURES),
            limit=limit,
        )
    for name, picture in pictures.items():
        figures.save(picture, run_dir.figures / f"{name}.png")
    return results


@jax.jit
def classify(key: jax.Array, model: networks.Classifier, v: jax.Array) -> jax.Array:
    """log p(label | image), as `recognition.log_posteriors` takes it; nothing is drawn."""
    del key
    return jax.nn.log_softmax(model(v))


@jax.jit
def changes(
    before: networks.Classifier, after: networks.Classifier, v: jax.Array
) -> dict[str, jax.Array]:
    """How far fine-tuning has moved each hidden layer.

    Args:
      before: the classifier at first.
      after: and in the end.
      v: (N, V) images.

    Returns:
      For each layer l: `weight_change_l`, ‖W' − W‖ / ‖W‖ (Frobenius); `feature_correlation_l`, the
      correlation over the images of a unit's activity before with that after, averaged over the
      units (0 for one that does not vary).
    """
    result = {}
    activities = before.features(v), after.features(v)
    pairs = zip(before.hidden, after.hidden, *activities, strict=True)
    for i, (old, new, x, y) in enumerate(pairs, 1):
        w, change = old.kernel[...], new.kernel[...] - old.kernel[...]
        result[f"weight_change_{i}"] = jnp.linalg.norm(change) / jnp.linalg.norm(w)
        x, y = (z - jnp.mean(z, axis=0, keepdims=True) for z in (x, y))
        scale = jnp.sqrt(jnp.sum(x**2, axis=0) * jnp.sum(y**2, axis=0))
        together = jnp.sum(x * y, axis=0)
        result[f"feature_correlation_{i}"] = jnp.mean(
            jnp.where(scale > 0, together / jnp.where(scale > 0, scale, 1), 0)
        )
    return result


def _curves(table: dict[str, np.ndarray]) -> Figure:
    curves = {
        "loss (nats)": {"training": (table["epoch"], table["loss"])},
        "error rate": recognition.error_curves(table),
    }
    return figures.learning_curves(curves, title="Discriminative fine-tuning", x_label="epoch")
