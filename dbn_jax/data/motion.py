"""Motion capture: walks and runs as numbers of a frame, standardised, with skeletons to draw them.

``walking`` is Hsu's, as Taylor prepared it: three walks, already at 30 frames a second and seen
from the body, 49 of whose 108 numbers change (Taylor, Hinton and Roweis 2006). ``cmu35`` is subject
35 of CMU's collection, as Lawrence prepared it: every fourth frame of 120 a second, with the place
and the turn of the root in the room (Lawrence, GPmat). Both come with the split that is published
for them. Files of your own are .bvh, or .npz with an array of frames.
"""

import numpy as np

from dbn_jax import files
from dbn_jax.data import acclaim, bvh, matlab, sequence_set, walking
from dbn_jax.data.sequence_set import SequenceSet
from dbn_jax.data.skeletons import Skeleton

WALKING_FILE = "motion.mat"
CMU35_FILES = ("cmu35WalkJog.mat", "35.asf")
_FRAMES_PER_SECOND = 30.0
_CONSTANT = 1e-9  # of the largest standard deviation of a column: that of one that never changes
_WALKING_ORIGIN = "the walks that Taylor prepared are data/motion.mat of github.com/taneishi/CRBM"
_CMU35_ORIGIN = "the motions of CMU's subject 35 are in github.com/SheffieldML/GPmat"
# Their root moves nearly three times as fast as in walks.
_CMU35_RUNS = {"train": range(16, 25), "validation": (), "test": (0,)}
_TEST_FRAMES, _PIECE = 326, 100  # the end of the third walk, and what walks are cut into


def read_walking(folder: files.Path) -> SequenceSet:
    """Reads the walks of ``motion.mat``, with the split of Gan et al. 2015.

    The last 326 frames of the third walk test, in pieces of 100, 100, 100 and 26; all frames before
    train, in 35 pieces of about 100. Gan's 35 pieces hold the same frames, but two of them run from
    one walk on into the next. As published, mean and standard deviation are those of all frames.
    """
    path = folder / WALKING_FILE
    motion = matlab.read(path, ("Motion",), _WALKING_ORIGIN)["Motion"]
    walks = matlab.cells(path, "Motion", motion, _WALKING_ORIGIN)
    if len(walks) != 3 or len(walks[2]) <= _TEST_FRAMES:
        raise ValueError(
            f"{path} holds {len(walks)} walks of {', '.join(str(len(w)) for w in walks)} frames, "
            f"but three are expected, the last {_TEST_FRAMES} frames of the third to test: "
            f"{_WALKING_ORIGIN}"
        )
    for number, walk in enumerate(walks):
        sequence_set.check_frames(f"{path}: walk {number}", walk, walking.COLUMNS)
    learnt = [walks[0], walks[1], walks[2][:-_TEST_FRAMES]]
    pieces = [p for w in learnt for p in np.array_split(w, max(1, round(len(w) / _PIECE)))]
    tested = walks[2][-_TEST_FRAMES:]
    ends = range(_PIECE, _TEST_FRAMES, _PIECE)
    return _standardised(
        "walking",
        {"train": pieces, "validation": [], "test": np.split(tested, ends)},
        walking.COLUMNS,
        walking.BODY,
        kept=walking.KEPT,
        over=walks,
        ddof=1,
    )


def read_cmu35(folder: files.Path) -> SequenceSet:
    """Reads CMU's subject 35: 31 sequences to learn from, and a run and a walk to test.

    Names of columns and the skeleton come from ``35.asf``. The numbers that never change are left
    out; the others are standardised by the training sequences.
    """
    path, skeleton_path = (folder / file for file in CMU35_FILES)
    names = ("Y", "lbls", "Ytest", "lblstest")
    content = matlab.read(path, names, _CMU35_ORIGIN)
    if not skeleton_path.is_file():
        raise FileNotFoundError(f"{skeleton_path} is missing: {_CMU35_ORIGIN}")
    skeleton = acclaim.read(skeleton_path)
    parts = {
        part: _by_label(path, content[frames], content[labels], skeleton.columns, (frames, labels))
        for part, frames, labels in (("train", "Y", "lbls"), ("test", "Ytest", "lblstest"))
    } | {"validation": []}
    return _standardised(
        "cmu35",
        parts,
        skeleton.columns,
        skeleton,
        labels={
            part: tuple("run" if number in runs else "walk" for number in range(len(parts[part])))
            for part, runs in _CMU35_RUNS.items()
        },
    )


def read_bvh(
    folder: files.Path,
    *,
    every: int = 1,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> SequenceSet:
    """Reads all .bvh files of a folder, each of which is a sequence of one and the same skeleton.

    Angles are unwrapped, so that they do not leap from 180° to −180°; numbers that never change in
    training sequences are left out, the others standardised by these.

    Args:
      folder: where they are.
      every: keeps every so many-th frame, such as 4 of 120 frames a second.
      validation_share: of the files, to choose settings on.
      test_share: of the files, to report on.
      seed: chooses which files.
    """
    paths = _paths(folder, ".bvh")
    if every < 1:
        raise ValueError(f"every={every}: choose a whole number from 1")
    walks = [bvh.read(path) for path in paths]
    first = walks[0]
    for path, file in zip(paths, walks, strict=True):
        _check_same(path, paths[0], "columns", file.columns, first.columns)
        _check_same(path, paths[0], "frames per second", round(file.rate, 2), round(first.rate, 2))
    parts = sequence_set.split(
        f"bvh in {folder}",
        [file.frames[::every] for file in walks],
        validation_share=validation_share,
        test_share=test_share,
        seed=seed,
    )
    return _standardised("bvh", parts, first.columns, first, rate=first.rate / every)


def read_npz(
    folder: files.Path,
    *,
    frames_per_second: float = _FRAMES_PER_SECOND,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
) -> SequenceSet:
    """Reads all .npz files of a folder: arrays `frames` (frames, units) and, if given, `columns`.

    Each is a sequence. Columns that never change in training sequences are left out, the others
    standardised by these.

    Args:
      folder: where they are.
      frames_per_second: for films.
      validation_share: of the files, to choose settings on.
      test_share: of the files, to report on.
      seed: chooses which files.
    """
    paths = _paths(folder, ".npz")
    read = [_read_npz_file(path) for path in paths]
    for path, (_, columns) in zip(paths, read, strict=True):
        _check_same(path, paths[0], "columns", columns, read[0][1])
    parts = sequence_set.split(
        f"npz in {folder}",
        [frames for frames, _ in read],
        validation_share=validation_share,
        test_share=test_share,
        seed=seed,
    )
    return _standardised("npz", parts, read[0][1], rate=frames_per_second)


def _standardised(
    name,
    parts,
    columns,
    body=None,
    *,
    rate=_FRAMES_PER_SECOND,
    over=None,
    ddof=0,
    kept=None,
    labels=None,
):
    """The set of (x − mean) / scale of the numbers that change, by the frames in `over`."""
    frames = np.concatenate(parts["train"] if over is None else over)
    mean, scale = frames.mean(0), frames.std(0, ddof=ddof)
    if kept is None:
        if not scale.any():
            raise ValueError(f"{name}: no column changes in the training sequences")
        kept = np.flatnonzero(scale > _CONSTANT * scale.max())
    mean, scale = mean[kept], scale[kept]
    skeleton = None
    if body is not None:
        skeleton = Skeleton(
            joints=body.joints,
            bones=tuple((parent, joint) for joint, parent in enumerate(body.parents) if joint),
            kinematics=body.kinematics,
            rest=frames[0],
            kept=kept,
            mean=mean,
            scale=scale,
        )
    return SequenceSet(
        name=name,
        **{
            part: tuple(((s[:, kept] - mean) / scale).astype(np.float32) for s in sequences)
            for part, sequences in parts.items()
        },
        kind="real",
        frames_per_second=rate,
        columns=tuple(columns[unit] for unit in kept),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        labels=labels,
        skeleton=skeleton,
    )


def _by_label(path, frames, labels, columns, names):
    """Cuts frames where the one-hot label changes."""
    if frames.ndim != 2 or frames.shape[1] != len(columns) or len(labels) != len(frames):
        raise ValueError(
            f"{path} holds {names[0]} of shape {frames.shape} and {names[1]} of shape "
            f"{labels.shape}, but a row of {len(columns)} numbers and of a label for each frame "
            f"are expected: {_CMU35_ORIGIN}"
        )
    numbers = labels.argmax(1)
    cut = np.split(np.asarray(frames, np.float64), np.flatnonzero(np.diff(numbers)) + 1)
    for number, sequence in enumerate(cut):
        sequence_set.check_frames(f"{path}: sequence {number} of {names[0]}", sequence, columns)
    return cut


def _paths(folder, suffix):
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no {suffix} files: name the folder with yours")
    return paths


def _read_npz_file(path):
    """The frames and the names of their columns."""
    try:
        with path.open("rb") as file, np.load(file) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as error:  # each damage has its own
        raise ValueError(f"{path} is damaged, or no .npz file ({error}): write it again") from error
    if "frames" not in arrays or arrays["frames"].dtype.kind not in "buif":
        found = ", ".join(f"{k} of {v.dtype}" for k, v in arrays.items()) or "nothing"
        raise ValueError(
            f"{path} holds {found}, but numbers `frames` (frames, units) are expected: "
            "np.savez(path, frames=..., columns=...)"
        )
    frames = arrays["frames"].astype(np.float64)
    units = frames.shape[-1] if frames.ndim else 0
    columns = arrays.get("columns", [f"column {unit}" for unit in range(units)])
    columns = tuple(str(column) for column in columns)
    sequence_set.check_frames(str(path), frames, columns)
    return frames, columns


def _check_same(path, other, what, value, expected):
    """Refuses a file that does not go with the first of its folder."""
    if value != expected:
        odd = [v for v in value if v not in expected] if isinstance(value, tuple) else [value]
        raise ValueError(
            f"{path} has other {what} than {other.name} ({odd[0] if odd else len(value)}): keep "
            "files of one kind in a folder"
        )
