"""Every picture of the project: sheets of images, weights, curves, histograms, films.

Arrays go in, a matplotlib `Figure` comes out, or for films the pixels of their frames; nothing here
knows a model, and pyplot and the global settings of matplotlib stay untouched. In sheets of images
an image pixel is a whole number of equal device pixels, never blurred; axes are laid out by
matplotlib. Greys show intensities, blue to red through white shows signed weights, Okabe and Ito's
palette (2008, safe for colour-blind readers) tells lines and classes apart.

Arguments of the same name mean the same everywhere:

- title, subtitle: what is shown, and how it was made.
- image_shape: (rows, columns), or (rows, columns, 3) for colour. Images are arrays (N, D) or
  (N, rows, columns[, 3]).
- value_range: the values shown as black and as white.
- columns: images in a row of the sheet.
- zoom: pixels for the side of an image pixel; by default what fills a page.

Images that do not fit `image_shape`, are not finite or lie outside `value_range` are ValueErrors
that say which, and so are empty arrays and labels of another number than what they label.
"""

try:
    import matplotlib.figure
    import PIL.Image
except ImportError as error:
    raise ImportError(
        f"dbn_jax.figures needs matplotlib and pillow ({error}): pip install 'dbn_jax[experiments]'"
    ) from error

from dbn_jax.figures.answers import confusion_matrix, reliability
from dbn_jax.figures.atlas import atlas
from dbn_jax.figures.files import animate, save
from dbn_jax.figures.maps import map_of_points
from dbn_jax.figures.moments import moment, moments
from dbn_jax.figures.pages import Picture
from dbn_jax.figures.plots import bars, histograms, learning_curves
from dbn_jax.figures.sequences import film_strip, films, piano_rolls
from dbn_jax.figures.sheets import captioned_sheet, chains, image_rows, image_sheet
from dbn_jax.figures.walking import stick_figures, stick_films
from dbn_jax.figures.weights import (
    development,
    hidden_activities,
    motion_fields,
    receptive_fields,
    recurrent_weights,
)
