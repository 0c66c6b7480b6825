"""A data set of sequences: frames in order, each sequence of its own length."""

import dataclasses

import numpy as np

from dbn_jax.data.skeletons import Skeleton

KINDS = ("binary", "grey", "real")


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceSet:
    """What models learn from, what settings are chosen on, what is reported on.

    Each sequence is (frames, units): uint8 of 0 and 1 if the kind is "binary", else float32, from 0
    to 1 if it is "grey", and standardised if it is "real". Motion has a skeleton to draw it by, and
    balls have the shape of their images. Labels, where there are any, name the style of each
    sequence of each part.
    """

    name: str
    train: tuple[np.ndarray, ...]  # none of balls: `balls.simulate` makes new ones
    validation: tuple[np.ndarray, ...]  # none where none are published
    test: tuple[np.ndarray, ...]
    kind: str
    frames_per_second: float
    columns: tuple[str, ...]  # what each unit is
    image_shape: tuple[int, int] | None = None
    mean: np.ndarray | None = None  # real data: (x − mean) / scale is what a sequence holds
    scale: np.ndarray | None = None
    labels: dict[str, tuple[str, ...]] | None = None  # by part
    skeleton: Skeleton | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        for part, sequences in self.parts().items():
            for number, sequence in enumerate(sequences):
                check_frames(f"{self.name}: {part}[{number}]", sequence, self.columns)

    def parts(self) -> dict[str, tuple[np.ndarray, ...]]:
        """The sequences of training, validation and test, by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def check_frames(where: str, sequence: np.ndarray, columns: tuple[str, ...]) -> None:
    """Refuses what is no sequence of finite numbers in these columns."""
    if sequence.ndim != 2 or len(sequence) == 0:
        raise ValueError(
            f"{where} has shape {sequence.shape}, but a sequence is (frames, units) with at least "
            "one frame: leave it out, or mend it"
        )
    if sequence.shape[1] != len(columns):
        raise ValueError(
            f"{where} has {sequence.shape[1]} columns, but there should be {len(columns)}, from "
            f"{columns[0]} to {columns[-1]}: it is other data, or its columns are others"
        )
    frames, units = np.nonzero(~np.isfinite(sequence))
    if len(frames):
        frame, unit = int(frames[0]), int(units[0])
        raise ValueError(
            f"{where} holds {sequence[frame, unit]} in frame {frame}, column {unit} "
            f"({columns[unit]}), counted from 0: mend such frames, or cut the sequence there"
        )


def split(
    name: str,
    sequences: list[np.ndarray],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
) -> dict[str, tuple[np.ndarray, ...]]:
    """Whole sequences in random order as parts; at least one to test and one to learn from."""
    if validation_share < 0 or test_share <= 0 or validation_share + test_share >= 1:
        raise ValueError(
            f"validation_share={validation_share} and test_share={test_share}: choose shares of "
            "which the first may be 0, the second not, and that together leave some for training"
        )
    count = len(sequences)
    test = max(1, round(test_share * count))
    held = test + round(validation_share * count)
    if held >= count:
        raise ValueError(
            f"{name}: {count} in all are too few sequences to hold out shares of "
            f"{validation_share} and {test_share} of them and learn from the rest: add files"
        )
    # RandomState's streams are frozen, so the same seed gives the same split under any numpy.
    shuffled = [sequences[i] for i in np.random.RandomState(seed).permutation(count)]
    return {
        "test": tuple(shuffled[:test]),
        "validation": tuple(shuffled[test:held]),
        "train": tuple(shuffled[held:]),
    }
