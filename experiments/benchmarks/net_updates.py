"""Updates of a whole net beside their matrix products alone, for `benchmark`.

A `Method` says how the net learns, and which matrix products one update needs. The *floor* makes
these and nothing else. That an update, as compiled, makes no other is tested on its HLO.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dbn_jax import dbn, label_units, random, rbm
from experiments.benchmarks import rbm_updates, timing
from experiments.benchmarks.rbm_updates import Case, Program


@dataclasses.dataclass(frozen=True)
class Net:
    """Sizes of the digit model and of its mini-batch.

    Attributes:
      sizes: number of units of each layer, from the pixels up.
      num_labels: beside the features of the top RBM.
      batch_size: examples per update.
    """

    sizes: tuple[int, ...] = (784, 500, 500, 2000)
    num_labels: int = 10
    batch_size: int = 100

    def __post_init__(self):
        if len(self.sizes) < 2 or min(*self.sizes, self.num_labels, self.batch_size) < 1:
            raise ValueError(f"{self} has fewer than two layers, or a size below 1")

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        return f"{sizes} with {self.num_labels} labels, batch {self.batch_size}"

    @property
    def num_lower(self) -> int:
        """Layers of weights below the top RBM."""
        return len(self.sizes) - 2

    def init(self) -> dbn.DBN:
        """The net from which the programs start."""
        pairs = list(itertools.pairwise(self.sizes))
        lower = [rbm.init_params(jax.random.key(i), *pair) for i, pair in enumerate(pairs[:-1])]
        top = label_units.init_params(jax.random.key(99), *pairs[-1], self.num_labels)
        return dbn.stack((*lower, top))

    def data(self) -> tuple[jax.Array, jax.Array]:
        """Batches of binary images and of labels: (N, B, V) and (N, B, L)."""
        v = rbm_updates.make_batches(Case(self.sizes[0], 1, self.batch_size))
        labels = np.arange(v.shape[0] * v.shape[1]).reshape(v.shape[:2]) % self.num_labels
        return jax.device_put(v), jax.nn.one_hot(labels, self.num_labels, dtype=jnp.float32)


class Weights(NamedTuple):
    """The matrices of an untied net.

    Attributes:
      recognition: R of each layer below the top RBM, (below, above), from the pixels up.
      generative: G of each.
      top: T, (features and labels, hidden).
    """

    recognition: tuple[Any, ...]
    generative: tuple[Any, ...]
    top: Any


@dataclasses.dataclass(frozen=True)
class Method:
    """A way in which a whole net learns, with n Gibbs steps at its top.

    Attributes:
      name: of its programs.
      title: of its table.
      num_products: ``num_products(num_lower, n)``, the matrix products that an update needs, where
        so many layers are below the top RBM.
      products: ``products(weights, v, labels, n)`` makes these; returns a list of arrays that
        depend on every one, so that none is dead code.
      init_state: ``init_state(net, optimizer)``, as `updown.init_state`.
      step: ``step(key, state, v, labels, n, optimizer)`` makes an update; returns the new state
        and metrics.
    """

    name: str
    title: str
    num_products: Callable[[int, int], int]
    products: Callable[[Weights, jax.Array, jax.Array, int], list[jax.Array]]
    init_state: Callable[[dbn.Net, optax.GradientTransformation], rbm.State]
    step: Callable[..., tuple[rbm.State, rbm.Metrics]]


def contrast_products(
    top: jax.Array, x: jax.Array, num_gibbs_steps: int
) -> tuple[jax.Array, list[jax.Array]]:
    """Those of contrastive divergence at the top: x T; n times h Tᵀ and x T; xᵀ h of both phases.

    Returns:
      The last x, and the two statistics.
    """
    h = x @ top

    def iterate(_, carry):
        x = carry[1] @ top.T
        return x, x @ top

    fantasy, last = lax.fori_loop(0, num_gibbs_steps, iterate, (x, h))
    return fantasy, [x.T @ h, fantasy.T @ last]


def floor(method: Method, net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """The matrix products of an update, alone; each feeds another or is kept in the carry."""
    params = dbn.untie(net.init())
    weights = Weights(
        tuple(layer.weights for layer in params.recognition),
        tuple(layer.weights for layer in params.generative),
        params.top.weights,
    )

    def products(weights, v, labels):
        return method.products(weights, v, labels, num_gibbs_steps)

    def run(weights, v, labels):
        def body(carry, index):
            # The weights go through the carry, so that no product is moved out of the loop.
            weights, _ = carry
            batch = lax.dynamic_index_in_dim(v, index, keepdims=False)
            batch_labels = lax.dynamic_index_in_dim(labels, index, keepdims=False)
            return (weights, products(weights, batch, batch_labels)), None

        shapes = jax.eval_shape(products, weights, v[0], labels[0])
        empty = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
        return lax.scan(body, (weights, empty), jnp.arange(num_updates) % len(v))[0]

    return rbm_updates.compile_program(
        run,
        (weights, *net.data()),
        name=f"{method.name}_floor_{num_gibbs_steps}",
        what=f"the {method.num_products(net.num_lower, num_gibbs_steps)} matrix products alone",
        num_updates=num_updates,
    )


def update(method: Method, net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """Updates in a scan, with gradient descent and momentum, no metrics kept."""
    optimizer = rbm_updates.make_optimizer()
    state = method.init_state(net.init(), optimizer)

    def run(key, state, v, labels):
        def body(state, now):
            t, index = now
            batch = lax.dynamic_index_in_dim(v, index, keepdims=False)
            batch_labels = lax.dynamic_index_in_dim(labels, index, keepdims=False)
            step_key = random.fold_in(key, t)
            state, _ = method.step(step_key, state, batch, batch_labels, num_gibbs_steps, optimizer)
            return state, None

        t = jnp.arange(num_updates)
        return lax.scan(body, state, (t, t % len(v)))[0]

    return rbm_updates.compile_program(
        run,
        (jax.random.key(2), state, *net.data()),
        name=f"{method.name}_{num_gibbs_steps}",
        what="updates in a scan",
        learner=f"{method.name}, {num_gibbs_steps}",
        num_updates=num_updates,
    )


def compare(
    method: Method, net: Net, gibbs_steps: Sequence[int], rounds: int, seconds: float
) -> list[dict]:
    """Times updates and floors in turn.

    Returns:
      For each number of Gibbs steps: `gibbs_steps`, `products`, `milliseconds` of an update in each
      round, `floor_milliseconds`, `over_floor` in the same round, and `compile_seconds`.
    """
    pairs = []
    for steps in gibbs_steps:
        count = timing.num_updates(
            lambda n, steps=steps: floor(method, net, steps, n).call, seconds
        )
        pairs.append((floor(method, net, steps, count), update(method, net, steps, count)))
    times = timing.time_in_turn(list(itertools.chain(*pairs)), rounds)
    results = []
    for steps, (alone, program) in zip(gibbs_steps, pairs, strict=True):
        floor_times, own_times = np.array(times[alone.name]), np.array(times[program.name])
        results.append(
            {
                "gibbs_steps": steps,
                "products": method.num_products(net.num_lower, steps),
                "milliseconds": own_times.tolist(),
                "floor_milliseconds": floor_times.tolist(),
                "over_floor": (own_times / floor_times).tolist(),
                "compile_seconds": program.compile_seconds,
            }
        )
    return results
