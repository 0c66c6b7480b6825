"""Whole images as grey levels: crops of the photographs that packages ship, and folders of files.

They have no classes: all labels are 0.
"""

from collections.abc import Mapping

import numpy as np

from dbn_jax import files
from dbn_jax.data import patches, pictures
from dbn_jax.data.transforms import shrink
from dbn_jax.typing import UInt8

NAMES = ("photographs", "folder")
_SIZE = (64, 64)  # of a crop
_SHRINK = 2  # what it does is said at `patches.load`
# Of each photograph: the left part trains; the right one is cut into an upper and a lower half.
_LEFT = 0.7
_NUM_PLACES = 4
_COUNTS = {"train": 4000, "validation": 500, "test": 500}
_EVERY = 5  # images of a folder, of which one is held out

Images = UInt8[np.ndarray, "examples rows columns"]


def crops(size: tuple[int, int] | None, seed: int) -> dict[str, Images]:
    """Crops at random places of `patches.PHOTOGRAPHS`, half of them mirrored, as many of each.

    A photograph is shrunk by 2. Training, validation and test crops share no pixel of it. Of four
    places the crop of most contrast is taken: there is nothing to learn from sky and shadow.
    """
    size = _SIZE if size is None else size
    pictures = {name: _parts(name, size) for name in patches.PHOTOGRAPHS}
    return {
        # RandomState's streams are frozen, so the same seed gives the same crops under any numpy.
        part: _crops([each[part] for each in pictures.values()], count, size, [seed, number])
        for number, (part, count) in enumerate(_COUNTS.items())
    }


def _parts(name, size) -> Mapping[str, np.ndarray]:
    whole = patches.photograph(name)
    rows, columns = (length // _SHRINK for length in whole.shape)
    whole = shrink(whole[None, : rows * _SHRINK, : columns * _SHRINK], (rows, columns))[0]
    right, low = round(_LEFT * columns), rows // 2
    parts = {
        "train": whole[:, :right],
        "validation": whole[:low, right:],
        "test": whole[low:, right:],
    }
    for part, region in parts.items():
        if any(n > most for n, most in zip(size, region.shape, strict=True)):
            raise ValueError(
                f"image_size={size[0]},{size[1]}, but the {part} part of the photograph {name} has "
                f"{region.shape[0]}×{region.shape[1]} pixels: choose smaller crops"
            )
    return parts


def _crops(regions, count, size, seed):
    random, found = np.random.RandomState(seed), []
    for number in range(count):
        region = regions[number % len(regions)]
        windows = np.lib.stride_tricks.sliding_window_view(region, size)
        places = (random.randint(most, size=_NUM_PLACES) for most in windows.shape[:2])
        crop = max(windows[tuple(places)], key=np.std)
        found.append(crop[:, ::-1] if random.randint(2) else crop)
    return np.stack(found)


def folder(path: files.Path, size: tuple[int, int] | None) -> dict[str, Images]:
    """The JPEG and PNG files of a folder, in the order of their names; every fifth is a test image.

    Args:
      size: rows and columns that they are shrunk and cut to (`pictures.read`).
    """
    paths = pictures.find(path)
    if len(paths) < 2:
        raise ValueError(
            f"{path} holds {len(paths)} files that end in {', '.join(pictures.SUFFIXES)}: a folder "
            "of images needs two at least, one to train on and one for the test"
        )
    images = pictures.read(paths, size, grey=True)
    held_out = np.arange(len(images)) % _EVERY == 1
    return {"train": images[~held_out], "test": images[held_out]}
