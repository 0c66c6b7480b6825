"""Pictures of convolutional nets: what they say and show, pixel by pixel."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, data, dbn, figures, rbm, units
from experiments.pictures import convolutional as pictures
from tests.pictures import assert_readable, words
from tests.random_models import jolt

CORNER = np.array([[1.0, 1.0], [1.0, -1.0]])


def corner_net():
    """A map whose units are on at corners, over which one says which of 2×2 has one."""
    first = convolutional.init_params(jax.random.key(0), (6, 6, 1), 2, 2, border="same", block=2)
    filters = np.stack([CORNER, 0 * CORNER], axis=-1)[:, :, None]
    weights = dataclasses.replace(first.weights, filters=jnp.asarray(20 * filters, jnp.float32))
    hidden = dataclasses.replace(first.hidden, bias=jnp.array([-50.0, -50.0]))
    first = dataclasses.replace(first, weights=weights, hidden=hidden)
    second = convolutional.init_params(jax.random.key(1), (3, 3, 2), 3, 2)
    return dbn.stack((first, jolt(0, second)))


def corners():
    """Ten images of 6×6 with the corner at a place each, and ten empty ones between them."""
    images = np.zeros((20, 6, 6), np.uint8)
    places = list(itertools.product(range(0, 5, 2), range(0, 4)))[:10]
    for image, (row, column) in zip(images[::2], places, strict=True):
        image[row : row + 2, column : column + 2] = 255 * (CORNER > 0)
    split = data.Split(images.reshape(20, 36), np.zeros(20, np.int32))
    return data.Dataset("mine", split, None, split, (6, 6), 1), places


@pytest.fixture
def drawn(monkeypatch):
    """The tiles and texts of sheets, by title."""
    sheets, draw = {}, figures.image_sheet

    def keep(images, **options):
        sheets[options["title"]] = np.asarray(images)
        return draw(images, **options)

    monkeypatch.setattr(figures, "image_sheet", keep)
    return sheets


def draw_all(net, dataset):
    return pictures.draw(jax.random.key(0), net, dataset, data.Transform("none", 255.0))[1]


def test_every_layer_has_its_pictures(drawn):
    dataset, _ = corners()
    found = draw_all(corner_net(), dataset)
    each = {f"{what}_{i}" for what in ("features", "preferred", "maps") for i in (1, 2)}
    assert set(found) == {"reconstructions", *each}
    for figure in found.values():
        assert_readable(figure)
    assert "What the units of hidden layer 2 look for" in words(found["features_2"])
    assert "all 3 units, each on its own scale" in words(found["features_2"]).replace("\n", " ")
    # 2×2 pooled units below, of 2×2 units each with filters of 2×2: 4 + 2 − 1.
    text = words(found["preferred_2"]).replace("\n", " ")
    assert "of 20 unseen images the nine" in text
    assert "the 5×5 pixels that it then sees" in text


def test_preferred_patches_are_of_nine_images_where_the_unit_is_on(drawn, monkeypatch):
    monkeypatch.setattr(pictures, "_ALIKE", 2.0)
    dataset, _ = corners()
    draw_all(corner_net(), dataset)
    tiles = drawn["What the units of hidden layer 1 prefer"]
    assert tiles.shape == (2, 8, 8, 3)
    assert np.isclose(tiles[:, [2, 5]], pictures._NOWHERE).all()  # lines between them
    assert np.isclose(tiles[:, :, [2, 5]], pictures._NOWHERE).all()
    for row, column in itertools.product(range(3), range(3)):
        patch = tiles[0, 3 * row : 3 * row + 2, 3 * column : 3 * column + 2, 0]
        np.testing.assert_array_equal(patch, CORNER > 0)


def test_patches_that_show_the_same_are_shown_once(drawn):
    dataset, _ = corners()
    draw_all(corner_net(), dataset)
    tile = drawn["What the units of hidden layer 1 prefer"][0, ..., 0]
    np.testing.assert_array_equal(tile[:2, :2], CORNER > 0)
    np.testing.assert_array_equal(tile[:2, 3:5], 0)
    patches = np.array([[0, 0, 1.0], [0, 0.1, 2], [1, 0, 0], [0, 0, 0.5], [2, 0.1, 0]])
    assert pictures._different(patches[:, None]) == [0, 2]


def test_preferences_of_few_images_leave_room(drawn):
    dataset, _ = corners()
    few = dataset.test.take(slice(0, 1))
    draw_all(corner_net(), dataclasses.replace(dataset, test=few, train=few))
    tile = drawn["What the units of hidden layer 1 prefer"][0]
    np.testing.assert_array_equal(tile[:2, :2, 0], CORNER > 0)
    assert np.isclose(tile[2:], pictures._NOWHERE).all()
    assert np.isclose(tile[:, 2:], pictures._NOWHERE).all()


def test_maps_are_drawn_where_their_units_look(drawn):
    dataset, places = corners()
    net = corner_net()
    draw_all(net, dataset)
    shown = drawn["An unseen image, and where the units of hidden layer 1 are on"]
    np.testing.assert_array_equal(shown[0, ..., 0], dataset.pictures(dataset.test.images)[0])
    (row, column), on = places[0], np.zeros((6, 6))
    on[row : row + 2, column // 2 * 2 : column // 2 * 2 + 2] = 1
    for channel in range(3):
        np.testing.assert_allclose(shown[1, ..., channel], on, atol=1e-4)
        np.testing.assert_allclose(shown[2, ..., channel], 0, atol=1e-4)
    # Of layer 2 each unit sees 5×5 pixels, from every second on: of 2×2 pixels in their middle.
    shown = drawn["An unseen image, and where the units of hidden layer 2 are on"]
    beyond = np.all(np.isclose(shown[1:], pictures._NOWHERE), axis=-1)
    np.testing.assert_array_equal(beyond[:, 1:5, 1:5], False)
    assert beyond.sum() == 3 * (36 - 16)
    v = dataset.pictures(dataset.test.images[:1]).reshape(1, 36)
    means = np.asarray(dbn.up_pass(net, jnp.asarray(v))[1]).reshape(2, 2, 3)
    np.testing.assert_allclose(
        shown[1:, 1:5:2, 1:5:2, 0], np.moveaxis(means, -1, 0), rtol=1e-5, atol=1e-6
    )


def test_right_halves_are_filled_in_and_left_ones_stay(monkeypatch):
    """By the first layer, whose pixels are on, and by both, of which the second wants a corner."""
    drawn, draw = [], figures.image_rows
    monkeypatch.setattr(
        figures,
        "image_rows",
        lambda rows, **options: (drawn.append(rows), draw(rows, **options))[1],
    )
    dataset, _ = corners()
    first, second = corner_net().layers
    bright = dataclasses.replace(
        first.visible, each=first.visible.each.add_to_bias(jnp.full(1, 10.0))
    )
    quiet = dataclasses.replace(first.hidden, bias=jnp.full(2, -200.0))
    first = dataclasses.replace(first, visible=bright, hidden=quiet)
    # One that is always on turns a unit of each block below on, and with it some pixels off.
    filters = jnp.zeros_like(second.weights.filters).at[:, :, 0].set(300.0)
    second = dataclasses.replace(
        second,
        weights=dataclasses.replace(second.weights, filters=filters),
        hidden=dataclasses.replace(
            second.hidden, each=second.hidden.each.add_to_bias(jnp.full(3, 1e3))
        ),
    )
    net, to_pixels = dbn.stack((first, second)), data.Transform("none", 255.0)
    assert_readable(pictures.halves(jax.random.key(0), net, dataset, to_pixels))
    (rows,) = drawn
    assert list(rows) == ["unseen images", "left halves", "by layer 1 alone", "by 2 layers"]
    images = rows.pop("unseen images")
    for row in rows.values():
        np.testing.assert_array_equal(row[:, :, :3], images[:, :, :3])
    right = {name: row[:, :, 3:] for name, row in rows.items()}
    np.testing.assert_array_equal(right["left halves"], 0.5)
    np.testing.assert_allclose(right["by layer 1 alone"], 1, atol=1e-3)
    assert 0.05 < (right["by 2 layers"] < 0.5).mean() < 0.6


def test_a_dense_top_layer_is_left_out(drawn):
    dataset, _ = corners()
    net = corner_net()
    top = rbm.init_params(jax.random.key(0), 12, 5)
    found = draw_all(dbn.stack((*net.layers, top)), dataset)
    assert "maps_2" in found
    assert "maps_3" not in found


def test_colour_images(drawn):
    layer = jolt(0, convolutional.init_params(jax.random.key(0), (6, 6, 3), 4, 3, block=2))
    images = np.random.default_rng(0).integers(0, 256, (12, 108)).astype(np.uint8)
    split = data.Split(images, np.zeros(12, np.int32))
    dataset = data.Dataset("mine", split, None, split, (6, 6, 3), 1)
    draw_all(dbn.stack((layer,)), dataset)
    assert drawn["What the units of hidden layer 1 prefer"].shape == (4, 11, 11, 3)


def test_edges_are_counted_among_filters_of_gaussian_pixels(drawn):
    """Of four filters, two waves, noise, and a blob, which is close to a Gabor function too."""
    row, column = np.mgrid[:9, :9] - 4.0
    window = np.exp(-(row**2 + column**2) / 8)
    noise = np.random.default_rng(0).normal(size=(9, 9))
    filters = [window * np.sin(row), window * np.sin(column - row), noise, window]
    layer = convolutional.init_params(
        jax.random.key(0), (12, 12, 1), 4, 9, block=2, visible=units.Gaussian()
    )
    weights = jnp.asarray(np.stack(filters, axis=-1)[:, :, None], jnp.float32)
    layer = dataclasses.replace(layer, weights=dataclasses.replace(layer.weights, filters=weights))
    images = np.random.default_rng(1).normal(size=(10, 144)).astype(np.float32)
    split = data.Split(images, np.zeros(10, np.int32))
    shown = data.Standardisation(np.full(144, 0.5, np.float32), np.full(144, 0.1, np.float32))
    dataset = data.Dataset("mine", split, None, split, (12, 12), 1, 1.0, shown)
    key, to_pixels = jax.random.key(0), data.Transform("none", 1.0)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes counts and rates
        results, found = pictures.draw(key, dbn.stack((layer,)), dataset, to_pixels)
    assert (results["gabor_share"], results["oriented_gabor_share"]) == (0.75, 0.5)
    assert "75% of all 4 correlate by over 0.8 with a" in words(found["features_1"])
