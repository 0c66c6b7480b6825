"""Equal images enlarged and set out in a grid."""

import math
from typing import NamedTuple

import numpy as np

from dbn_jax.figures.checks import check_count

PAGE = (900, 640)  # the largest sheet, in pixels, that the automatic enlargement aims at
FRAME_GREY = 150  # round each image: differs from black and from white paper


class Grid(NamedTuple):
    """Equal tiles, enlarged by `zoom`, a frame of one pixel round each, `gap` pixels apart."""

    rows: int
    columns: int
    tile: tuple[int, int]
    zoom: int
    gap: int

    @classmethod
    def of(
        cls, tiles: np.ndarray, columns: int | None, zoom: int | None, page: tuple[int, int] = PAGE
    ) -> "Grid":
        """Lays out N tiles, enlarged to fill the page (width, height) but no more than needed."""
        height, width = tiles.shape[1:3]
        if columns is None:
            columns = columns_for(len(tiles))
        columns = min(check_count("columns", columns), len(tiles))  # none stays empty in all rows
        rows = math.ceil(len(tiles) / columns)
        if zoom is None:
            spaces = (page[0] // columns - 4) // width, (page[1] // rows - 4) // height
            zoom = max(1, min(*spaces, 96 // max(height, width)))
        gap = 2 if check_count("zoom", zoom) > 1 else 1
        return cls(rows, columns, (height, width), zoom, gap)

    @property
    def pitch(self) -> tuple[int, int]:
        """Pixels from one tile to the next, down and across."""
        down, across = (side * self.zoom + 2 + self.gap for side in self.tile)
        return down, across

    @property
    def height(self) -> int:
        """Pixels of the whole sheet, down."""
        return self.rows * self.pitch[0] - self.gap

    @property
    def width(self) -> int:
        """Pixels of the whole sheet, across."""
        return self.columns * self.pitch[1] - self.gap

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a tile, in pixels down and across."""
        down, across = self.pitch
        return row * down + (down - self.gap) / 2, column * across + (across - self.gap) / 2

    def draw(self, tiles: np.ndarray) -> np.ndarray:
        """The sheet of uint8 tiles as (height, width, 3), white between and after them."""
        sheet = np.full((self.height, self.width, 3), 255, np.uint8)
        for index, tile in enumerate(tiles):
            y, x = index // self.columns * self.pitch[0], index % self.columns * self.pitch[1]
            image = framed(tile, self.zoom)
            sheet[y : y + len(image), x : x + image.shape[1]] = image
        return sheet


def framed(tile: np.ndarray, zoom: int) -> np.ndarray:
    """A uint8 image (rows, columns[, 3]) enlarged, in colour, with a frame of one pixel."""
    enlarged = tile.repeat(zoom, axis=0).repeat(zoom, axis=1)
    image = np.full((enlarged.shape[0] + 2, enlarged.shape[1] + 2, 3), FRAME_GREY, np.uint8)
    image[1:-1, 1:-1] = enlarged.reshape(*enlarged.shape[:2], -1)
    return image


def columns_for(count: int) -> int:
    """Columns of a grid no taller than wide, with few empty places, as square as that allows."""
    root = math.ceil(math.sqrt(count))
    return min(range(root, min(2 * root, count) + 1), key=lambda c: (-count % c, c))
