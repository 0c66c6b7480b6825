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
    assert named == set(units.Units.__subclasses__()) - {units.Concat}


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


def test_standardised_pixels_are_not_binarised():
    with pytest.raises(ValueError, match="--standardise and --binarisation=fixed exclude each"):
        DataSettings(standardise=True, binarisation="fixed")


@pytest.mark.parametrize(
    ("changes", "grey"),
    [
        ({"dataset": "mnist5k"}, False),
        ({"dataset": "mnist5k", "classes": (1,)}, False),
        ({"dataset": "mnist5k", "image_size": 8}, True),
        ({"dataset": "digits"}, True),
        ({"dataset": "digits", "classes": (1,)}, True),
        ({"dataset": "digits", "binarisation": "stochastic"}, False),
        ({"dataset": "digits", "binarisation": "fixed"}, False),
        ({"dataset": "digits", "binarisation": "threshold"}, False),
    ],
)
def test_pixels_that_are_more_grey_than_black_and_white(changes, grey):
    assert is_grey(*DataSettings(**changes).load()) is grey
