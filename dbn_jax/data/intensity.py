"""The value of full intensity of images: of a pixel that is all ink.

Bytes of grey levels have 255, binary pixels and shares 1, and some sets another, such as 16.
Divided by a wrong one images are black, and nothing fails.
"""

import functools
import logging
from collections.abc import Mapping

import numpy as np

from dbn_jax import numerics, sources

# Larger whole numbers may be those of dark bytes, of percentages or of counts.
_LARGEST_TOLD = 16
_REMEDY = "set the value of full intensity (--full_intensity, or scale of data.Dataset)"


def resolve(name: str, images: Mapping[str, np.ndarray], full: float | None = None) -> float:
    """The full intensity of a data set's images by part: as given, or else as their values tell it.

    It is 1 or 255 if the largest value lies in the upper half of the range up to that; else the
    largest value, if all are whole numbers and none is above 16. What is found and is not 255 is
    logged as a warning, once for each data set. Of images in files it looks at rows spread over
    them.

    Raises:
      ValueError: values are not finite or outside 0 to the full intensity, or do not tell it.
    """
    images = {part: sources.look_at(x) for part, x in images.items()}
    for part, x in images.items():
        if fault := numerics.non_finite(x):
            raise ValueError(f"{name}, {part} images: {fault}")
    ranges = {part: (float(x.min()), float(x.max())) for part, x in images.items() if x.size}
    if full is None:
        full = _find(name, images, max((most for _, most in ranges.values()), default=255.0))
    for part, (least, most) in ranges.items():
        if not 0 <= least <= most <= full:
            raise ValueError(
                f"{name}: the {part} images range from {least:g} to {most:g}, outside 0 to "
                f"{full:g}: {_REMEDY}"
            )
    return full


def _find(name, images, most):
    if 255 / 2 < most <= 255:
        return 255.0
    if 1 / 2 < most <= 1:
        full = 1.0
    elif 1 < most <= _LARGEST_TOLD and all(map(_is_whole, images.values())):
        full = most
    else:
        raise ValueError(
            f"{name}: the largest value of the images is {most:g}, which does not tell whether "
            f"they are bytes (255), shares (1) or something else: {_REMEDY}"
        )
    _say(name, full)
    return full


def _is_whole(x):
    return not np.issubdtype(x.dtype, np.floating) or bool(np.all(x == np.rint(x)))


@functools.cache
def _say(name, full):
    logging.getLogger(__name__).warning(
        "%s: a pixel of full intensity is taken to be %g, not 255, as the images tell; "
        "--full_intensity sets it",
        name,
        full,
    )
