"""Bouncing balls, simulated: Sutskever, Hinton and Taylor's film of 2008, made anew at each call.

Balls of radius 1.2 and equal mass move in a box of 10 × 10. All balls of a sequence share one
length of velocity, 0.5 over the root of all squares, so that few balls move faster than many. A
frame takes two steps of half its time; in each, all balls move, those that cross a wall are turned
inwards, and those that overlap exchange their velocities along the line between their centres, pair
by pair, as in an elastic collision. Positions are not corrected. A pixel's intensity is the sum
over balls of exp(−(d²/r²)⁴), at most 1, with d its centre's distance from a ball's: soft edges.

Every draw is made from a key, and the sequences of a batch move together, so that `simulate` can be
part of a compiled update and no epoch repeats a sequence.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbn_jax import random
from dbn_jax.compilation import jit
from dbn_jax.data.sequence_set import SequenceSet
from dbn_jax.typing import Array, Float, Key

_BOX = 10.0
_RADIUS = 1.2
_SPEED = 0.5  # root of the summed squares of all velocities of a sequence
_STEP = 0.5  # of a frame's time
_MOST_BALLS = 6  # that random first positions seldom enough overlap
FRAMES_PER_SECOND = 30.0  # of films; nothing in the simulation depends on it
NUM_VALIDATION = 100
NUM_TEST = 200
# The root of the keys of validation and test sequences: keys of training come from small seeds.
_HELD_OUT = 0xBA115


@jit(static_argnames=("num_sequences", "num_frames", "size", "num_balls"))
def simulate(
    key: Key[Array, ""],
    num_sequences: int,
    num_frames: int,
    *,
    size: int = 30,
    num_balls: int = 3,
) -> Float[Array, "sequences frames pixels"]:
    """Draws sequences of size × size pixels in [0, 1]; rows are y, from 0 on."""
    positions, velocities = draw_first(key, num_sequences, num_balls)
    return render(move(positions, velocities, num_frames), size)


@jit(static_argnames=("num_sequences", "num_balls"))
def draw_first(
    key: Key[Array, ""], num_sequences: int, num_balls: int
) -> tuple[Float[Array, "sequences balls 2"], Float[Array, "sequences balls 2"]]:
    """Draws first positions, inside the box and apart from each other, and velocities."""
    if not 1 <= num_balls <= _MOST_BALLS:
        raise ValueError(
            f"num_balls={num_balls}: choose from 1 to {_MOST_BALLS}, more hardly fit into the box"
        )
    shape = (num_sequences, num_balls, 2)
    velocity_key, position_key = random.split(key)
    velocities = jax.random.normal(velocity_key, shape, jnp.float32)
    lengths = jnp.sqrt(jnp.sum(velocities**2, (1, 2), keepdims=True))

    def redraw(carry):
        """Draws those again that do not fit: what is left is uniform over all that do."""
        round_number, positions, fits = carry
        draws = random.uniform(random.fold_in(position_key, round_number), shape)
        positions = jnp.where(fits[:, None, None], positions, 2.0 + (_BOX - 2.0) * draws)
        return round_number + 1, positions, _fit(positions)

    start = (jnp.uint32(0), jnp.zeros(shape, jnp.float32), jnp.zeros(num_sequences, bool))
    _, positions, _ = lax.while_loop(lambda carry: ~jnp.all(carry[2]), redraw, start)
    return positions, _SPEED * velocities / lengths


@jit(static_argnames="num_frames")
def move(
    positions: Float[Array, "sequences balls 2"],
    velocities: Float[Array, "sequences balls 2"],
    num_frames: int,
) -> Float[Array, "sequences frames balls 2"]:
    """The centres of the balls in each frame; the first are those given."""

    def frame(state, _):
        return _step(*_step(*state)), state[0]

    _, centres = lax.scan(frame, (positions, velocities), length=num_frames)
    return jnp.moveaxis(centres, 0, 1)


@jit(static_argnames="size")
def render(
    centres: Float[Array, "sequences frames balls 2"], size: int
) -> Float[Array, "sequences frames pixels"]:
    """Pictures of size × size pixels, flat."""
    grid = (jnp.arange(size, dtype=centres.dtype) + 0.5) * (_BOX / size)
    x, y = grid[None, None, None, :], grid[None, None, :, None]
    # A loop, which XLA makes one pass of: no array of pixels for each ball.
    light = 0.0
    for ball in range(centres.shape[2]):
        centre = centres[:, :, ball, :, None, None]
        squared = (x - centre[:, :, 0]) ** 2 + (y - centre[:, :, 1]) ** 2
        light = light + jnp.exp(-((squared / _RADIUS**2) ** 4))
    return jnp.minimum(light, 1.0).reshape(*centres.shape[:2], size * size)


def read(
    *, size: int = 30, num_balls: int = 3, num_frames: int = 100, seed: int = 0
) -> SequenceSet:
    """The validation and test sequences of a seed; those of training are simulated as needed.

    Args:
      size: rows and columns of a frame.
      num_balls: in each sequence.
      num_frames: of each sequence.
      seed: chooses the sequences; no training update draws the same ones.
    """
    for option, value in (("size", size), ("num_frames", num_frames)):
        if value < 1:
            raise ValueError(f"{option}={value}: choose at least 1")
    root = jax.random.fold_in(jax.random.key(_HELD_OUT, impl="threefry2x32"), seed)
    keys = random.split(root)
    drawn = [
        np.asarray(simulate(key, count, num_frames, size=size, num_balls=num_balls))
        for key, count in zip(keys, (NUM_VALIDATION, NUM_TEST), strict=True)
    ]
    return SequenceSet(
        name="balls",
        train=(),
        validation=tuple(drawn[0]),
        test=tuple(drawn[1]),
        kind="grey",
        frames_per_second=FRAMES_PER_SECOND,
        columns=tuple(f"row {row} column {column}" for row, column in np.ndindex(size, size)),
        image_shape=(size, size),
    )


def _step(positions, velocities):
    """Half a frame: motion, walls, collisions."""
    positions = positions + _STEP * velocities
    velocities = jnp.where(positions - _RADIUS < 0, jnp.abs(velocities), velocities)
    velocities = jnp.where(positions + _RADIUS > _BOX, -jnp.abs(velocities), velocities)
    for i, j in _pairs(positions.shape[1]):
        apart = positions[:, i] - positions[:, j]
        distance = jnp.sqrt(jnp.sum(apart**2, 1, keepdims=True))
        normal = apart / distance
        # Equal masses swap the parts of their velocities along the normal.
        swap = jnp.sum(normal * (velocities[:, j] - velocities[:, i]), 1, keepdims=True) * normal
        swap = jnp.where(distance < 2 * _RADIUS, swap, 0)
        velocities = velocities.at[:, i].add(swap).at[:, j].add(-swap)
    return positions, velocities


def _fit(positions):
    """Which sequences have all balls inside the box and none overlapping."""
    inside = (positions >= _RADIUS) & (positions <= _BOX - _RADIUS)
    fits = jnp.all(inside, (1, 2))
    for i, j in _pairs(positions.shape[1]):
        squared = jnp.sum((positions[:, i] - positions[:, j]) ** 2, 1)
        fits &= squared >= (2 * _RADIUS) ** 2
    return fits


def _pairs(num_balls):
    return [(i, j) for i in range(num_balls) for j in range(i)]
