"""Picture files, JPEG and PNG, as arrays of one size."""

from collections.abc import Sequence

import numpy as np

from dbn_jax import files
from dbn_jax.data.transforms import shrink
from dbn_jax.typing import UInt8

SUFFIXES = (".jpg", ".jpeg", ".png")


def find(folder: files.Path) -> list[files.Path]:
    """The pictures of a folder, in the order of their names."""
    return [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]


def visible(folder: files.Path) -> list[files.Path]:
    """What is in a folder and not hidden, as .ipynb_checkpoints is, in the order of the names."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def read(
    paths: Sequence[files.Path], size: tuple[int, int] | None, *, grey: bool = False
) -> UInt8[np.ndarray, "examples rows columns *channels"]:
    """Pictures as viewers show them: turned as the camera says, and on white if transparent.

    They have three channels if one of them is in colour, else none.

    Args:
      size: rows and columns. Images are shrunk until they just cover these, by averaging over
        areas, and cut to their middle. None: all have one size already, and keep it.
      grey: whether grey levels are made of colours.
    """
    images = [_read(path, grey) for path in paths]
    if any(image.ndim == 3 for image in images):
        images = [np.broadcast_to(np.atleast_3d(x), (*x.shape[:2], 3)) for x in images]
    if size is None:
        _check_equal(paths, images)
    else:
        images = [_covering(*each, size) for each in zip(paths, images, strict=True)]
    return np.stack(images)


def _read(path, grey):
    """(rows, columns), or (rows, columns, 3) of a picture in colour."""
    import PIL.Image
    import PIL.ImageOps

    try:
        with path.open("rb") as file, PIL.Image.open(file) as picture:
            mode = picture.mode
            upright = PIL.ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:
                white = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(white, upright.convert("RGBA"))
            levels = np.asarray(upright.convert("L" if grey or mode[0] in "1LIF" else "RGB"))
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large ({error}): shrink it, or take it out") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises of files that are cut
        raise ValueError(f"{path} is damaged, or no image ({error}): take it out") from error
    if mode[0] in "IF":  # which Pillow cuts off at 255
        raise ValueError(f"{path} has more than 8 bits a pixel (mode {mode}): make it 8 bits")
    return levels


def _covering(path, image, size):
    rows, columns = image.shape[:2]
    share = max(size[0] / rows, size[1] / columns)
    if share > 1:
        raise ValueError(
            f"{path} has {rows}×{columns} pixels, and image_size={size[0]},{size[1]} is more: "
            "images are only shrunk; choose a smaller size, or take it out"
        )
    near = [max(n, round(share * length)) for n, length in zip(size, (rows, columns), strict=True)]
    top, left = ((length - n) // 2 for n, length in zip(size, near, strict=True))
    return shrink(image[None], tuple(near))[0, top : top + size[0], left : left + size[1]]


def _check_equal(paths, images):
    shapes = [image.shape[:2] for image in images]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(
                f"{paths[0]} has {shapes[0][0]}×{shapes[0][1]} pixels, but {path} {shape[0]}×"
                f"{shape[1]}: set image_size to the rows and columns that all shall have"
            )
