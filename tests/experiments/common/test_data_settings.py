"""Which images are learnt from, and the values of visible units that are made of them."""

import dataclasses

import jax
import numpy as np
import pytest

from dbn_jax import data, units
from experiments.common.data_settings import PIXEL_UNITS, UNITS, DataSettings, Pixels, is_grey
from tests.small_jobs import DIGITS


def test_unit_names_cover_the_package():
    named = {type(unit) for unit in UNITS.values()}
    ours = {cls for cls in units.Units.__subclasses__() if cls.__module__.startswith("dbn_jax.")}
    assert named == ours - {units.Concat, units.Maps, units.MaxPooled}


def test_pixels_round_trip():
    rows = np.arange(0, 256, 5, dtype=np.uint8)[None]
    _, transform = DataSettings().load()
    grey = rows / 255
    for name in PIXEL_UNITS:
        pixels = Pixels(transform, name)
        v = pixels(jax.random.key(0), jax.numpy.asarray(rows))
        low, high = UNITS[name].support
        assert low <= v.min()
        assert v.max() <= high
        tolerance = 1 / 16 if name in ("binomial", "poisson") else 1e-6
        np.testing.assert_allclose(pixels.grey(v), grey, atol=tolerance + 1e-6)


@pytest.mark.parametrize("standardise", [False, True])
def test_other_classes_are_prepared_as_those_that_were_learnt(standardise):
    settings = dataclasses.replace(DIGITS, classes=(2, 7), standardise=standardise)
    dataset, _ = settings.load()
    raw = data.load("digits").test
    others = ~np.isin(raw.labels, (2, 7))
    split = settings.left_out(dataset)
    np.testing.assert_array_equal(split.labels, raw.labels[others])
    pictures = dataset.pictures(split.images).reshape(len(split), -1)
    np.testing.assert_allclose(pictures, raw.images[others] / 255, atol=1e-6)
    if standardise:
        used = dataset.standardisation
        expected = (raw.images[others] / 255 - used.mean) / used.std
        np.testing.assert_allclose(split.images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"standardise": True, "binarisation": "fixed"},
            "--standardise and --binarisation=fixed exclude each",
        ),
        ({"whiten": True, "binarisation": "fixed"}, "--whiten and --binarisation=fixed exclude"),
        ({"whiten": True, "standardise": True}, "--standardise and --whiten exclude each other"),
        ({"image_size": (1, 2, 3)}, "--image_size=1,2,3: one number, or the numbers of rows and"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        DataSettings(**settings)


def test_other_classes_of_own_images_are_those_of_their_labels(tmp_path):
    images, labels = np.arange(200, dtype=np.uint8).reshape(20, 10), np.arange(20) % 2 + 1
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    settings = DataSettings(dataset=str(tmp_path / "mine.npz"), classes=(2,))
    dataset, _ = settings.load()
    assert set(dataset.train.labels) == {1}
    assert set(settings.left_out(dataset).labels) == {0}


def test_other_classes_are_whitened_as_those_that_were_learnt():
    settings = dataclasses.replace(DIGITS, classes=(2, 7), whiten=True, image_size=(4, 6))
    dataset, _ = settings.load()
    assert dataset.image_shape == (4, 6)
    raw = dataclasses.replace(settings, whiten=False, classes=None).load()[0].test
    others = ~np.isin(raw.labels, (2, 7))
    expected = dataset.standardisation.apply(raw.take(others), 255.0)
    np.testing.assert_array_equal(settings.left_out(dataset).images, expected.images)


@pytest.mark.parametrize(
    ("changes", "grey"),
    [
        ({"dataset": "mnist5k"}, False),
        ({"dataset": "mnist5k", "classes": (1,)}, False),
        ({"dataset": "mnist5k", "image_size": (8,)}, True),
        ({"dataset": "digits"}, True),
        ({"dataset": "digits", "classes": (1,)}, True),
        ({"dataset": "digits", "binarisation": "stochastic"}, False),
        ({"dataset": "digits", "binarisation": "fixed"}, False),
        ({"dataset": "digits", "binarisation": "threshold"}, False),
    ],
)
def test_pixels_that_are_more_grey_than_black_and_white(changes, grey):
    assert is_grey(*DataSettings(**changes).load()) is grey
