"""Updates of a whole net beside their matrix products alone.

A `Method` has the update, and the matrix products that it needs. A test on the compiled HLO checks
that the update makes no others.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dbn_jax import dbn, label_units, numerics, rbm
from experiments.benchmarks import programs, timing
from experiments.benchmarks.programs import Case, Learning, Program


@dataclasses.dataclass(frozen=True)
class Net:
    """Sizes of the digit model, from the pixels up, and of its mini-batch."""

    sizes: tuple[int, ...] = (784, 500, 500, 2000)
    num_labels: int = 10
    batch_size: int = 100

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        return f"{sizes} with {self.num_labels} labels, batch {self.batch_size}"

    def init(self) -> dbn.DBN:
        """The net from which the programs start."""
        pairs = list(itertools.pairwise(self.sizes))
        lower = [rbm.init_params(jax.random.key(i), *pair) for i, pair in enumerate(pairs[:-1])]
        top = label_units.init_params(jax.random.key(99), *pairs[-1], self.num_labels)
        return dbn.stack((*lower, top))

    def data(self) -> tuple[jax.Array, jax.Array]:
        """Batches of binary images and of labels: (N, B, V) and (N, B, L)."""
        v = programs.make_batches(Case(self.sizes[0], 1, self.batch_size))
        labels = np.arange(v.shape[0] * v.shape[1]).reshape(v.shape[:2]) % self.num_labels
        return jax.device_put(v), numerics.one_hot(labels, self.num_labels, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Method:
    """A way in which a whole net learns, with n Gibbs steps at its top.

    Attributes:
      name: of its programs.
      title: of its table.
      products: ``products(recognition, generative, top, v, labels, n)`` makes those that an update
        needs, of the weights of an untied net; returns a list of arrays that depend on every one.
      init_state: ``init_state(net, optimizer)``, as `updown.init_state`.
      step: ``step(n)`` is the library's own, with ``(key, state, v, labels, optimizer=…)`` to go.
    """

    name: str
    title: str
    products: Callable[..., list[jax.Array]]
    init_state: Callable[[dbn.Net, optax.GradientTransformation], rbm.State]
    step: Callable[[int], Callable[..., tuple[rbm.State, rbm.Metrics]]]


def contrastive_products(
    top: jax.Array, x: jax.Array, num_gibbs_steps: int
) -> tuple[jax.Array, list[jax.Array]]:
    """Those of CD-n at the top: x T; n times h Tᵀ and x T; xᵀ h of both phases.

    Returns the last x, and the two statistics.
    """
    h = x @ top

    def iterate(_, carry):
        x = carry[1] @ top.T
        return x, x @ top

    fantasy, last = lax.fori_loop(0, num_gibbs_steps, iterate, (x, h))
    return fantasy, [x.T @ h, fantasy.T @ last]


def floor(method: Method, net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """The matrix products of an update, alone."""
    params = net.init()
    weights = (
        [layer.weights for layer in params.recognition],
        [layer.weights for layer in params.generative],
        params.top.weights,
    )
    return programs.floor(
        lambda weights, v, labels: method.products(*weights, v, labels, num_gibbs_steps),
        weights,
        net.data(),
        num_updates,
        name=f"{method.name}_floor_{num_gibbs_steps}",
    )


def learning(method: Method, net: Net, num_gibbs_steps: int) -> Learning:
    """A net's, with gradient descent and momentum."""
    optimizer = programs.make_optimizer()
    step = functools.partial(method.step(num_gibbs_steps), optimizer=optimizer)
    return Learning(step, method.init_state(net.init(), optimizer), net.data())


def update(method: Method, net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """Updates of a net, no metrics kept."""
    name = f"{method.name}_{num_gibbs_steps}"
    return programs.updates(learning(method, net, num_gibbs_steps), num_updates, name=name)


def compare(
    method: Method, net: Net, gibbs_steps: Sequence[int], rounds: int, seconds: float
) -> list[dict]:
    """Times updates and floors in turn; see `timing`.

    Returns:
      For each number of Gibbs steps: `gibbs_steps`, `compile_seconds`, and in each round
      `milliseconds` of an update and `floor_milliseconds`.
    """
    pairs = []
    for steps in gibbs_steps:
        count = timing.updates_per_call(functools.partial(floor, method, net, steps), seconds)
        pairs.append((floor(method, net, steps, count), update(method, net, steps, count)))
    times = timing.time_in_turn(list(itertools.chain(*pairs)), rounds)
    return [
        {
            "gibbs_steps": steps,
            "milliseconds": times[program.name],
            "floor_milliseconds": times[alone.name],
            "compile_seconds": program.compile_seconds,
        }
        for steps, (alone, program) in zip(gibbs_steps, pairs, strict=True)
    ]
