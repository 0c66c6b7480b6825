"""Early stopping: training ends when a held-out measure gets no better, and the best state is kept.

Reference: Prechelt, "Early stopping - but when?" (1998).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# The column of metrics that tells which epoch is the best so far.
COLUMN = "best_epoch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends training so many epochs after the best one, whose state is what training returns.

    Of equal epochs the first is the best; the start, epoch 0, is one of them. What is measured must
    be held out from training, and is then no test of the model: it has chosen it.

    Attributes:
      measure: name of a number that `evaluate` returns.
      patience: number of epochs; it may grow when a run is resumed.
      maximise: whether the largest is the best, not the smallest.
    """

    measure: str
    patience: int
    maximise: bool = False

    def __post_init__(self):
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1")

    def is_better(self, value: float, best: float) -> bool:
        """Whether a value is better than the best so far. NaN is the worst of all."""
        if math.isnan(value) or math.isnan(best):
            return math.isnan(best) and not math.isnan(value)
        return value > best if self.maximise else value < best


class Best:
    """The best epoch so far; `tree` is all of it, as checkpoints hold it."""

    def __init__(self, rule: EarlyStopping, state: Any):
        """Begins with the first state."""
        self._rule = rule
        self.tree: dict[str, Any] = {
            "state": state,
            "epoch": np.asarray(0),
            "value": np.asarray(math.nan),
        }

    @property
    def epoch(self) -> int:
        """Its number."""
        return int(self.tree["epoch"])

    def see(self, epoch: int, state: Any, evaluation: Mapping[str, float]) -> None:
        """Takes a state if it is better than those before it."""
        measure = self._rule.measure
        if measure not in evaluation:
            raise ValueError(
                f"early stopping looks at {measure}, and evaluated is "
                f"{', '.join(evaluation) or 'nothing'}; let `evaluate` return it, of held-out "
                "examples"
            )
        value = evaluation[measure]
        if self._rule.is_better(value, float(self.tree["value"])):
            parts = {"epoch": np.asarray(epoch), "value": np.asarray(value, np.float64)}
            self.tree = {"state": state, **parts}

    def is_long_ago(self, epoch: int) -> bool:
        """Whether training ends with this epoch."""
        return epoch - self.epoch >= self._rule.patience
