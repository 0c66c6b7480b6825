"""Films and piano rolls: every pixel of every frame, every note of every step."""

import functools

import numpy as np
import PIL.Image
import pytest

from dbn_jax import figures
from tests.pictures import (
    MARGIN,
    SQUARE,
    assert_readable,
    enlarged,
    find,
    pixels,
    sheet_tiles,
    shown_texts,
    words,
)

BLACK = np.full((14, 24, 3), 26, np.uint8)  # a note of one step in short rolls
VERMILION = (213, 94, 0)


def test_each_frame_shows_each_film_pixel_for_pixel():
    levels = np.random.default_rng(0).integers(0, 256, (2, 5, 2, 3), dtype=np.uint8)
    films = {"data": levels[0].reshape(5, 6) / np.float32(255), "dream": levels[1] / 255}
    frames = figures.films(films, image_shape=(2, 3), zoom=7, title="t")
    corners = set()
    for frame, *both in zip(frames, *levels, strict=True):
        (data,), (dream,) = (find(frame, enlarged(tile, 7)) for tile in both)
        corners.add((data, dream))
    ((data, dream),) = corners
    assert data[0] == dream[0]
    assert MARGIN < data[1] < dream[1]


def test_only_numbers_and_notes_change_around_films():
    notes = {"dream": ["given", "given", "dreamt", "dreamt"]}
    films = {"data": np.zeros((4, 4)), "dream": np.zeros((4, 4))}
    frames = figures.films(films, **SQUARE, notes=notes, zoom=40)
    black = np.argwhere((frames[0] == 0).all(axis=-1))
    bottom = black[:, 0].max()
    second = black[:, 1].max() - 2 * 40  # its frame

    def changed(t):
        return np.argwhere((frames[t] != frames[t + 1]).any(axis=-1)) - (bottom, second)

    for t in (0, 2):  # only the number of the frame
        assert len(changed(t))
        assert (changed(t)[:, 0] > 20).all()
    note = changed(1)[changed(1)[:, 0] <= 24]
    assert len(note) > 30
    assert (note[:, 0] > 5).all()
    assert (note[:, 1] >= 0).all()  # below the dream


def test_long_names_and_notes_have_room_on_the_paper():
    film = np.zeros((1000, 1))
    two = {"d": film, "prediction one frame ahead": film}
    notes = {name: ["given, and not of the model's own making"] * 1000 for name in two}
    for films, given in (({"d": film}, None), (two, None), (two, notes)):
        frames = figures.films(films, image_shape=(1, 1), zoom=3, notes=given, title="t")
        ink = np.argwhere((frames[[0, -1]] != 255).any(axis=(0, 3)))
        assert (ink.min(axis=0) >= MARGIN).all()
        assert (ink.max(axis=0) < np.array(frames.shape[1:3]) - MARGIN).all()


def test_frames_are_animated_as_they_are(tmp_path):
    film = np.random.default_rng(0).integers(0, 2, (3, 4)) / 1.0
    frames = figures.films({"data": film}, **SQUARE)
    figures.animate(frames, tmp_path / "film.webp")
    with PIL.Image.open(tmp_path / "film.webp") as shown:
        assert shown.n_frames == 3
        shown.seek(2)
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), frames[2])


def test_a_strip_has_a_row_for_each_film_and_numbers_from_one():
    films = {"data": np.arange(7)[:, None] / 10 + np.zeros(4), "dream": np.ones((7, 4))}
    figure = figures.film_strip(films, **SQUARE, every=3, zoom=12)
    assert_readable(figure)
    assert "frame | data | dream | 1 | 4 | 7" in words(figure)
    tiles = sheet_tiles(pixels(figure), (2, 2), 12, 2, 3)
    seen = [tile[0, 0, 0] for tile in tiles]
    np.testing.assert_array_equal(seen, np.round(255 * np.array([0, 0.3, 0.6, 1, 1, 1])))


def roll(*notes, steps=4, level=1.0):
    """A roll of (step, MIDI number)s."""
    made = np.zeros((steps, 88), np.float32)
    for step, note in notes:
        made[step, note - 21] = level
    return made


def middle(figure, page, text):
    (found,) = (t for t in shown_texts(figure) if t.get_text() == text)
    box = found.get_window_extent()
    return page.shape[0] - (box.y0 + box.y1) / 2


def test_every_note_of_a_roll_stands_at_its_step_and_height():
    figure = figures.piano_rolls({"real": roll((1, 60), (2, 64))}, title="t")
    assert_readable(figure)
    page = pixels(figure)
    high, low = find(page, BLACK)
    assert (low[0] - high[0], high[1] - low[1]) == (4 * 16, 24)
    assert abs(low[0] + 7 - middle(figure, page, "C4")) < 6
    assert low[1] == find(page, np.full((2, 2, 3), 150, np.uint8))[0][1] + 2 + 24  # from the frame
    assert (page[high[0] - 1, high[1]] == 150).all()  # E is the highest: the frame is above it


def test_probable_notes_are_darker_and_improbable_ones_do_not_widen_a_roll():
    half = roll((0, 62), level=0.5) + roll((3, 100), level=0.1)
    page = pixels(figure := figures.piano_rolls({"half": half}, title="t"))
    assert len(find(page, np.full((14, 24, 3), 140, np.uint8))) == 1  # of 255 and 26
    assert "C5" not in words(figure)


def test_rolls_share_their_range_and_a_line_ends_what_was_given():
    both = {"real": roll((0, 48)), "dreamt": roll((2, 48), (0, 61), steps=6)}
    draw = functools.partial(figures.piano_rolls, both, title="t")
    figure = draw(given={"dreamt": 2}, time_unit="seconds", steps_per_unit=2)
    assert_readable(figure)
    said = words(figure)
    assert said.count("C3") == said.count("C4") == 2
    assert "dreamt | given up to the line" in said
    assert "0 | 1 | 2 | 3 | seconds" in said
    page = pixels(figure)
    line = np.argwhere((page == VERMILION).all(axis=-1))
    first = find(page, BLACK)[0][1]  # the step at the left
    assert line[:, 1].min() == first + 2 * 24 - 2
    assert np.ptp(line[:, 0]) + 1 == 2 * 8 * 14  # from C3 to C#4
    assert not (pixels(draw()) == VERMILION).all(axis=-1).any()


@pytest.mark.parametrize(("note", "name", "above"), [(21, "C0", 9), (108, "C8", 0)])
def test_the_ends_of_the_piano_are_drawn(note, name, above):
    figure = figures.piano_rolls({"r": roll((0, note))}, title="t")
    assert_readable(figure)
    page = pixels(figure)
    ((down, _),) = find(page, BLACK)
    assert abs(middle(figure, page, name) - 16 * above - (down + 7)) < 6


def test_silence_is_an_octave_without_notes():
    figure = figures.piano_rolls({"r": roll()}, title="t")
    assert "C4" in words(figure)
    assert not find(pixels(figure), BLACK)


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (2, 96), (3, 900), (6, 40)])
def test_rolls_of_any_number_and_length_fit_the_page(count, steps):
    rolls = {f"roll {k}": np.eye(88)[np.arange(steps) % 88] for k in range(count)}
    figure = figures.piano_rolls(rolls, title="t", given={"roll 0": 1} if steps > 1 else None)
    assert_readable(figure)
    assert figure.get_size_inches()[0] * 128 < 1100
