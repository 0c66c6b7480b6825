"""What unit types refuse: the sentence names the value and the remedy."""

import math

import jax.numpy as jnp
import pytest

from dbn_jax import units

PIXELS_AND_LABEL = units.Concat((units.Bernoulli(), units.Softmax(num_classes=3)), (3, 3))

ERRORS = {
    "no units": (lambda: units.Bernoulli().init(0), "num_units is 0"),
    "one class": (lambda: units.Softmax(num_classes=1), "num_classes is 1; .* at least 2"),
    "split group": (
        lambda: units.Softmax(num_classes=4).init(6),
        "6 softmax units .* groups of 4; use a multiple",
    ),
    "no group": (lambda: units.Softmax(num_classes=4).init(0), "num_units is 0"),
    "no trial": (lambda: units.Binomial(num_trials=0), "num_trials is 0; .* at least 1"),
    "zero sigma": (lambda: units.Gaussian(sigma=0.0), r"sigma is 0\.0; it must be positive"),
    "negative sigma": (lambda: units.Gaussian(sigma=-1.0), r"sigma is -1\.0"),
    "nan sigma": (lambda: units.Gaussian(sigma=math.nan), "sigma is nan"),
    "zero min_share": (lambda: units.Gaussian(min_share=0.0), r"min_share is 0\.0; .* \(0, 1\]"),
    "large min_share": (lambda: units.Gaussian(min_share=1.5), r"min_share is 1\.5; .* \(0, 1\]"),
    "missing size": (
        lambda: units.Concat(parts=(units.Spin(), units.Spin()), sizes=(3,)),
        "2 parts and 1 sizes; .* one size for each part",
    ),
    "no parts": (lambda: units.Concat(), "0 parts and 0 sizes"),
    "wrong sum": (lambda: PIXELS_AND_LABEL.init(7), r"\(3, 3\) .* 7 units"),
    "part's own rule": (
        lambda: units.Concat(parts=(units.Softmax(num_classes=3),), sizes=(4,)).init(4),
        "groups of 3",
    ),
    "block that does not divide": (
        lambda: units.MaxPooled(shape=(4, 6), block=4),
        r"maps of 4×6 units cannot be pooled in blocks of 4×4: choose a block, or filters and "
        r"borders, such that it divides both$",
    ),
    "no block": (lambda: units.MaxPooled(block=0), "cannot be pooled in blocks of 0×0"),
    "part of a map": (
        lambda: units.Maps(units.Bernoulli(), 4).init(6),
        "^6 units are no whole number of maps of 4 places$",
    ),
    "part of a pooled map": (
        lambda: units.MaxPooled(shape=(2, 2)).init(6),
        "^6 units are no whole number of maps of 4 places$",
    ),
    "no map": (lambda: units.Maps(units.Bernoulli(), 4).init(0), "num_units is 0"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_options_are_refused(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_maps_are_of_one_type():
    with pytest.raises(TypeError, match="units of maps are of one type; put `Maps` of each into"):
        units.Maps(PIXELS_AND_LABEL, 2)


def test_pooled_units_are_fitted_to_no_data():
    with pytest.raises(TypeError, match="MaxPooled units are hidden units: they are fitted"):
        units.MaxPooled(shape=(2, 2)).init(4).fit(jnp.zeros((3, 4)))
