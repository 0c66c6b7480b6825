"""Stick figures: where the joints of a skeleton are, by the numbers of a frame."""

import dataclasses
from collections.abc import Callable

import numpy as np

from dbn_jax.typing import Float


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """The joints of a file, each after its parent, and where they are by the file's numbers."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]  # the root's is itself
    kinematics: Callable[[np.ndarray], np.ndarray]  # (T, numbers) to (T, joints, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class Skeleton:
    """The joints of a body, and how they follow from standardised frames.

    Frames are brought back to the numbers of the file first: those kept are multiplied by `scale`
    and moved by `mean`, and those left out have their value of `rest`.
    """

    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]  # the two joints of each
    kinematics: Callable[[np.ndarray], np.ndarray]  # numbers of the file to positions
    rest: np.ndarray  # a value for each number of the file
    kept: np.ndarray  # which of them a frame holds
    mean: np.ndarray
    scale: np.ndarray

    def positions(self, frames: Float[np.ndarray, "T units"]) -> Float[np.ndarray, "T joints 3"]:
        """Where each joint is: x to the left of a body that looks along z, y upwards."""
        channels = np.tile(self.rest, (len(frames), 1))
        channels[:, self.kept] = np.asarray(frames, np.float64) * self.scale + self.mean
        return self.kinematics(channels).astype(np.float32)


def chain(
    parents: tuple[int, ...],
    root: Float[np.ndarray, "T 3"],
    offsets: Float[np.ndarray, "#T joints 3"],
    rotations: Float[np.ndarray, "T joints 3 3"],
) -> Float[np.ndarray, "T joints 3"]:
    """Forward kinematics: the joints' positions in the world.

    Each joint but the first, which is the root, comes after its parent. Its offset from there and
    its rotation are given in the parent's coordinates; the root's offset is not used.
    """
    frames = len(root)
    positions, turned = [root], [rotations[:, 0]]
    for joint in range(1, len(parents)):
        frame, offset = turned[parents[joint]], np.broadcast_to(offsets[:, joint], (frames, 3))
        positions.append(positions[parents[joint]] + np.einsum("tij,tj->ti", frame, offset))
        turned.append(frame @ rotations[:, joint])
    return np.stack(positions, 1)


def euler(order: str, angles: Float[np.ndarray, "T axes"]) -> Float[np.ndarray, "T 3 3"]:
    """Rotation matrices of angles in degrees.

    The axes of "xyz" stand still, as in Acclaim files, and x is turned about first; those of "XYZ"
    move along, as in BVH files, which turn about Z first.
    """
    from scipy.spatial.transform import Rotation

    if not order:
        return np.tile(np.eye(3), (len(angles), 1, 1))
    return Rotation.from_euler(order, angles, degrees=True).as_matrix()
