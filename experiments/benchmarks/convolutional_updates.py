"""Updates of a convolutional RBM beside its products alone, and beside a dense RBM.

The *floor* makes the same five products with the filters and nothing else:

    v W,   h Wᵀ,   v′ W,   and what vᵀ h and v′ᵀ h′ say of the filters.

CD-1 needs exactly these, with blocks of pooled units and without. The dense RBM has as many units,
and a weight for every pair of them. Its memory grows with the square of the pixels, so that only
small images have one.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from dbn_jax import convolutional, linear, rbm
from experiments.benchmarks import programs, rbm_updates, timing
from experiments.benchmarks.other_libraries import Peer
from experiments.benchmarks.programs import Case, Learning, Program

# Of a dense RBM's weights; learning has several arrays as large.
_MAX_DENSE_BYTES = 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Size:
    """A convolutional RBM and its mini-batch; `image_shape` is rows, columns, channels."""

    image_shape: tuple[int, int, int]
    num_maps: int
    filter_size: int
    block: int
    batch_size: int

    def __str__(self) -> str:
        shape = "×".join(map(str, self.image_shape))
        return f"{shape}, {self.num_maps} maps of {self.filter_size}×{self.filter_size}"

    @property
    def num_pixels(self) -> int:
        """Of the images of a batch, whatever their channels."""
        return self.batch_size * math.prod(self.image_shape[:2])

    def init(self, *, pooled: bool = True) -> rbm.RBM:
        """The RBM from which the programs start."""
        return convolutional.init_params(
            jax.random.key(0),
            self.image_shape,
            self.num_maps,
            self.filter_size,
            block=self.block if pooled else 1,
        )

    def dense(self) -> Case:
        """A dense RBM with as many units."""
        return Case(*jax.eval_shape(self.init).weights.shape, self.batch_size)

    def batches(self) -> np.ndarray:
        """Binary images, flat: (N, B, V)."""
        return programs.make_batches(Case(math.prod(self.image_shape), 1, self.batch_size))


# Blocks of 2×2 need filters of an odd size here. Batches have about as many pixels, but the last.
SIZES = {
    "28×28": Size((28, 28, 1), 24, 11, 2, batch_size=100),
    "64×64": Size((64, 64, 1), 24, 11, 2, batch_size=20),
    "128×128": Size((128, 128, 1), 24, 11, 2, batch_size=5),
    "256×256": Size((256, 256, 1), 24, 11, 2, batch_size=1),
    "512×512": Size((512, 512, 1), 24, 11, 2, batch_size=1),
    "16 maps": Size((28, 28, 1), 16, 11, 2, batch_size=20),
    "64 maps": Size((28, 28, 1), 64, 11, 2, batch_size=20),
    "256 maps": Size((28, 28, 1), 256, 11, 2, batch_size=20),
    "second layer": Size((9, 9, 40), 40, 6, 2, batch_size=100),
}


def floor(size: Size, num_updates: int) -> Program:
    """The products of an update, alone."""

    def products(weights, v):
        hidden = linear.product(v, weights)
        visible = linear.product_transposed(hidden, weights)
        last_hidden = linear.product(visible, weights)
        return [
            linear.outer_total(v, hidden, weights),
            linear.outer_total(visible, last_hidden, weights),
        ]

    return programs.floor(
        products,
        size.init().weights,
        (jax.device_put(size.batches()),),
        num_updates,
        name="floor",
        what="its products alone",
    )


def learning(size: Size, *, pooled: bool = True) -> Learning:
    """CD-1 with momentum."""
    optimizer = programs.make_optimizer()
    step = functools.partial(rbm.cd_step, optimizer=optimizer)
    state = rbm.init_state(size.init(pooled=pooled), optimizer)
    return Learning(step, state, (jax.device_put(size.batches()),))


def update(size: Size, num_updates: int, *, pooled: bool = True) -> Program:
    """`rbm.cd_step`, no metrics kept."""
    return programs.updates(
        learning(size, pooled=pooled),
        num_updates,
        name="update" if pooled else "unpooled",
        what=f"cd_step in a scan, {'blocks pooled' if pooled else 'nothing pooled'}",
        learner="CD-1",
    )


def dense(size: Size, num_updates: int) -> Program:
    """The same of a dense RBM."""
    batches = jax.device_put(size.batches())
    what = "cd_step in a scan, dense weights"
    return rbm_updates.update(size.dense(), batches, num_updates, name="dense", what=what)


def compare(
    sizes: Mapping[str, Size], peers: Sequence[Peer], rounds: int, seconds: float
) -> dict[str, dict[str, dict]]:
    """Times the floor, the updates, a dense RBM and the peers of each size in turn; see `timing`.

    Returns:
      For each size and program what `Program` says of it, `milliseconds` of one update in each
      round, and of our own updates `memory`, as `programs.memory` has it.
    """
    return {name: _compare(size, peers, rounds, seconds) for name, size in sizes.items()}


def _compare(size, peers, rounds, seconds):
    count = timing.updates_per_call(functools.partial(floor, size), seconds)
    compared = [floor(size, count), update(size, count), update(size, count, pooled=False)]
    memory = {"update": programs.memory(learning(size))}
    case = size.dense()
    if 4 * case.num_visible * case.num_hidden <= _MAX_DENSE_BYTES:
        make = functools.partial(dense, size)
        compared.append(make(timing.updates_per_call(make, seconds)))
        memory["dense"] = programs.memory(rbm_updates.learning(case, size.batches()))
    for peer in peers:
        make = functools.partial(peer.program, size, size.batches())
        compared.append(make(timing.updates_per_call(make, seconds)))
    times = timing.time_in_turn(compared, rounds)
    return {
        p.name: {**p.facts(), "memory": memory.get(p.name), "milliseconds": times[p.name]}
        for p in compared
    }
