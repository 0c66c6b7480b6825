"""The up-down update beside its matrix products alone, for `benchmark`.

An update of a net with the top RBM T, and recognition weights R and generative weights G of each
layer below, needs for n Gibbs iterations at the top

    up     v R           for each lower layer
    top    x T;  n times  h Tᵀ, x T;  then  xᵀ h  of both phases
    down   h Gᵀ          for each lower layer
    wake   h Gᵀ, hᵀ v    for each lower layer
    sleep  v R, vᵀ h     for each lower layer

which are 6 (layers − 1) + 3 + 2n products. The *floor* makes these and nothing else.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dbn_jax import associative_memory, dbn, rbm, updown
from experiments import timing
from experiments.benchmark_programs import Case, Program, make_batches


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

    def init(self) -> dbn.DBN:
        """The net from which the programs start."""
        pairs = list(itertools.pairwise(self.sizes))
        lower = [rbm.init_params(jax.random.key(i), *pair) for i, pair in enumerate(pairs[:-1])]
        top = associative_memory.init_params(jax.random.key(99), *pairs[-1], self.num_labels)
        return dbn.stack((*lower, top))

    def data(self) -> tuple[jax.Array, jax.Array]:
        """Batches of binary images and of labels: (N, B, V) and (N, B, L)."""
        v = make_batches(Case(self.sizes[0], 1, self.batch_size))
        labels = np.arange(v.shape[0] * v.shape[1]).reshape(v.shape[:2]) % self.num_labels
        return jax.device_put(v), jax.nn.one_hot(labels, self.num_labels, dtype=jnp.float32)


def num_products(num_layers: int, num_gibbs_steps: int) -> int:
    """Matrix products of one update of a net with so many layers of weights."""
    return 6 * (num_layers - 1) + 3 + 2 * num_gibbs_steps


def floor(net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """The matrix products of an update, alone; each feeds another or is kept in the carry."""
    params = net.init()
    lower = tuple(layer.weights for layer in params.recognition)

    def products(recognition, generative, top, v, labels):
        kept = []
        wake = [v]
        for r in recognition:
            wake.append(wake[-1] @ r)
        x = jnp.concatenate([wake[-1], labels], axis=-1)
        h = x @ top

        def iterate(_, carry):
            x, h = carry
            x = h @ top.T
            return x, x @ top

        fantasy, last = lax.fori_loop(0, num_gibbs_steps, iterate, (x, h))
        kept += [x.T @ h, fantasy.T @ last]
        dream = [fantasy[:, : wake[-1].shape[-1]]]
        for g in reversed(generative):
            dream.insert(0, dream[0] @ g.T)
        for i, (r, g) in enumerate(zip(recognition, generative, strict=True)):
            # Differences, as learning takes them: what is predicted feeds a statistic.
            kept.append((wake[i] - wake[i + 1] @ g.T).T @ wake[i + 1])
            kept.append(dream[i].T @ (dream[i + 1] - dream[i] @ r))
        return kept

    def run(recognition, generative, top, v, labels):
        def body(carry, index):
            # The weights go through the carry, so that no product is moved out of the loop.
            weights, _ = carry
            batch = lax.dynamic_index_in_dim(v, index, keepdims=False)
            batch_labels = lax.dynamic_index_in_dim(labels, index, keepdims=False)
            return (weights, products(*weights, batch, batch_labels)), None

        weights = (recognition, generative, top)
        shapes = jax.eval_shape(products, *weights, v[0], labels[0])
        empty = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
        return lax.scan(body, (weights, empty), jnp.arange(num_updates) % len(v))[0]

    return _compile(
        run,
        # Generative weights of their own: equal arrays would be one product for XLA.
        (lower, tuple(w + 0.01 for w in lower), params.top.weights, *net.data()),
        name=f"floor_{num_gibbs_steps}",
        what=f"the {num_products(len(net.sizes) - 1, num_gibbs_steps)} matrix products alone",
        learner="",
        num_updates=num_updates,
    )


def update(net: Net, num_gibbs_steps: int, num_updates: int) -> Program:
    """`updown.step` in a scan, with gradient descent and momentum, no metrics kept."""
    optimizer = optax.sgd(0.05, momentum=0.5)
    state = updown.init_state(net.init(), optimizer)

    def run(key, state, v, labels):
        def body(state, now):
            t, index = now
            state, _ = updown.step(
                jax.random.fold_in(key, t),
                state,
                lax.dynamic_index_in_dim(v, index, keepdims=False),
                lax.dynamic_index_in_dim(labels, index, keepdims=False),
                optimizer=optimizer,
                num_gibbs_steps=num_gibbs_steps,
            )
            return state, None

        t = jnp.arange(num_updates)
        return lax.scan(body, state, (t, t % len(v)))[0]

    return _compile(
        run,
        (jax.random.key(2), state, *net.data()),
        name=f"updown_{num_gibbs_steps}",
        what="updown.step in a scan",
        learner=f"up-down, {num_gibbs_steps}",
        num_updates=num_updates,
    )


def _compile(function, arguments, *, name, what, learner, num_updates):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return Program(
        name=name,
        what=what,
        learner=learner,
        num_updates=num_updates,
        call=functools.partial(compiled, *arguments),
        compile_seconds=time.perf_counter() - start,
        memory_bytes=getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    )


def compare(net: Net, gibbs_steps: Sequence[int], rounds: int, seconds: float) -> list[dict]:
    """Times updates and floors in turn.

    Returns:
      For each number of Gibbs steps: `gibbs_steps`, `products`, `milliseconds` of an update in each
      round, `floor_milliseconds`, `over_floor` in the same round, and `compile_seconds`.
    """
    programs = []
    for steps in gibbs_steps:
        count = timing.num_updates(lambda n, steps=steps: floor(net, steps, n).call, seconds)
        programs += [floor(net, steps, count), update(net, steps, count)]
    times = timing.time_in_turn(programs, rounds)
    results = []
    for steps, program in zip(gibbs_steps, programs[1::2], strict=True):
        ours, alone = np.array(times[program.name]), np.array(times[f"floor_{steps}"])
        results.append(
            {
                "gibbs_steps": steps,
                "products": num_products(len(net.sizes) - 1, steps),
                "milliseconds": ours.tolist(),
                "floor_milliseconds": alone.tolist(),
                "over_floor": (ours / alone).tolist(),
                "compile_seconds": program.compile_seconds,
            }
        )
    return results
