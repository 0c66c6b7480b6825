"""What error rates are held against, on points whose neighbours are known; the warnings."""

import numpy as np
import pytest

from dbn_jax import data
from experiments.common import yardsticks


def dataset(num_train, num_test=400, *, classes=4, wrong=0.0, sort=False):
    """Images each of which lies nearest to those of its class, and a share with another label."""
    rng = np.random.default_rng(0)
    splits = []
    for count in (num_train, num_test):
        labels = np.arange(count) % classes
        if sort:
            labels = np.sort(labels)
        images = rng.integers(0, 40, (count, classes), dtype=np.uint8)
        images[np.arange(count), labels] += 200
        splits.append(data.Split(images, labels))
    train, test = splits
    test.labels[: round(wrong * num_test)] += 1
    test.labels[:] %= classes
    return data.Dataset("points", train, None, test, (2, classes // 2), classes)


def warnings(rates, points, caplog):
    with caplog.at_level("WARNING", logger="absl"):
        yardsticks.warn(rates, points, points.test)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("num_train", "looked_at"), [(60, 60), (5000, 1000)])
@pytest.mark.parametrize("sort", [False, True])
def test_the_nearest_of_a_thousand_images_that_stand_for_all(num_train, looked_at, sort):
    points = dataset(num_train, wrong=0.05, sort=sort)
    found = yardsticks.nearest_neighbour_error(points, points.test)
    assert found == (looked_at, 0.05)


def test_rates_behind_the_nearest_neighbour_are_told_in_one_sentence(caplog):
    points = dataset(2000, wrong=0.05)
    rates = {"error_rate_mean_field": 0.06, "error_rate_sampling": 0.239, "error_rate_gibbs": 0.25}
    assert warnings(rates, points, caplog) == [
        "error_rate_sampling is 23.9%, error_rate_gibbs is 25.0%, where the nearest of 1,000 "
        "training images gets 5.0% of these 400 images wrong: train longer (more epochs), or at "
        "another learning rate, or with fewer layers; the learning curves tell which"
    ]


def test_rates_near_chance_are_told_once(caplog):
    points = dataset(2000, wrong=0.05)
    (told,) = warnings({"error_rate": 0.72}, points, caplog)
    assert told.startswith(
        "error_rate is 72.0%, where always answering the commonest class gets 75.0% of these 400 "
    )


@pytest.mark.parametrize(
    ("rate", "num_test", "wrong", "count"),
    [
        (0.08, 400, 0.05, 0),  # two standard errors of the difference are 3.1 %
        (0.09, 400, 0.05, 1),
        (1 / 20, 20, 0.0, 0),  # one of a few
        (0.68, 400, 0.74, 0),  # the neighbours know nothing, and 0.75 is chance
        (0.02, 400, 0.05, 0),
    ],
)
def test_what_chance_explains_is_no_reason_to_warn(rate, num_test, wrong, count, caplog):
    points = dataset(2000, num_test, wrong=wrong)
    assert len(warnings({"error_rate": rate}, points, caplog)) == count
