"""The programs that are timed: many updates in one compiled scan, as the training loop runs them.

Their batches lie on the device. The *floor* of an update makes the matrix products that it needs,
and nothing else. The compiled HLO tells whether an update makes these products and no more.
"""

import collections
import dataclasses
import functools
import itertools
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dbn_jax import random, rbm

# Batches kept on the device: enough not to stay in the CPU's caches, little beside its memory.
_MAX_BATCHES = 50
_MAX_BATCH_BYTES = 2**26


class Case(NamedTuple):
    """A size of RBM and batch, written 784x500x100 (visible, hidden, batch)."""

    num_visible: int
    num_hidden: int
    batch_size: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Reads ``784x500x100``; raises a ValueError that says how cases are written."""
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2}", text):
            raise ValueError(
                f"{text!r} is not a case: write VISIBLExHIDDENxBATCH, for example 784x500x100"
            )
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return "x".join(map(str, self))

    def flops(self, num_gibbs_steps: int = 1) -> int:
        """Floating-point operations of the products of one update by CD."""
        one_product = 2 * self.num_visible * self.num_hidden * self.batch_size
        return (3 + 2 * num_gibbs_steps) * one_product


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Something that makes updates, ready to be timed.

    Attributes:
      name: short, for the table.
      what: it computes, in words.
      learner: CD-n or PCD-n, or "" for a floor.
      num_updates: how many updates a call makes.
      call: makes them and returns something that `jax.block_until_ready` waits for, or None if
        they are done.
      compile_seconds: tracing, lowering and compiling; None where nothing is compiled ahead.
      products: shape of the result -> number of matrix products in one update, as compiled.
      memory_bytes: temporary buffers of the compiled program, None where it does not say.
    """

    name: str
    what: str = ""
    learner: str = ""
    num_updates: int
    call: Callable[[], Any]
    compile_seconds: float | None = None
    products: dict[str, int] | None = None
    memory_bytes: int | None = None

    def facts(self) -> dict[str, Any]:
        """All but its name and what it calls."""
        return {name: value for name, value in vars(self).items() if name not in ("name", "call")}


def make_batches(case: Case) -> np.ndarray:
    """Binary images with a fifth of the pixels on: (batches, batch, visible) float32."""
    size = 4 * case.batch_size * case.num_visible
    count = max(1, min(_MAX_BATCHES, _MAX_BATCH_BYTES // size))
    shape = (count, case.batch_size, case.num_visible)
    return (np.random.default_rng(0).random(shape, np.float32) < 0.2).astype(np.float32)


def make_optimizer(decay: bool = False) -> optax.GradientTransformation:
    """Gradient descent with momentum, and with weight decay on the weights where asked."""
    sgd = optax.sgd(0.05, momentum=0.5)
    if not decay:
        return sgd
    return optax.chain(optax.add_decayed_weights(2e-4, mask=rbm.weight_mask), sgd)


@dataclasses.dataclass(frozen=True)
class Learning:
    """What updates are made of.

    Attributes:
      step: ``step(key, state, *batch)`` returns the next state and metrics.
      state: before the first update.
      batches: arrays of them, taken in turn.
    """

    step: Callable[..., tuple[Any, Any]]
    state: Any
    batches: tuple[jax.Array, ...]

    def loop(self, num_updates: int, *, keep_metrics: bool = False) -> Callable[..., Any]:
        """The function ``(key, state, batches)`` that makes updates in a scan.

        Metrics that are not kept are dead code, and are not computed.
        """

        def run(key, state, batches):
            def update(t, state, *batch):
                state, metrics = self.step(random.fold_in(key, t), state, *batch)
                return state, metrics if keep_metrics else None

            return _scan(update, state, batches, num_updates)

        return run

    def arguments(self) -> tuple[Any, ...]:
        """Those of `loop`'s function."""
        return jax.random.key(2), self.state, self.batches


def memory(learning: Learning) -> dict[str, int] | None:
    """Bytes that one update takes, compiled alone and not run; None if it does not say.

    `arguments` are the state and a batch, `temporary` what it computes on the way.
    """
    key, state, batches = learning.arguments()
    batch = (jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in batches)

    def update(key, state, *batch):
        return learning.step(key, state, *batch)[0]

    found = jax.jit(update).lower(key, state, *batch).compile().memory_analysis()
    if found is None:
        return None
    return {
        "arguments": found.argument_size_in_bytes,
        "temporary": found.temp_size_in_bytes,
    }


def updates(
    learning: Learning, num_updates: int, *, keep_metrics: bool = False, **description: Any
) -> Program:
    """Updates of a state; a call returns the last one, and the metrics.

    The description are fields of `Program`; and `sizes`, to have products counted among them.
    """
    loop = learning.loop(num_updates, keep_metrics=keep_metrics)
    return _compiled(loop, *learning.arguments(), num_updates=num_updates, **description)


def floor(
    products: Callable[..., Any],
    weights: Any,
    batches: tuple[jax.Array, ...],
    num_updates: int,
    **description: Any,
) -> Program:
    """The matrix products of updates, alone; a call returns the weights and the last products.

    ``products(weights, *batch)`` makes those of one update. They feed one another or are returned,
    so that none is dead code. Batches are those of `Learning`, the description that of `updates`.
    """

    def run(weights, batches):
        def update(t, carry, *batch):
            del t
            # The weights go through the carry, so that no product is moved out of the loop.
            weights, _ = carry
            return (weights, products(weights, *batch)), None

        results = jax.eval_shape(products, weights, *(x[0] for x in batches))
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)
        return _scan(update, (weights, empty), batches, num_updates)[0]

    return _compiled(run, weights, batches, num_updates=num_updates, **description)


def _scan(update, carry, batches, num_updates):
    def body(carry, now):
        t, index = now
        batch = [lax.dynamic_index_in_dim(x, index, keepdims=False) for x in batches]
        return update(t, carry, *batch)

    t = jnp.arange(num_updates)
    return lax.scan(body, carry, (t, t % len(batches[0])))


def _compiled(function, *arguments, sizes=None, **description):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return Program(
        **description,
        call=functools.partial(compiled, *arguments),
        compile_seconds=seconds,
        products=None if sizes is None else count_products(compiled.as_text(), sizes),
        memory_bytes=None if memory is None else memory.temp_size_in_bytes,
    )


def count_products(hlo: str, sizes: Iterable[int]) -> dict[str, int]:
    """Counts the matrix products of an update in the text of a compiled program.

    A product counts if its last two axes are two of the sizes; sums over a batch that are written
    as products with a vector do not. CPUs and GPUs call them dot, or a library's gemm; TPUs
    convolution. What a loop makes counts once, however often it is made.

    Args:
      hlo: from ``compiled.as_text()``.
      sizes: of the layers and of the batch; a size that two of them have is given twice.

    Returns:
      Shape of the result, smaller size first -> number of such products.
    """
    shapes = {tuple(sorted(pair)) for pair in itertools.combinations(sizes, 2)}
    pattern = r"= \(?[a-z]\w*\[([\d,]*)\]\S*(?: [^=]*?)? (dot|convolution|custom-call)\("
    found = collections.Counter()
    for line in hlo.splitlines():
        match = re.search(pattern, line)
        if not match or (match[2] == "custom-call" and not re.search("gemm|matmul", line)):
            continue
        shape = tuple(sorted(map(int, match[1].split(",")[-2:]))) if match[1] else ()
        if shape in shapes:
            found["x".join(map(str, shape))] += 1
    return dict(sorted(found.items()))
