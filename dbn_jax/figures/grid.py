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
        cls,
        tiles: np.ndarray,
        columns: int | None,
        zoom: int | None,
        page: tuple[int, int] = PAGE,
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
        return tuple(side * self.zoom + 2 + self.gap for side in self.tile)

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
        """Returns the sheet of uint8 tiles as (height, width, 3), white between and after them."""
        sheet = np.full((self.height, self.width, 3), 255, np.uint8)
        for index, tile in enumerate(tiles):
            y = index // self.columns * self.pitch[0]
            x = index % self.columns * self.pitch[1]
            enlarged = tile.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)
            height, width = enlarged.shape[:2]
            sheet[y : y + height + 2, x : x + width + 2] = FRAME_GREY
            inside = sheet[y + 1 : y + height + 1, x + 1 : x + width + 1]
            inside[:] = enlarged.reshape(height, width, -1)
        return sheet


def columns_for(count: int) -> int:
    """Columns of a grid no taller than wide, with few empty places, as square as that allows."""
    root = math.ceil(math.sqrt(count))
    return min(range(root, min(2 * root, count) + 1), key=lambda c: (-count % c, c))
