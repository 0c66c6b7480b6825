"""Updates of an RNN-RBM beside their matrix products alone.

An update by B sequences of T frames, F = B T frames in all, needs for V visible, H hidden and U
recurrent units, a GRU's, whose three gates make 3U columns:

    forward      v I           F rows; the gates' share of what a frame shows
                 u R           B rows, T times
    biases       u A, u C      F rows; to V visible and H hidden biases
    CD-n         v W;  n times  h Wᵀ, v W;  then  vᵀ h  of both phases;  3 + 2n, F rows
    slopes       uᵀ a, uᵀ c    F rows; of A and C, a and c the slopes by the biases
                 a Aᵀ, c Cᵀ    F rows; by the memory
    backward     g Rᵀ          B rows, T times
                 uᵀ g, vᵀ g    F rows; of R and I

which are 14 + 2n products. The *floor* makes each at once on as many rows as there are, whatever
the update does: only u R and g Rᵀ have to wait for the frame before.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbn_jax import rbm, temporal
from dbn_jax.temporal import cells
from experiments.benchmarks import net_updates, programs, timing
from experiments.benchmarks.other_libraries import Peer
from experiments.benchmarks.programs import Case, Learning, Program


@dataclasses.dataclass(frozen=True)
class Size:
    """An RNN-RBM with a GRU, its Gibbs steps, and its mini-batch of sequences of equal length."""

    num_visible: int
    num_hidden: int
    num_recurrent: int
    num_gibbs_steps: int
    num_sequences: int
    num_frames: int

    def __str__(self) -> str:
        return (
            f"{self.num_visible} visible, {self.num_hidden} hidden, {self.num_recurrent} recurrent "
            f"units, CD-{self.num_gibbs_steps}, {self.num_sequences} sequences of "
            f"{self.num_frames} frames"
        )

    def init(self) -> temporal.RNNRBM:
        """The model from which the programs start."""
        cell, carry = cells.make(jax.random.key(0), "gru", self.num_visible, self.num_recurrent)
        return temporal.init_rnn_rbm(
            jax.random.key(1), self.num_visible, self.num_hidden, cell, carry
        )

    def batches(self) -> np.ndarray:
        """Binary frames: (N, sequences, frames, visible)."""
        num_frames = self.num_sequences * self.num_frames
        v = programs.make_batches(Case(self.num_visible, 1, num_frames))
        return v.reshape(len(v), self.num_sequences, self.num_frames, self.num_visible)


SIZES = {
    "music": Size(88, 150, 100, num_gibbs_steps=15, num_sequences=16, num_frames=64),
    "balls": Size(900, 400, 400, num_gibbs_steps=1, num_sequences=10, num_frames=100),
}


def floor(size: Size, num_updates: int) -> Program:
    """The matrix products of an update, alone."""
    model = size.init()
    weights = {
        "W": model.rbm.weights,
        "A": model.to_visible,
        "C": model.to_hidden,
        "I": model.cell.dense_i.kernel[...],
        "R": model.cell.dense_h.kernel[...],
    }
    return programs.floor(
        functools.partial(_products, num_gibbs_steps=size.num_gibbs_steps),
        weights,
        (jax.device_put(size.batches()),),
        num_updates,
        name="floor",
        what="its matrix products alone",
    )


def _products(weights, v, *, num_gibbs_steps):
    """A list of arrays that depend on every product. Frames come first: (T, B, …)."""
    v = jnp.swapaxes(v, 0, 1)
    num_recurrent = len(weights["R"])

    def forward(u, x):
        return (x + u @ weights["R"])[:, :num_recurrent], u

    def backward(later, slope):
        g = jnp.tile(slope + later, 3)
        return g @ weights["R"].T, g

    def rows(x):
        return x.reshape(-1, x.shape[-1])

    start = jnp.zeros((v.shape[1], num_recurrent), v.dtype)
    x = rows(v) @ weights["I"]
    u = lax.scan(forward, start, x.reshape(*v.shape[:2], -1))[1]
    a, c = rows(u) @ weights["A"], rows(u) @ weights["C"]
    slopes = a @ weights["A"].T + c @ weights["C"].T
    g = lax.scan(backward, start, slopes.reshape(u.shape), reverse=True)[1]
    _, statistics = net_updates.contrastive_products(weights["W"], rows(v), num_gibbs_steps)
    return [
        *statistics,
        *(rows(u).T @ x for x in (a, c, rows(g))),
        rows(v).T @ rows(g),
    ]


def update(size: Size, num_updates: int) -> Program:
    """`temporal.step` with gradient descent and momentum, no metrics kept."""
    optimizer = programs.make_optimizer()
    v = size.batches()
    loss = functools.partial(temporal.cd_loss, num_gibbs_steps=size.num_gibbs_steps)

    def step(key, state, v, lengths):
        batch = temporal.Sequences(v, lengths, jnp.zeros_like(lengths))
        return temporal.step(key, state, batch, optimizer=optimizer, loss=loss)

    lengths = np.full(v.shape[:2], size.num_frames, np.int32)
    state = rbm.init_state(size.init(), optimizer)
    return programs.updates(
        Learning(step, state, jax.device_put((v, lengths))),
        num_updates,
        name="update",
        what="temporal.step in a scan",
        learner="CD",
    )


def compare(
    sizes: Mapping[str, Size], peers: Sequence[Peer], rounds: int, seconds: float
) -> dict[str, dict[str, dict]]:
    """Times the floor, the update and the peers of each size in turn; see `timing`.

    Returns:
      For each size and program what `Program` says of it, and `milliseconds` of one update in each
      round.
    """
    return {name: _compare(size, peers, rounds, seconds) for name, size in sizes.items()}


def _compare(size, peers, rounds, seconds):
    count = timing.updates_per_call(functools.partial(floor, size), seconds)
    compared = [floor(size, count), update(size, count)]
    for peer in peers:
        make = functools.partial(peer.program, size, size.batches())
        compared.append(make(timing.updates_per_call(make, seconds)))
    times = timing.time_in_turn(compared, rounds)
    return {p.name: {**p.facts(), "milliseconds": times[p.name]} for p in compared}
