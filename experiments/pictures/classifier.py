"""The results and pictures of `finetune_classifier`: errors, features, change of each layer."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import convolutional, data, figures, networks, recognition
from experiments.common import classification, finetuning
from experiments.pictures import errors

_NUM_COMPARED = 2000  # images on which features before and after are compared
_NUM_FEATURES = 100


def draw(
    key: jax.Array,
    dataset: data.Dataset,
    transform: data.Transform,
    before: networks.Classifier,
    after: networks.Classifier,
    table: dict[str, np.ndarray],
) -> tuple[dict[str, object], dict[str, Figure]]:
    """Draws the errors of a classifier, its curves (a table of metrics), and its features.

    Results for the summary come first: its errors on held-out images, and `changes`.
    """
    part, held_out = dataset.held_out
    answer_key, view_key = jax.random.split(key)
    log_p = recognition.log_posteriors(
        answer_key, after, held_out.images, transform, classification.classify
    )
    right = log_p.argmax(axis=-1) == held_out.labels
    results = {
        "split": part,
        "error_rate": recognition.error_rate(log_p, held_out.labels),
        "log_loss": float(-log_p[np.arange(len(right)), held_out.labels].mean()),
        "calibration_error": recognition.calibration(np.exp(log_p.max(axis=-1)), right).error,
    }
    v = data.apply(transform, view_key, data.spread(held_out.images, _NUM_COMPARED))
    results |= {name: float(value) for name, value in changes(before, after, v).items()}

    curves = {"loss (nats)": {"training": "loss"}}
    pictures = {"curves": finetuning.learning_curves(table, curves, "Training of the classifier")}
    pictures |= errors.sheet(dataset, held_out, log_p, part)
    fields = {"before": _filters(before.hidden[0]), "after": _filters(after.hidden[0])}
    # One scale for both, so that they can be compared.
    limit = float(np.percentile(np.abs(np.stack(list(fields.values()))), 99.8)) or None
    for when, kernel in fields.items():
        pictures[f"features_{when}"] = figures.receptive_fields(
            kernel.reshape(-1, kernel.shape[-1]),
            image_shape=kernel.shape[:-1] if kernel.ndim > 2 else dataset.image_shape,
            title=f"Features of the first layer {when} fine-tuning",
            max_units=min(kernel.shape[-1], _NUM_FEATURES),
            limit=limit,
        )
    return results, pictures


def _filters(layer):
    """The weights of a layer, (pixels, H); of maps (rows, columns[, colours], K), at one place."""
    weights = layer.parts().get("weights")
    if weights is None:
        return layer.kernel[...]
    rows, columns, channels, num_maps = weights.filter_shape
    filters = weights.filters
    if isinstance(weights, convolutional.LocalConnections):
        filters = filters[len(filters) // 2]  # in the middle
    return filters.reshape(rows, columns, *(channels,) * (channels > 1), num_maps)


@jax.jit
def changes(
    before: networks.Classifier, after: networks.Classifier, v: jax.Array
) -> dict[str, jax.Array]:
    """How much fine-tuning changed each hidden layer, judged by images (N, V).

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
