"""Each fault that users meet is named, and sound data and models are left in peace."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.learning import health

GREY = np.random.default_rng(0).random((50, 6)).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[np.arange(50) % 3]


@pytest.mark.parametrize(
    ("visible", "data", "kind", "words"),
    [
        (units.Bernoulli(), 255 * GREY, "range", "[0, 1]; rescale"),
        (units.Bernoulli(), GREY - 0.5, "range", "[0, 1]; rescale"),
        (units.Spin(), 3 * GREY, "range", "[-1, 1]; rescale"),
        (units.Poisson(), GREY - 0.5, "range", "Poisson units take values in [0, inf]"),
        (units.Binomial(num_trials=4), 9 * GREY, "range", "[0, 4]"),
        (units.Softmax(num_classes=3), GREY, "one_hot", "each must sum to 1"),
        (units.Gaussian(), 100 * GREY, "sigma", "standardise the data, or learn sigma"),
        (
            units.Gaussian(learn_sigma=True),
            0 * GREY,
            "constant",
            "6 of 6 Gaussian visible units never",
        ),
        (
            units.Gaussian(learn_sigma=True),
            GREY * np.array([1, 10, 1e4, 1e4, 1e4, 1e4], np.float32),
            "narrow",
            "of 2 of 6 Gaussian visible units lie within less than",
        ),
        (units.Bernoulli(), np.where(GREY > 0.98, np.nan, GREY), "nonfinite", "NaN or infinity"),
        # Nothing is said of a standard deviation or of sums that are NaN.
        (units.Gaussian(), np.where(GREY > 0.98, np.nan, 3 * GREY), "nonfinite", "NaN or infinity"),
        (units.Gaussian(), np.where(GREY > 0.98, np.inf, 3 * GREY), "nonfinite", "NaN or infinity"),
        (
            units.Gaussian(),
            np.nan * GREY,
            "nonfinite",
            "50 of 50 rows hold NaN or",
        ),
        (
            units.Softmax(num_classes=3),
            np.where(GREY[:, :3] > 0.98, np.nan, ONE_HOT),
            "nonfinite",
            "NaN",
        ),
        (
            units.Concat(parts=(units.Bernoulli(), units.Softmax(num_classes=3)), sizes=(6, 3)),
            np.concatenate([7 * GREY, ONE_HOT], axis=1),
            "0.range",
            "Bernoulli units take values",
        ),
    ],
)
def test_bad_data_is_named(visible, data, kind, words):
    warnings = health.check_data(visible, data)
    assert warnings.keys() == {kind}
    assert words in warnings[kind]


@pytest.mark.parametrize(
    ("visible", "data"),
    [
        (units.Bernoulli(), GREY),
        (units.Spin(), 2 * GREY - 1),
        (units.Spin(), np.full((3, 2), 1.0000001, np.float32)),  # rescaled in single precision
        (units.Poisson(), np.floor(9 * GREY)),
        (units.Softmax(num_classes=3), ONE_HOT),
        (units.Gaussian(), GREY),
        (units.Gaussian(learn_sigma=True), 100 * GREY),
        (units.Gaussian(learn_sigma=True), 1e-8 * GREY),
    ],
)
def test_good_data_pass(visible, data):
    assert health.check_data(visible, data) == {}


def biased(hidden, bias):
    params = rbm.init_params(jax.random.key(0), 6, 10, hidden=hidden)
    return dataclasses.replace(params, hidden=params.hidden.add_to_bias(jnp.full(10, bias)))


@pytest.mark.parametrize(
    ("hidden", "bias", "kind"),
    [
        (units.Bernoulli(), -20.0, "dead"),
        (units.Bernoulli(), 20.0, "saturated"),
        (units.Spin(), -20.0, "dead"),
        (units.Binomial(num_trials=4), 20.0, "saturated"),
        (units.Poisson(), -20.0, "dead"),
        (units.ReLU(), -1000.0, "dead"),
    ],
)
def test_idle_units_are_named(hidden, bias, kind):
    warnings = health.check_hidden(biased(hidden, bias), jnp.asarray(GREY))
    assert warnings.keys() == {kind}
    assert warnings[kind].startswith(f"10 of 10 hidden units are {kind} (")


def test_half_of_the_units_may_be_idle():
    for bias, word in ((-20.0, "dead"), (20.0, "saturated")):
        for idle in (5, 6):
            params = rbm.init_params(jax.random.key(0), 6, 10)
            biases = jnp.where(jnp.arange(10) < idle, bias, 0.0)
            params = dataclasses.replace(params, hidden=params.hidden.add_to_bias(biases))
            warnings = health.check_hidden(params, jnp.asarray(GREY))
            assert warnings.keys() == ({word} if idle > 5 else set())
            assert all(f"{idle} of 10 hidden units are {word}" in w for w in warnings.values())


def test_units_that_are_off_for_some_examples_and_on_for_others_pass():
    params = rbm.init_params(jax.random.key(0), 1, 10)
    params = dataclasses.replace(params, weights=jnp.full((1, 10), 40.0))
    params = dataclasses.replace(params, hidden=params.hidden.add_to_bias(jnp.full(10, -20.0)))
    assert health.check_hidden(params, jnp.array([[0.0], [1.0]])) == {}


@pytest.mark.parametrize("hidden", [units.Bernoulli(), units.Gaussian(), units.ReLU()])
def test_lively_units_pass(hidden):
    assert health.check_hidden(biased(hidden, 0.0), jnp.asarray(GREY)) == {}


def test_lost_models_and_no_data_are_named():
    params = rbm.init_params(jax.random.key(0), 4, 3)
    params = dataclasses.replace(params, weights=params.weights * jnp.nan)
    warnings = health.check_hidden(params, jnp.ones((5, 4)))
    assert warnings.keys() == {"nonfinite"}
    assert warnings["nonfinite"].startswith(
        "3 of 3 hidden units have no finite mean: learning has diverged"
    )
    assert health.check_data(units.Bernoulli(), np.zeros((0, 4))) == {
        "empty": "there is no example to look at"
    }


def test_units_of_wide_softmax_groups_are_not_dead_from_the_start():
    hidden = units.Softmax(num_classes=200)
    params = rbm.init_params(jax.random.key(0), 4, 400, hidden=hidden)
    assert health.check_hidden(params, jnp.ones((5, 4))) == {}


def test_pixels_of_maps_are_judged_together():
    """What places share has a spread if any place has; a border that never varies is no fault."""
    maps = units.Maps(units.Gaussian(learn_sigma=True), 9)
    data = np.zeros((50, 9, 2), np.float32)
    data[:, 4] = np.random.default_rng(0).normal(size=(50, 2))
    assert not health.check_data(maps, data.reshape(50, 18))
    data[..., 1] = 0.0
    words = "1 of 2 Gaussian visible units never vary in the data; leave them out"
    assert words in health.check_data(maps, data.reshape(50, 18))["constant"]
