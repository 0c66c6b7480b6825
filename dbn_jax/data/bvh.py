"""BVH files: a skeleton, and the channels of its joints in each frame."""

import dataclasses

import numpy as np

from dbn_jax import files
from dbn_jax.data import sequence_set, skeletons
from dbn_jax.typing import Float

_KINDS = ("position", "rotation")


@dataclasses.dataclass(frozen=True, eq=False)
class Bvh:
    """A file: joints after their parents, ends of limbs included, and frames of channels."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]  # the root's is itself
    offsets: Float[np.ndarray, "joints 3"]
    channels: tuple[tuple[str, ...], ...]  # of each joint, such as ("Zrotation", "Xrotation")
    frames: Float[np.ndarray, "T channels"]  # angles in degrees, unwrapped
    rate: float  # frames per second

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for each channel."""
        return tuple(
            f"{joint}.{channel}"
            for joint, channels in zip(self.joints, self.channels, strict=True)
            for channel in channels
        )

    def kinematics(self, channels: Float[np.ndarray, "T channels"]) -> np.ndarray:
        """The joints' positions (T, joints, 3)."""
        offsets = np.tile(self.offsets, (len(channels), 1, 1))
        rotations, at = [], 0
        for joint, names in enumerate(self.channels):
            turns = [i for i, name in enumerate(names) if name.endswith("rotation")]
            order = "".join(names[i][0] for i in turns)
            rotations.append(skeletons.euler(order, channels[:, [at + i for i in turns]]))
            for i, name in enumerate(names):
                if name.endswith("position"):
                    offsets[:, joint, "XYZ".index(name[0])] += channels[:, at + i]
            at += len(names)
        return skeletons.chain(self.parents, offsets[:, 0], offsets, np.stack(rotations, 1))


def read(path: files.Path) -> Bvh:
    """Reads a file."""
    try:
        file = _parse(files.read_text(path, encoding="latin-1"))
    except (IndexError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no BVH file ({error}): write it again, or take it out"
        ) from error
    sequence_set.check_frames(str(path), file.frames, file.columns)
    turns = [i for i, name in enumerate(file.columns) if name.endswith("rotation")]
    frames = file.frames.copy()
    frames[:, turns] = np.unwrap(frames[:, turns], axis=0, period=360)
    return dataclasses.replace(file, frames=frames)


def _parse(text):
    head, motion, numbers = text.partition("MOTION")
    if not motion:
        raise ValueError("it has no part MOTION")
    joints, parents, offsets, channels = _hierarchy(head.split())
    words = numbers.split()
    if words[:1] != ["Frames:"] or words[2:4] != ["Frame", "Time:"]:
        raise ValueError("MOTION does not begin with Frames: and Frame Time:")
    count, seconds, values = int(words[1]), float(words[4]), words[5:]
    width = sum(map(len, channels))
    if len(values) != count * width:
        raise ValueError(
            f"it holds {len(values)} numbers, but {count} frames of {width} are {count * width}"
        )
    if not seconds > 0:
        raise ValueError(f"its Frame Time is {seconds}")
    return Bvh(
        joints=joints,
        parents=parents,
        offsets=offsets,
        channels=channels,
        frames=np.array(values, np.float64).reshape(count, width),
        rate=1 / seconds,
    )


def _hierarchy(words):
    """Joints, parents, offsets and channels, from the words before MOTION."""
    joints, parents, offsets, channels, stack = [], [], [], [], []
    words = iter(words)
    for word in words:
        if word in ("ROOT", "JOINT", "End"):
            name = next(words, "")
            parent = stack[-1] if stack else 0
            # "End Site" has no name of its own.
            joints.append(f"{joints[parent]} end" if word == "End" else name)
            parents.append(parent)
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
        elif word == "{":
            stack.append(len(joints) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            offsets[-1] = [float(next(words, "")) for _ in range(3)]
        elif word == "CHANNELS":
            channels[-1] = tuple(_channel(next(words, "")) for _ in range(int(next(words, ""))))
        elif word != "HIERARCHY":
            raise ValueError(f"unexpected {word!r} in HIERARCHY")
    if not joints or stack:
        raise ValueError("HIERARCHY is not closed")
    return tuple(joints), tuple(parents), np.array(offsets), tuple(channels)


def _channel(name):
    if name[:1] not in tuple("XYZ") or name[1:] not in _KINDS:
        raise ValueError(f"unknown channel {name!r}")
    return name
