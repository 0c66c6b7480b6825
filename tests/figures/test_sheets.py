"""Sheets of images: every pixel, and the labels beside them."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import (
    MARGIN,
    SQUARE,
    assert_readable,
    enlarged,
    pixels,
    sheet_tiles,
    shown_texts,
    words,
)


@pytest.mark.parametrize(
    ("shape", "zoom", "columns"),
    [((28, 28), 1, 7), ((8, 8), 7, 4), ((5, 3), 11, 1), ((16, 16, 3), 5, 7)],
)
def test_every_pixel_of_a_sheet_is_the_images_grey_level(shape, zoom, columns):
    levels = np.random.default_rng(0).integers(0, 256, (2 * columns, *shape), dtype=np.uint8)
    images = levels.reshape(2 * columns, -1) / np.float32(255)
    page = {"image_shape": shape, "columns": columns, "zoom": zoom, "title": "t"}
    figure = figures.image_sheet(images, **page)
    tiles = sheet_tiles(pixels(figure), shape, zoom, 2, columns)
    for tile, image in zip(tiles, levels, strict=True):
        np.testing.assert_array_equal(tile, enlarged(image, 2 * zoom))


def test_frames_and_empty_places_differ_from_images():
    page = pixels(figures.image_sheet(np.zeros((3, 4)), image_shape=(2, 2), columns=2, title=""))
    sheet = page[: -2 * MARGIN, : -2 * MARGIN]
    assert (sheet[-60:, -60:] == 255).all()  # the fourth place
    tile = sheet_tiles(page, (2, 2), 48, 2, 2)[2]
    assert (tile == 0).all()
    frame = page[-2 * MARGIN - 2 : -2 * MARGIN, 2 * MARGIN : 2 * MARGIN + 2 * 98]
    assert (frame == frame[0, 0]).all()
    assert 80 < frame[0, 0, 0] < 180


@pytest.mark.parametrize(
    ("count", "columns"),
    [(1, 1), (3, 3), (3, 40), (7, 4), (10, 5), (12, 4), (13, 7), (50, 10), (100, 10)],
)
def test_a_sheet_is_nearly_full_and_no_taller_than_wide(count, columns):
    free = figures.image_sheet(np.zeros((count, 4)), **SQUARE)
    chosen = figures.image_sheet(np.zeros((count, 4)), **SQUARE, columns=columns)
    np.testing.assert_array_equal(free.get_size_inches(), chosen.get_size_inches())


def test_types_and_shapes_of_images_that_mean_the_same_give_the_same_picture():
    levels = np.random.default_rng(0).integers(0, 2, (6, 12))

    def draw(images, **kw):
        return pixels(figures.image_sheet(images, image_shape=(4, 3), title="same", **kw))

    expected = draw(levels.astype(np.float32))
    for same in (
        draw(levels.astype(np.uint8)),
        draw(levels.reshape(6, 4, 3).astype(np.float64)),
        draw(jnp.asarray(levels, jnp.bfloat16)),
        draw((20 * levels - 10).astype(np.float32), value_range=(-10, 10)),
    ):
        np.testing.assert_array_equal(same, expected)


def test_rounding_beyond_the_range_is_drawn():
    images = np.array([[0.0, 1.0, -1e-6, 1 + 1e-6]], np.float32)
    page = pixels(figures.image_sheet(images, **SQUARE, zoom=10))
    (tile,) = sheet_tiles(page, (2, 2), 10, 1, 1)
    np.testing.assert_array_equal(tile, enlarged(np.array([[0, 255], [0, 255]], np.uint8), 20))


def test_reconstructions_stand_under_their_data_in_bands():
    rows = {"data": np.full((5, 4), 0.2), "reconstruction": np.full((5, 4), 0.8)}
    figure = figures.image_rows(rows, **SQUARE, columns=3, zoom=9)
    page = pixels(figure)[:, :, 0]

    def met(column):
        return [v for v, _ in itertools.groupby(page[:, column]) if v in (51, 204)]

    assert met(-2 * MARGIN - 3 * 40 + 10) == [51, 204, 51, 204]  # the first images of both bands
    assert met(-2 * MARGIN - 10) == [51, 204]  # the second band has only two images
    assert words(figure).count("reconstruction") == 2
    assert_readable(figure)


def test_named_rows_carry_names_and_notes_at_their_own_height():
    rows = {name: np.full((4, 4), level / 10) for level, name in enumerate(["data", "deep", "PCA"])}
    notes = {"deep": "3.00", "PCA": "13.87"}
    figure = figures.image_rows(rows, **SQUARE, zoom=20, notes=notes)
    assert_readable(figure)
    page = pixels(figure)[:, :, 0]
    places = {text.get_text(): text.get_window_extent() for text in shown_texts(figure)}
    rows = {"data": 0, "deep": 1, "PCA": 2, "3.00": 1, "13.87": 2}
    for text, level in rows.items():
        centre = round(page.shape[0] - (places[text].y0 + places[text].y1) / 2)
        assert page[centre, page.shape[1] // 2] == round(25.5 * level), text
    assert places["deep"].x1 < places["3.00"].x0


def test_captions_stand_under_their_own_images():
    levels = np.arange(7) / 10
    captions = [f"{i} → {i + 1}  {10 * i}%" for i in range(7)]
    images = np.full((7, 4), levels[:, None])
    figure = figures.captioned_sheet(images, captions, **SQUARE, columns=3, zoom=9)
    assert_readable(figure)
    page = pixels(figure)[:, :, 0]
    seen = []
    for text in shown_texts(figure):
        if text.get_text() in captions:
            box = text.get_window_extent()
            x, y = round((box.x0 + box.x1) / 2), round(page.shape[0] - box.y1)
            seen.append((text.get_text(), page[y - 16, x], y, x))
    assert [text for text, *_ in seen] == captions
    np.testing.assert_array_equal([grey for _, grey, *_ in seen], np.round(255 * levels))
    assert len({round(y / 10) for *_, y, _ in seen}) == 3  # rows
    assert len({round(x / 10) for *_, x in seen}) == 3


def test_chains_run_along_rows_under_their_step_numbers():
    frames = np.arange(8).reshape(4, 2, 1) / 8 + np.zeros(4)  # time, chain, pixel
    steps = jnp.array([0, 1, 10, 10_000])
    figure = figures.chains(frames, image_shape=(2, 2), steps=steps, title="t", zoom=24)
    page = pixels(figure)
    tiles = sheet_tiles(page, (2, 2), 24, 2, 4)
    seen = np.array([tile[0, 0, 0] for tile in tiles]).reshape(2, 4)
    np.testing.assert_array_equal(seen, np.round(255 * frames[:, :, 0].T))
    places = {text.get_text(): text.get_window_extent() for text in shown_texts(figure)}
    for column, text in enumerate(["0", "1", "10", "10,000"]):
        middle = page.shape[1] - 2 * (MARGIN + (3.5 - column) * 52 - 1 - 0.5 * 2)
        assert abs((places[text].x0 + places[text].x1) / 2 - middle) < 4, text
    assert {"chain 1", "chain 2", "Gibbs step"} <= places.keys()


def test_crowded_step_numbers_are_thinned_not_overprinted():
    frames = np.zeros((25, 2, 64))
    steps = 1000 * np.arange(25)
    figure = figures.chains(frames, image_shape=(8, 8), steps=steps, title="t", zoom=2)
    assert_readable(figure)
    said = words(figure).split(" | ")
    assert [text for step in steps if (text := f"{step:,}") in said][:2] == ["0", "3,000"]
