"""Every picture of the project: sheets of images, weights, curves, histograms, animations.

Arrays go in, a matplotlib `Figure` comes out; nothing here knows a model, and pyplot and the global
settings of matplotlib stay untouched. Pages are laid out in pixels and drawn at two device pixels
for each, so that an image pixel is always a whole number of equal device pixels, never blurred.
Greys show intensities, blue to red through white shows signed weights, Okabe and Ito's palette
(2008, safe for colour-blind readers) tells lines and classes apart.

Images that do not fit `image_shape`, are not finite or lie outside `value_range` are ValueErrors
that say which, and so is an empty array.

Sheets of images: `image_sheet`, `captioned_sheet`, `image_rows`, `reconstructions`, `chains`. What
was learnt: `receptive_fields`, `development`, `hidden_activities`. A net at work: `moment`,
`moments`. Answers of a classifier: `confusion_matrix`, `reliability`. Points in the plane:
`map_of_points`. Numbers: `learning_curves`, `bars`, `histograms`, `read_metrics`. Files: `save`,
`animate`, `film`.
"""

try:
    import matplotlib.figure  # noqa: F401
    import PIL.Image  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"dbn_jax.figures needs matplotlib and pillow ({error}): pip install 'dbn_jax[experiments]'"
    ) from error

from dbn_jax.figures.answers import confusion_matrix, reliability
from dbn_jax.figures.bars import bars
from dbn_jax.figures.curves import histograms, learning_curves, read_metrics
from dbn_jax.figures.files import animate, film, save
from dbn_jax.figures.maps import map_of_points
from dbn_jax.figures.moments import moment, moments
from dbn_jax.figures.sheets import (
    captioned_sheet,
    chains,
    image_rows,
    image_sheet,
    reconstructions,
)
from dbn_jax.figures.weights import development, hidden_activities, receptive_fields

__all__ = [
    "animate",
    "bars",
    "captioned_sheet",
    "chains",
    "confusion_matrix",
    "development",
    "film",
    "hidden_activities",
    "histograms",
    "image_rows",
    "image_sheet",
    "learning_curves",
    "map_of_points",
    "moment",
    "moments",
    "read_metrics",
    "receptive_fields",
    "reconstructions",
    "reliability",
    "save",
]
