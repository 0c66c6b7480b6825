"""Stick figures: people who walk, seen from the side.

Arguments that mean the same in both pictures:
  people: name to the positions of joints, (frames, joints, 3), in right-handed coordinates. All
    have one scale; the ground is at the lowest joint of a person in all frames.
  bones: pairs of joints.
  left, right: the joints of the left and of the right limbs, to be coloured; a bone is on the side
    of its second joint. Each person is seen from the right, even in a turn. Without these joints
    the eye is beside the line along which the person moves most.
  up: the axis that points up.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from dbn_jax.figures.checks import check_count, check_equal_lengths, finite_values
from dbn_jax.figures.grid import PAGE
from dbn_jax.figures.pages import (
    FAINT,
    INK,
    PALETTE,
    PIXELS_PER_INCH,
    lines,
    sheet,
    style,
    thinned,
)
from dbn_jax.figures.sequences import side_by_side
from dbn_jax.typing import AnyArray, Int, Num, Real, UInt8

_Bones = Sequence[Sequence[int]] | Int[AnyArray, "bones 2"]

_SPACE = 8  # pixels between a pose and what stands beside it
_BETWEEN = 24  # pixels between rows
_BONE = 3  # pixels across
_ON_PAPER, _IN_FILM = 140, 220  # pixels of the tallest pose
_TURN = 31  # frames before and after that tell where a person faces, over which steps even out
_MARKS = 3  # on the ground to each side, which is more than are seen
_LEFT, _RIGHT, _GROUND = PALETTE[0], PALETTE[1], "#a0a0a0"


def stick_figures(
    people: Mapping[str, Num[AnyArray, "..."]],
    bones: _Bones,
    *,
    every: int,
    title: str,
    subtitle: str | None = None,
    left: Sequence[int] = (),
    right: Sequence[int] = (),
    up: int = 1,
) -> Figure:
    """On paper: a row for each of the people, in it one of `every` so many frames."""
    joints = _joints(people)
    skeleton = _skeleton(joints, bones, left, right)
    walks = {name: _walk(positions, left, right, up) for name, positions in joints.items()}
    num_frames = len(next(iter(walks.values())).poses)
    shown = slice(None, None, check_count("every", every))
    numbers = [f"{number:,}" for number in range(1, num_frames + 1)[shown]]
    half, tall = _extent(walks)
    scale = min(_ON_PAPER / tall, (PAGE[0] / len(numbers) - _SPACE) / (2 * half))
    pitch = 2 * half * scale + _SPACE
    with sheet(title, subtitle, skeleton.legend) as page:
        ground = 0.0
        for row, (name, walk) in enumerate(walks.items()):
            ground = row * (tall * scale + _BETWEEN)
            page.lines(_flat(0, len(numbers) * pitch, ground + _BONE), [_GROUND], 1)
            for column, pose in enumerate(walk.poses[shown]):
                place = (column + 0.5) * pitch, ground
                page.lines(skeleton.drawn(pose, scale, place), skeleton.colours, _BONE)
            page.text(-_SPACE, ground - tall * scale / 2, name, "right", "center")
        page.text(-_SPACE, ground + _SPACE, "frame", "right", "top", color=FAINT)
        for column, text in thinned(numbers, pitch):
            page.text((column + 0.5) * pitch, ground + _SPACE, text, "center", "top")
    return page.figure


def stick_films(
    people: Mapping[str, Num[AnyArray, "..."]],
    bones: _Bones,
    *,
    title: str,
    subtitle: str | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    left: Sequence[int] = (),
    right: Sequence[int] = (),
    up: int = 1,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Side by side, as in `films`, whose notes these are.

    The camera goes along with each of the people, over ground with marks half a body apart.
    """
    joints = _joints(people)
    skeleton = _skeleton(joints, bones, left, right)
    walks = {name: _walk(positions, left, right, up) for name, positions in joints.items()}
    half, tall = _extent(walks)
    room = PAGE[0] / len(walks) - _BETWEEN
    scale = min(_IN_FILM / tall, room / (2 * half + tall / 2))
    size = math.ceil((2 * half + tall / 2) * scale), math.ceil(tall * scale) + 5 * _BONE
    panels = {name: _filmed(walk, skeleton, scale, tall / 2, size) for name, walk in walks.items()}
    return side_by_side(panels, notes or {}, title, subtitle, skeleton.legend)


class _Walk(NamedTuple):
    """Poses (frames, joints, 2) beside the middle of the body and above the ground; the way."""

    poses: np.ndarray
    way: np.ndarray


class _Skeleton(NamedTuple):
    """The bones, those farthest from the eye first, their colours, and what these mean."""

    bones: np.ndarray
    colours: list[str]
    legend: str | None

    def drawn(self, pose: np.ndarray, scale: Real, place: Sequence[Real]) -> np.ndarray:
        """The ends of the bones in pixels, (bones, 2, 2), of a body that stands at the place."""
        return place + scale * np.array([1, -1]) * pose[self.bones]


def _joints(people: Mapping[str, AnyArray]) -> dict[str, np.ndarray]:
    """The positions, (frames, joints, 3), in float64."""
    check_equal_lengths(people, "people", "frames")
    for name, positions in people.items():
        if positions.ndim != 3 or positions.shape[2] != 3:
            raise ValueError(
                f'positions of "{name}" of shape {positions.shape}: expected (frames, joints, 3)'
            )
    return {name: finite_values(x, f'positions of "{name}"') for name, x in people.items()}


def _skeleton(
    joints: Mapping[str, np.ndarray], bones: _Bones, left: Sequence[int], right: Sequence[int]
) -> _Skeleton:
    bones = np.asarray(bones)
    num_joints = min(positions.shape[1] for positions in joints.values())
    named = [*bones.ravel(), *left, *right]
    if bones.ndim != 2 or bones.shape[1] != 2 or not len(bones):
        raise ValueError(f"bones of shape {bones.shape}: expected pairs of joints, (bones, 2)")
    if min(named) < 0 or max(named) >= num_joints:
        raise ValueError(
            f"bones, left and right name joints {min(named)} to {max(named)}, but there are "
            f"0 to {num_joints - 1}"
        )
    side = np.isin(bones[:, 1], list(right)).astype(int) - np.isin(bones[:, 1], list(left))
    bones, side = bones[np.argsort(side, kind="stable")], np.sort(side)
    legend = "left limbs blue, right limbs orange" if side.any() else None
    return _Skeleton(bones, [(INK, _RIGHT, _LEFT)[s] for s in side], legend)


def _walk(positions: np.ndarray, left: Sequence[int], right: Sequence[int], up: int) -> _Walk:
    if up not in (0, 1, 2):
        raise ValueError(f"up={up}: expected 0, 1 or 2, the axis that points up")
    ground = positions[:, :, [(up + 1) % 3, (up + 2) % 3]]
    heights = positions[:, :, up] - positions[:, :, up].min()
    ahead = _ahead(ground, list(left), list(right))
    middle = ground.mean(axis=1)
    along = np.einsum("tjx,tx->tj", ground - middle[:, None], ahead)
    steps = np.diff(middle, axis=0, prepend=middle[:1])
    return _Walk(np.stack([along, heights], axis=2), (steps * ahead).sum(axis=1).cumsum())


def _ahead(ground: np.ndarray, left: list[int], right: list[int]) -> np.ndarray:
    """The direction to the right of the picture in each frame, of joints (frames, joints, 2)."""
    if left and right:
        across = ground[:, left].mean(axis=1) - ground[:, right].mean(axis=1)
        weights = np.hanning(2 * _TURN + 3)[1:-1]
        across = np.stack([np.convolve(np.pad(x, _TURN), weights, "valid") for x in across.T], 1)
        apart = np.linalg.norm(across, axis=1, keepdims=True)
        if not apart.all():
            raise ValueError("left and right joints lie over one another: leave left and right out")
        return across[:, ::-1] * (1, -1) / apart  # a right angle from what is to the left
    moves = (ground - ground.mean(axis=0)).reshape(-1, 2)
    ahead = np.linalg.eigh(moves.T @ moves)[1][:, -1]
    forwards = (ground[-1] - ground[0]).mean(axis=0) @ ahead >= 0
    return np.tile(ahead if forwards else -ahead, (len(ground), 1))


def _extent(walks: Mapping[str, _Walk]) -> tuple[Real, Real]:
    """Half the width and the height that has room for every pose."""
    poses = np.concatenate([walk.poses.reshape(-1, 2) for walk in walks.values()])
    half, tall = np.abs(poses).max(axis=0)
    if tall == 0:
        raise ValueError("all joints are at one height: is `up` the axis that points up?")
    return max(half, tall / 8), tall


def _flat(start: Real, end: Real, y: Real) -> np.ndarray:
    return np.array([[[start, y], [end, y]]])


def _filmed(
    walk: _Walk, skeleton: _Skeleton, scale: Real, apart: Real, size: tuple[int, int]
) -> list[np.ndarray]:
    """The pixels of each frame, uint8 (height, width, 3)."""
    width, height = size
    middle, ground = width / 2, height - 3 * _BONE
    spread = np.arange(-_MARKS, _MARKS + 1)
    colours = [_GROUND] * (1 + len(spread)) + skeleton.colours
    widths = [1] * (1 + len(spread)) + [_BONE] * len(skeleton.bones)
    frames = []
    with style():
        figure = Figure((width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), PIXELS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        down = Affine2D().scale(1, -1).translate(0, height)
        drawn = lines(np.zeros((0, 2, 2)), colours, widths, transform=down)
        figure.add_artist(drawn)
        for pose, way in zip(walk.poses, walk.way, strict=True):
            places = middle + scale * (apart * (np.round(way / apart) + spread) - way)
            marks = [[[x, ground + _BONE], [x, ground + 3 * _BONE]] for x in places]
            bones = skeleton.drawn(pose, scale, (middle, ground))
            drawn.set_segments([*_flat(0, width, ground + _BONE), *marks, *bones])
            canvas.draw()
            frames.append(np.array(canvas.buffer_rgba())[..., :3])
    return frames
