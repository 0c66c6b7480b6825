"""The Gibbs steps at which chains are shown."""

import pytest

from experiments.pictures import steps


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        (1, [1]),
        (2, [1, 2]),
        (30, [1, 3, 10, 30]),
        (1000, [1, 3, 10, 30, 100, 300, 1000]),
        (1200, [1, 3, 10, 30, 100, 300, 1000, 1200]),
    ],
)
def test_milestones_are_round_up_to_the_last(last, shown):
    assert steps.milestones(last) == shown


def test_in_words():
    assert [steps.in_words(n) for n in (1, 30, 12_000)] == [
        "1 Gibbs step",
        "30 Gibbs steps",
        "12,000 Gibbs steps",
    ]
