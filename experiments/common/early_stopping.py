"""Early stopping of runs: its flag, what training is told, and what is refused."""

from typing import Any

from dbn_jax import training
from experiments.common.settings import MAX_EPOCHS, Growth, setting


def patience(measure: str) -> Any:
    """Declares the setting, of a command that measures this after every epoch, in words."""
    return setting(
        None,
        f"Number of epochs after which training ends if {measure} on validation data has not "
        "improved; the best epoch is kept.",
        unset="all epochs are run, and the last one is kept",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=Growth(lambda settings: True, ""),
    )


def rule(
    patience: int | None, measure: str, *, maximise: bool = False
) -> training.EarlyStopping | None:
    """What `Run.train` is told."""
    if patience is None:
        return None
    return training.EarlyStopping(measure=measure, patience=patience, maximise=maximise)


def check(patience: int | None, part: str, *, flag: str = "patience", when: str = "") -> None:
    """Raises a ValueError if the test set would decide: `part` is the name of what is held out."""
    if patience is not None and part != "validation":
        raise ValueError(
            f"--{flag}={patience} looks at validation data, and there are none: the test set must "
            f"not decide; hold some out with --num_validation{when}"
        )
