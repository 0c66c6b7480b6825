"""The picture of the images that a net or classifier gets wrong."""

import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures

_MAX_ROWS = 12  # of the sheet, so that it is about as tall as wide


def sheet(
    dataset: data.Dataset, split: data.Split, log_posterior: np.ndarray, part: str
) -> dict[str, Figure]:
    """Draws the wrongly recognised images, with label, answer and confidence.

    The sheet by name, the most confident errors first; empty if there is no error.
    """
    labels, chosen = split.labels, log_posterior.argmax(axis=-1)
    confidence = np.exp(log_posterior.max(axis=-1))
    wrong = np.flatnonzero(chosen != labels)
    if not len(wrong):
        return {}
    columns = 12 if dataset.class_names is None else 6  # names are wide
    most = _MAX_ROWS * columns
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    share = f"{len(wrong):,} of {len(labels):,} {part} images wrong, {len(wrong) / len(labels):.2%}"
    more = f"; the surest {most} are shown" if len(wrong) > most else ""
    name = dataset.class_name
    picture = figures.captioned_sheet(
        dataset.pictures(split.images[surest]),
        [f"{name(labels[i])} → {name(chosen[i])}  {confidence[i]:.0%}" for i in surest],
        image_shape=dataset.image_shape,
        columns=columns,
        title="Errors, the surest first",
        subtitle=f"true label → answer, and the probability of the answer; {share}{more}",
    )
    return {"errors": picture}
