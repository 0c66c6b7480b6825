"""The picture of the images that a net or classifier gets wrong."""

import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures

# Images in a row of the sheet, and in all of it.
_COLUMNS = 12
_MAX_ERRORS = 40 * _COLUMNS


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
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MAX_ERRORS]
    share = f"{len(wrong):,} of {len(labels):,} {part} images wrong, {len(wrong) / len(labels):.2%}"
    more = f"; the surest {_MAX_ERRORS} are shown" if len(wrong) > _MAX_ERRORS else ""
    picture = figures.captioned_sheet(
        dataset.pictures(split.images[surest]),
        [f"{labels[i]} → {chosen[i]}  {confidence[i]:.0%}" for i in surest],
        image_shape=dataset.image_shape,
        columns=_COLUMNS,
        title="Errors, the surest first",
        subtitle=f"true label → answer, and the probability of the answer; {share}{more}",
    )
    return {"errors": picture}
