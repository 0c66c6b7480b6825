"""Sequences: bouncing balls, piano rolls and motion capture, each with its published split."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from dbn_jax import files
from dbn_jax.data import balls, motion, music
from dbn_jax.data.sequence_set import SequenceSet

# What reads each data set, and what its folder holds.
_READERS: dict[str, tuple[Callable[..., SequenceSet], str | None]] = {
    "balls": (balls.read, None),
    **{
        name: (functools.partial(music.read, name), file) for name, (file, _) in music.FILES.items()
    },
    "midi": (music.read_midi, "MIDI files (.mid)"),
    "walking": (motion.read_walking, motion.WALKING_FILE),
    "cmu35": (motion.read_cmu35, " and ".join(motion.CMU35_FILES)),
    "bvh": (motion.read_bvh, "motion files (.bvh)"),
    "npz": (motion.read_npz, "files of frames (.npz)"),
}
NAMES = tuple(_READERS)


def load_sequences(
    name: str, *, data_dir: str | os.PathLike | None = None, **options: Any
) -> SequenceSet:
    """Reads a data set of sequences; never another one than was asked for.

    - ``balls``: bouncing balls, simulated; training sequences are made as they are needed
      (`balls.simulate`). Options: those of `balls.read`.
    - ``jsb``, ``nottingham``, ``piano``, ``musedata``: piano rolls of Boulanger-Lewandowski et al.
      2012, from ``JSB_Chorales.mat`` and its siblings.
    - ``midi``: all MIDI files of a folder. Options: those of `music.read_midi`.
    - ``walking``: three walks of 49 numbers a frame, from ``motion.mat`` (Taylor et al. 2006).
    - ``cmu35``: subject 35 of CMU's motion capture, from ``cmu35WalkJog.mat`` and ``35.asf``.
    - ``bvh``, ``npz``: motion capture of your own. Options: those of `motion.read_bvh` and
      `motion.read_npz`.

    Args:
      name: the data set.
      data_dir: the folder that holds its files; none for balls.
      options: what the reader of this data set takes besides.
    """
    if name not in _READERS:
        raise ValueError(f"the sequences {name!r} are none of {', '.join(NAMES)}")
    reader, holds = _READERS[name]
    allowed = [option for option in inspect.signature(reader).parameters if option != "folder"]
    if unknown := [option for option in options if option not in allowed]:
        takes = f"only {', '.join(allowed)}" if allowed else "no options"
        raise TypeError(f"{name} takes {takes}, but {', '.join(unknown)} was given: leave it out")
    if holds is None:
        if data_dir is not None:
            raise ValueError(
                f"{name} are simulated and take no data_dir (got {data_dir!r}): leave it out"
            )
        return reader(**options)
    if data_dir is None:
        raise ValueError(f"{name} is read from files: set data_dir to the folder with {holds}")
    folder = files.path(os.path.expanduser(data_dir))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data_dir={str(data_dir)!r} is no folder: it should be the one with {holds}"
        )
    return reader(folder=folder, **options)
