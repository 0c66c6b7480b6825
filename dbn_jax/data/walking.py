"""The body of the walks in ``motion.mat``: what their 108 numbers are, and where its joints go.

Six numbers belong to each of 18 joints: how it is turned from its parent, an axis times an angle,
and where it is there, in millimetres, with x ahead, y to the left and z upwards. The root's six are
seen from the body: the angles of its forward and of its left axis from straight down, the change of
its heading and its two steps to the next frame, and its height. Order and meaning are those of
Taylor's programs (Taylor, Hinton and Roweis 2006: buildskel_mit.m, preprocess1.m); the names of the
joints are read off their places. Knees and toes turn about one axis.
"""

import numpy as np

from dbn_jax.data import skeletons
from dbn_jax.typing import Float

_ROOT = ("forward tilt", "left tilt", "turn", "step forward", "step right", "height")
# Of each joint: its parent, and about which axes it turns.
_JOINTS = {
    "pelvis": ("pelvis", ""),
    "left hip": ("pelvis", "xyz"),
    "left knee": ("left hip", "y"),
    "left ankle": ("left knee", "xyz"),
    "left toes": ("left ankle", "y"),
    "right hip": ("pelvis", "xyz"),
    "right knee": ("right hip", "y"),
    "right ankle": ("right knee", "xyz"),
    "right toes": ("right ankle", "y"),
    "waist": ("pelvis", "xyz"),
    "left collar": ("waist", "xyz"),
    "left shoulder": ("left collar", "xyz"),
    "left elbow": ("left shoulder", "xyz"),
    "left wrist": ("left elbow", "xyz"),
    "right collar": ("waist", "xyz"),
    "right shoulder": ("right collar", "xyz"),
    "right elbow": ("right shoulder", "xyz"),
    "right wrist": ("right elbow", "xyz"),
}


def kinematics(channels: Float[np.ndarray, "T 108"]) -> Float[np.ndarray, "T 18 3"]:
    """The joints of a walk that begins at the middle of the room, looking along z.

    Here x is to the left, y upwards.
    """
    from scipy.spatial.transform import Rotation

    numbers = channels.reshape(len(channels), len(_JOINTS), 6)
    turns, offsets = numbers[:, :, :3], numbers[:, :, 3:]
    rotations = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(*turns.shape, 3)
    forward, left, turn, ahead, right, height = numbers[:, 0].T
    heading = np.concatenate([[0.0], np.cumsum(turn[:-1])])
    steps = np.exp(1j * heading) * (ahead - 1j * right)  # on the ground, x + iy
    place = np.concatenate([[0.0], np.cumsum(steps[:-1])])
    root = np.stack([np.real(place), np.imag(place), height], 1)
    rotations[:, 0] = _root_rotation(heading, forward, left)
    return skeletons.chain(BODY.parents, root, offsets, rotations)[:, :, [1, 2, 0]]


BODY = skeletons.Body(
    joints=tuple(_JOINTS),
    parents=tuple(list(_JOINTS).index(parent) for parent, _ in _JOINTS.values()),
    kinematics=kinematics,
)
_BELOW_ROOT = list(_JOINTS)[1:]
COLUMNS = (
    *_ROOT,
    *(
        f"{joint}{kind} {axis}"
        for joint in _BELOW_ROOT
        for kind in ("", " place")
        for axis in "xyz"
    ),
)
# Those of the 108 that change.
KEPT = np.array(
    [COLUMNS.index(name) for name in _ROOT]
    + [COLUMNS.index(f"{joint} {axis}") for joint in _BELOW_ROOT for axis in _JOINTS[joint][1]]
)


def _root_rotation(heading, forward, left):
    """The root's rotation, by its heading and the angles of its axes from straight down.

    Seen from the heading, the forward axis is (sin φ, 0, −cos φ). The left axis is as far from
    straight down as its angle tells, at right angles to that, and to the left.
    """
    zero = np.zeros_like(heading)
    u = np.stack([np.sin(forward), zero, -np.cos(forward)], 1)
    up = -np.cos(left)
    along = up * np.cos(forward) / np.sin(forward)
    # Frames that a model made up may hold angles that no two axes have.
    v = np.stack([along, np.sqrt(np.maximum(1 - along**2 - up**2, 0)), up], 1)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return skeletons.euler("z", np.degrees(heading)[:, None]) @ np.stack([u, v, np.cross(u, v)], 2)
