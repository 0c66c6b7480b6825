"""Crops of photographs, and folders of image files: what is in them, and what bad ones are told."""

import re

import numpy as np
import PIL.Image
import pytest

from dbn_jax import data, files
from dbn_jax.data import patches, photographs, pictures


@pytest.fixture
def in_parts(monkeypatch):
    """Two photographs of 200×260 pixels: each part, shrunk, has a ramp of its own across it."""
    ramp = np.tile(np.arange(260) // 4, (200, 1))
    ramp[:, 182:] += 60
    ramp[100:, 182:] += 60
    monkeypatch.setattr(patches, "PHOTOGRAPHS", {"one": None, "two": None})
    monkeypatch.setattr(
        patches, "photograph", lambda name: (ramp + 5 * (name == "two")).astype(np.uint8)
    )


def test_parts_of_photographs_share_no_pixel(in_parts):
    crops = photographs.crops((30, 31), seed=0)
    counts = {part: x.shape for part, x in crops.items()}
    shape = (30, 31)
    assert counts == {"train": (4000, *shape), "validation": (500, *shape), "test": (500, *shape)}
    for part, low in (("train", 0), ("validation", 105), ("test", 165)):
        assert crops[part].dtype == np.uint8
        # The ramp rises by one in two columns, of which the left part has 91 of 130.
        length = {"train": 45, "validation": 19, "test": 19}[part]
        assert (crops[part].min(), crops[part].max()) == (low, low + length + 5)


def test_crops_come_from_all_places_and_half_of_them_are_mirrored(in_parts):
    crops = photographs.crops((30, 31), seed=0)["train"].astype(int)
    rising = crops[:, 0, -1] > crops[:, 0, 0]
    assert abs(rising.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    first = crops.min(axis=(1, 2))[::2]  # of every second photograph
    assert set(first) == set(range(31))
    again = photographs.crops((30, 31), seed=0)["train"]
    np.testing.assert_array_equal(crops, again)
    assert (crops != photographs.crops((30, 31), seed=1)["train"]).any()


def test_crops_avoid_what_is_flat(monkeypatch):
    """Of a photograph whose left part is half flat, four places in a row seldom are."""
    picture = np.zeros((200, 400), np.uint8)
    picture[:, :140] = np.random.default_rng(0).integers(0, 256, (200, 140))
    monkeypatch.setattr(patches, "PHOTOGRAPHS", {"half": None})
    monkeypatch.setattr(patches, "photograph", lambda name: picture)
    crops = photographs.crops((1, 2), seed=0)["train"]
    share = (69 / 139) ** 4  # 70 of 139 windows begin in the 70 columns that are not flat
    error = np.sqrt(share * (1 - share) / len(crops))
    assert abs((crops.std(axis=(1, 2)) == 0).mean() - share) < 4 * error


def test_crops_larger_than_a_part_are_refused():
    words = (
        "image_size=64,80, but the validation part of the photograph brick has 128×77 pixels: "
        "choose smaller crops"
    )
    with pytest.raises(ValueError, match=f"^{words}$"):
        photographs.crops((64, 80), seed=0)


def test_photographs_as_a_data_set():
    dataset = data.load("photographs")
    assert dataset.image_shape == (64, 64)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (4000, 500, 500)
    assert (dataset.num_classes, dataset.scale) == (1, 255)
    assert not dataset.train.labels.any()
    assert data.load("photographs", image_size=(20, 30)).image_shape == (20, 30)
    with pytest.raises(ValueError, match="the data set photographs is shipped with a Python pack"):
        data.load("photographs", data_dir="here")


def save(folder, name, pixels, **options):
    PIL.Image.fromarray(np.asarray(pixels)).save(folder / name, **options)


@pytest.fixture
def images(tmp_path):
    """Twelve images of 6×8 pixels, of which number i is i everywhere, and a text."""
    for i in range(12):
        save(tmp_path, f"{i:02}.{('png', 'PNG')[i % 2]}", np.full((6, 8), i, np.uint8))
    (tmp_path / "notes.txt").write_text("of cars")
    return tmp_path


def test_every_fifth_file_is_held_out(images):
    dataset = data.load("folder", data_dir=images, full_intensity=255.0)
    assert dataset.image_shape == (6, 8)
    np.testing.assert_array_equal(dataset.test.images[:, 0], [1, 6, 11])
    np.testing.assert_array_equal(dataset.train.images[:, 0], [0, 2, 3, 4, 5, 7, 8, 9, 10])
    held = data.load("folder", data_dir=images, full_intensity=255.0, num_validation=2)
    assert (len(held.train), len(held.validation), len(held.test)) == (7, 2, 3)


def test_images_are_shrunk_to_cover_the_size_and_cut_to_their_middle(tmp_path):
    pixels = np.zeros((8, 20), np.uint8)
    pixels[:, 6:14] = np.arange(4).repeat(2) * 40  # the middle 4×4 pixels, shrunk
    pixels[:4, 6:14] += 20
    save(tmp_path, "a.png", pixels)
    save(tmp_path, "b.png", np.repeat(pixels[..., None], 3, axis=2))  # grey in colour
    dataset = data.load("folder", data_dir=tmp_path, image_size=4, full_intensity=255.0)
    expected = [[20, 60, 100, 140]] * 2 + [[0, 40, 80, 120]] * 2
    for split in (dataset.train, dataset.test):
        np.testing.assert_array_equal(dataset.pictures(split.images[0]) * 255, expected)
    rows = data.load("folder", data_dir=tmp_path, image_size=(4, 10), full_intensity=255.0)
    np.testing.assert_array_equal(rows.train.images[0].reshape(4, 10)[:, 3:7], expected)


def test_images_are_turned_as_cameras_say(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pixels = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)
    save(tmp_path, "a.png", pixels, exif=exif)
    save(tmp_path, "b.png", np.rot90(pixels, -1))
    dataset = data.load("folder", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.train.images, dataset.test.images)
    assert dataset.image_shape == (3, 2)


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("RGBA", 3), ("P", 3)])
def test_what_is_transparent_lies_on_white(tmp_path, mode, channels):
    """Black ink, all that is opaque."""
    ink = 255 * np.array([[0, 0, 0], [1, 0, 1]], np.uint8)
    if mode == "P":
        picture = PIL.Image.fromarray(ink // 255)
        picture.putpalette([0] * 6)
        picture.save(tmp_path / "a.png", transparency=0)
    else:
        picture = PIL.Image.fromarray(np.stack([np.zeros_like(ink), ink], axis=2))
        picture.convert(mode).save(tmp_path / "a.png")
    (levels,) = pictures.read([files.path(tmp_path / "a.png")], None)
    np.testing.assert_array_equal(np.atleast_3d(levels), np.tile(255 - ink[..., None], channels))


def test_pictures_that_are_too_large_are_named(images, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(
        ValueError, match=rf"^{images}/00.png is too large \(Image size \(48 pixels"
    ):
        data.load("folder", data_dir=images)


def cut_off(folder):
    save(folder, "x.png", np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8))
    (folder / "x.png").write_bytes((folder / "x.png").read_bytes()[:2000])


def refusals(folder):
    """Files added to twelve images of 6×8 pixels, the size asked for, and what is said."""
    rows = {
        "larger": (None, (7, 8), rf"{folder}/00.png has 6×8 pixels, and image_size=7,8 is more: "
            "images are only shrunk; choose a smaller size, or take it out"),
        "unequal": (lambda: save(folder, "x.png", np.zeros((6, 9), np.uint8)), None,
            rf"{folder}/00.png has 6×8 pixels, but {folder}/x.png 6×9: set image_size to the rows "
            "and columns that all shall have"),
        "damaged": (lambda: (folder / "x.jpg").write_bytes(b"cars"), None,
            rf"{folder}/x.jpg is damaged, or no image \(.*\): take it out"),
        "cut": (lambda: cut_off(folder), None,
            rf"{folder}/x.png is damaged, or no image \(.*\): take it out"),
        "deep": (lambda: save(folder, "x.png", np.zeros((6, 8), np.uint16)), None,
            rf"{folder}/x.png has more than 8 bits a pixel \(mode I;16\): make it 8 bits"),
    }  # fmt: skip
    return rows


@pytest.mark.parametrize("kind", refusals("."))
def test_images_that_cannot_be_taken_are_named(images, kind):
    add, size, words = refusals(images)[kind]
    if add is not None:
        add()
    with pytest.raises(ValueError, match=f"(?s)^{words}$"):
        data.load("folder", data_dir=images, image_size=size)


def test_folders_without_images_are_named(tmp_path):
    words = (
        "{} holds 0 files that end in .jpg, .jpeg, .png: a folder of images needs two at least, "
        "one to train on and one for the test"
    )
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=f"^{re.escape(words.format(folder))}$"):
            data.load("folder", data_dir=folder)
    with pytest.raises(ValueError, match="the data set folder is that of image files in a data_d"):
        data.load("folder")
