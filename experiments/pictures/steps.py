"""The Gibbs steps at which chains are shown, and their words."""

import itertools


def milestones(last: int) -> list[int]:
    """1, 3, 10, 30, … and the last step."""
    every = (step * 10**power for power in itertools.count() for step in (1, 3))
    return [*itertools.takewhile(lambda step: step < last, every), last]


def in_words(count: int) -> str:
    """Such as "1,000 Gibbs steps"."""
    return f"{count:,} Gibbs step{'' if count == 1 else 's'}"
