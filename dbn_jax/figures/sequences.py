"""Sequences: films of images, and piano rolls.

What is shown side by side or one under the other, such as data, prediction and dream, is a mapping
from names; frames are counted from 1. The frames of an animation are pixels, uint8 (frames, height,
width, 3), for `animate`: its paper is drawn once, and only what changes is put on it.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import matplotlib.font_manager
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dbn_jax.figures.checks import (
    AnyArray,
    check_count,
    check_equal_lengths,
    check_known,
    check_labels,
    grey_levels,
)
from dbn_jax.figures.grid import PAGE, framed
from dbn_jax.figures.pages import FAINT, FONT_PIXELS, INK, PALETTE, raster, sheet, text_width
from dbn_jax.figures.sheets import chains
from dbn_jax.typing import Num, Real, UInt8

_SPACE = 8  # pixels between a picture and what is written beside it
_BETWEEN = 24  # pixels between pictures
_LINE = 20  # pixels from one line of text to the next

_LARGEST_FILM = 200  # pixels of its side

_KEYS = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], bool)  # of an octave, the white ones
_WHITE_KEY, _BLACK_KEY, _OCTAVE, _TICK = 255, 243, 190, 215  # greys of a roll without notes
_NOTE = 26
_MARK = tuple(round(255 * c) for c in to_rgb(PALETTE[1]))  # where what is given ends
_FAINTEST = 64  # of 255: notes that are nowhere as dark are not shown


def films(
    films: Mapping[str, Num[AnyArray, "frames ..."]],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Films side by side, their names above them, the number of the frame below all.

    Args:
      notes: name of a film to a text for each frame, to stand below it, such as "given" in the
        first frames of a dream and "dreamt" in the others.
    """
    check_equal_lengths(films, "films", "frames")
    levels = {
        name: grey_levels(film, image_shape, value_range, f'film "{name}"')
        for name, film in films.items()
    }
    if zoom is None:
        room = min(_LARGEST_FILM, PAGE[0] // len(films) - _BETWEEN)
        zoom = max(1, room // max(image_shape[:2]))
    check_count("zoom", zoom)
    panels = {name: [framed(tile, zoom) for tile in film] for name, film in levels.items()}
    return side_by_side(panels, notes or {}, title, subtitle)


def film_strip(
    films: Mapping[str, Num[AnyArray, "frames ..."]],
    *,
    image_shape: Sequence[int],
    every: int,
    title: str,
    subtitle: str | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Films on paper: a row for each, in it one of `every` so many frames, their numbers on top."""
    num_frames = check_equal_lengths(films, "films", "frames")
    shown = slice(None, None, check_count("every", every))
    return chains(
        np.stack([np.asarray(film)[shown] for film in films.values()], axis=1),
        image_shape=image_shape,
        steps=range(1, num_frames + 1)[shown],
        row_labels=list(films),
        time_name="frame",
        title=title,
        subtitle=subtitle,
        value_range=value_range,
        zoom=zoom,
    )


def piano_rolls(
    rolls: Mapping[str, Num[AnyArray, "..."]],
    *,
    title: str,
    subtitle: str | None = None,
    given: Mapping[str, int] | None = None,
    lowest: int = 21,
    time_unit: str = "steps",
    steps_per_unit: Real = 1,
) -> Figure:
    """Piano rolls one under the other: time runs to the right, high notes are on top.

    Rolls (steps, notes) are states or probabilities: the more probable a note, the darker it is.
    The rows of black keys are grey; a line runs under each C, C4 being middle C. All rolls go from
    the C below the lowest note to the highest note of all.

    Args:
      given: name of a roll to the number of its first steps that were given to the model; a line
        stands after them.
      lowest: the MIDI number of the first note, by default that of a piano.
      time_unit, steps_per_unit: how time is told, such as "seconds" and 8.
    """
    given = given or {}
    check_known("given", given, rolls, "rolls")
    check_equal_lengths({name: roll.T for name, roll in rolls.items()}, "rolls", "notes")
    for name, steps in given.items():
        if not 0 < steps < len(rolls[name]):
            raise ValueError(f'given["{name}"]={steps}: the roll has {len(rolls[name])} steps')
    inks = {
        name: grey_levels(roll, (1, roll.shape[-1]), (0, 1), f'roll "{name}"')[:, 0]
        for name, roll in rolls.items()
    }
    inks, low = _cropped(inks, lowest)
    num_notes = next(ink.shape[1] for ink in inks.values())
    longest = max(map(len, inks.values()))
    down = int(np.clip(PAGE[1] // len(inks) // num_notes, 3, 8))
    across = max(1, min(12, PAGE[0] // longest))
    spaced = MaxNLocator(10, integer=True, steps=[1, 2, 5, 10])
    times = spaced.tick_values(0, longest / steps_per_unit)
    ticks = {time: round(time * steps_per_unit) for time in times}
    ticks = {time: step for time, step in ticks.items() if 0 <= step <= longest}
    with sheet(title, subtitle) as page:
        y = below = 0
        for name, ink in inks.items():
            panel = _roll(ink, (down, across), list(ticks.values()), given.get(name))
            page.image(0, y, panel)
            end = page.text(0, y - 5, name, "left", "bottom").xmax
            if name in given:
                page.text(end + 12, y - 5, "given up to the line", "left", "bottom", color=FAINT)
            for octave in range(math.ceil(num_notes / 12)):
                middle = y + len(panel) - 1 - (12 * octave + 0.5) * down
                page.text(-_SPACE, middle, f"C{low // 12 - 1 + octave}", "right", "center")
            below = y + len(panel) + 5
            y += len(panel) + _BETWEEN + _LINE
        for time, step in ticks.items():
            page.text(1 + step * across, below, f"{time:g}", "center", "top", color=FAINT)
        page.text(-_SPACE - 4, below, time_unit, "right", "top", color=FAINT)
    return page.figure


def side_by_side(
    panels: Mapping[str, Sequence[np.ndarray]],
    notes: Mapping[str, Sequence[str]],
    title: str,
    *subtitle: str | None,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The frames of an animation of panels, name to pixels of each frame."""
    check_known("notes", notes, panels, "films")
    num_frames, (height, width, _) = next((len(p), p[0].shape) for p in panels.values())
    for name, texts in notes.items():
        check_labels(f'notes["{name}"]', texts, num_frames, "frames")
    said = {text for texts in notes.values() for text in texts}
    pitch = _BETWEEN + max(width, *(math.ceil(text_width(text)) for text in {*panels, *said}))
    counters = [f"frame {number:,} of {num_frames:,}" for number in range(1, num_frames + 1)]
    counted_at = height + _SPACE + _LINE * bool(notes)
    with sheet(title, *subtitle) as page:
        for index, (name, panel) in enumerate(panels.items()):
            page.image(index * pitch, 0, panel[0])
            page.text(index * pitch, -5, name, "left", "bottom")
        widest = max(len(panels) * pitch - _BETWEEN, math.ceil(text_width(counters[-1])))
        page.room(0, counted_at, widest, _LINE - 5)
    paper = raster(page.figure)
    left, top = page.place(0, 0)
    frames = np.tile(paper, (num_frames, 1, 1, 1))
    for index, panel in enumerate(panels.values()):
        x = left + index * pitch
        frames[:, top : top + height, x : x + width] = panel
    font_file = matplotlib.font_manager.findfont("DejaVu Sans")
    font = PIL.ImageFont.truetype(font_file, FONT_PIXELS["label"])
    for t, frame in enumerate(frames):
        image = PIL.Image.fromarray(frame)
        write = functools.partial(PIL.ImageDraw.Draw(image).text, font=font)
        for index, name in enumerate(panels):
            if name in notes:
                write((left + index * pitch, top + height + _SPACE), notes[name][t], INK)
        write((left, top + counted_at), counters[t], FAINT)
        frame[:] = image
    return frames


def _cropped(inks: Mapping[str, np.ndarray], lowest: int) -> tuple[dict[str, np.ndarray], int]:
    """The notes from the C below all that are heard to the highest, and that C's number."""
    heard = np.max([ink.max(axis=0) for ink in inks.values()], axis=0) >= _FAINTEST
    low, high = lowest + np.flatnonzero(heard)[[0, -1]] if heard.any() else (60, 71)
    low -= low % 12
    first = max(0, low - lowest)
    missing = max(0, lowest - low)  # that C may lie below the first note of the rolls
    return {
        name: np.pad(ink[:, first : high + 1 - lowest], ((0, 0), (missing, 0)))
        for name, ink in inks.items()
    }, int(low)


def _roll(
    ink: np.ndarray, cell: tuple[int, int], ticks: Sequence[int], given: int | None
) -> np.ndarray:
    """A framed roll of levels, (steps, notes from a C), with a free pixel between notes."""
    down, across = cell
    steps, notes = ink.shape
    keys = _KEYS[np.arange(notes) % 12]
    paper = np.where(keys, _WHITE_KEY, _BLACK_KEY).repeat(down)[:, None]
    paper = np.repeat(paper, steps * across, axis=1)
    paper[:: 12 * down] = _OCTAVE
    paper[:, [step * across for step in ticks if 0 < step < steps]] = _TICK
    weight = (ink.T / 255).repeat(down, axis=0).repeat(across, axis=1)
    weight[::down] = 0
    pixels = np.round(paper * (1 - weight) + _NOTE * weight).astype(np.uint8)
    pixels = np.repeat(pixels[::-1, :, None], 3, axis=2)
    if given is not None:
        pixels[:, given * across - 1 : given * across + 1] = _MARK
    return framed(pixels, 1)
