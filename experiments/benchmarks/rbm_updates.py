"""The JAX programs that `benchmark` times: updates, and the matrix products that they need.

Each program makes many updates in one compiled `lax.scan` over batches that lie on the device, as
the training loop runs them. The *floor* makes the same five matrix products and nothing else:

    v W,   h Wᵀ,   v′ W,   vᵀ h,   v′ᵀ h′

CD-1 needs exactly these, and so does PCD-1 with as many chains as the batch has examples. That the
compiled programs hold these five products, and no more, is read off their HLO.
"""

import collections
import dataclasses
import functools
import itertools
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from dbn_jax import random, rbm

# Batches kept on the device: enough not to stay in the CPU's caches, little beside its memory.
_MAX_BATCHES = 50
_MAX_BATCH_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Case:
    """A size of RBM and batch, written 784x500x100 (visible, hidden, batch)."""

    num_visible: int
    num_hidden: int
    batch_size: int

    def __post_init__(self):
        if min(dataclasses.astuple(self)) < 1:
            raise ValueError(f"the case {self} has a size below 1")

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Reads ``784x500x100``.

        Raises:
          ValueError: the text is no such case.
        """
        if not re.fullmatch(r"\d+x\d+x\d+", text):
            raise ValueError(
                f"{text!r} is not a case: write VISIBLExHIDDENxBATCH, for example 784x500x100"
            )
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return f"{self.num_visible}x{self.num_hidden}x{self.batch_size}"

    def flops(self, num_gibbs_steps: int = 1) -> int:
        """Floating-point operations of the products of one update."""
        one_product = 2 * self.num_visible * self.num_hidden * self.batch_size
        return (3 + 2 * num_gibbs_steps) * one_product


@dataclasses.dataclass(frozen=True)
class Program:
    """Something that makes updates, ready to be timed.

    Attributes:
      name: short, for the report.
      what: what it computes, in words.
      learner: CD-n or PCD-n, or "" for the floor.
      num_updates: how many updates a call makes.
      call: makes them and returns something that `jax.block_until_ready` waits for, or None if
        they are done.
      compile_seconds: tracing, lowering and compiling; None where nothing is compiled ahead.
      products: shape of the result -> number of matrix products in one update, as compiled.
      memory_bytes: temporary buffers of the compiled program, None where it does not say.
    """

    name: str
    what: str
    learner: str
    num_updates: int
    call: Callable[[], Any]
    compile_seconds: float | None = None
    products: dict[str, int] | None = None
    memory_bytes: int | None = None


def make_batches(case: Case, seed: int = 0) -> np.ndarray:
    """Binary images with a fifth of the pixels on: (batches, batch, visible) float32."""
    size = 4 * case.batch_size * case.num_visible
    count = max(1, min(_MAX_BATCHES, _MAX_BATCH_BYTES // size))
    shape = (count, case.batch_size, case.num_visible)
    return (np.random.default_rng(seed).random(shape, np.float32) < 0.2).astype(np.float32)


def init_params(case: Case) -> rbm.RBM:
    """The RBM from which all programs start."""
    return rbm.init_params(jax.random.key(0), case.num_visible, case.num_hidden)


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


def compile_program(
    function: Callable,
    arguments: tuple,
    case: Case | None = None,
    *,
    name: str,
    what: str,
    learner: str = "",
    num_updates: int,
) -> Program:
    """Compiles ``function(*arguments)`` and reads off what was compiled.

    The products are counted where a case says how large they are.
    """
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return Program(
        name=name,
        what=what,
        learner=learner,
        num_updates=num_updates,
        call=functools.partial(compiled, *arguments),
        compile_seconds=seconds,
        products=count_products(compiled.as_text(), dataclasses.astuple(case)) if case else None,
        memory_bytes=None if memory is None else memory.temp_size_in_bytes,
    )


def floor(case: Case, batches: jax.Array, num_updates: int) -> Program:
    """The five matrix products of an update, alone.

    Each product feeds the next or is kept in the carry, so that none is dead code.
    """
    weights = init_params(case).weights

    def run(weights, batches):
        def body(carry, index):
            weights = carry[0]
            v = lax.dynamic_index_in_dim(batches, index, keepdims=False)
            hidden = v @ weights
            visible = hidden @ weights.T
            last_hidden = visible @ weights
            return (weights, last_hidden, v.T @ hidden, visible.T @ last_hidden), None

        last = (weights, jnp.zeros((case.batch_size, case.num_hidden)))
        last = (*last, jnp.zeros_like(weights), jnp.zeros_like(weights))
        return lax.scan(body, last, jnp.arange(num_updates) % len(batches))[0]

    return compile_program(
        run,
        (weights, batches),
        case,
        name="floor",
        what="the five matrix products alone",
        num_updates=num_updates,
    )


def make_optimizer(decay: bool = False) -> optax.GradientTransformation:
    """Gradient descent with momentum, and with weight decay on the weights where asked."""
    sgd = optax.sgd(0.05, momentum=0.5)
    if not decay:
        return sgd
    return optax.chain(optax.add_decayed_weights(2e-4, mask=rbm.weight_mask), sgd)


def update(
    case: Case,
    batches: jax.Array,
    num_updates: int,
    *,
    name: str = "cd",
    what: str = "cd_step in a scan",
    persistent: bool = False,
    num_gibbs_steps: int = 1,
    sample_visible: bool = True,
    decay: bool = False,
    keep_metrics: bool = False,
    ensemble: int = 0,
) -> Program:
    """CD-n or PCD-n updates with optax's SGD and momentum.

    Args:
      case: the sizes.
      batches: (batches, batch, visible).
      num_updates: how many in a call.
      name: of the program.
      what: it does.
      persistent: `rbm.pcd_step` with as many chains as the batch has examples, not `rbm.cd_step`.
      num_gibbs_steps: n.
      sample_visible: False takes the means of the reconstruction.
      decay: add weight decay on the weights.
      keep_metrics: return every update's metrics; else they are dead code and are not computed.
      ensemble: number of models that learn side by side under `vmap`; 0 is one without `vmap`.
    """
    optimizer = make_optimizer(decay)
    params = init_params(case)
    if persistent:
        chains = rbm.init_chains(jax.random.key(1), params, case.batch_size)
        state = rbm.init_state(params, optimizer, chains=chains)
    else:
        state = rbm.init_state(params, optimizer)
    if ensemble:
        state = jax.tree.map(lambda x: jnp.broadcast_to(x, (ensemble, *x.shape)), state)

    def step(key, state, batch):
        if persistent:
            return rbm.pcd_step(
                key, state, batch, optimizer=optimizer, num_gibbs_steps=num_gibbs_steps
            )
        return rbm.cd_step(
            key,
            state,
            batch,
            optimizer=optimizer,
            num_gibbs_steps=num_gibbs_steps,
            sample_visible=sample_visible,
        )

    def run(key, state, batches):
        def body(state, now):
            t, index = now
            batch = lax.dynamic_index_in_dim(batches, index, keepdims=False)
            step_key = random.fold_in(key, t)
            if ensemble:
                keys = random.split(step_key, ensemble)
                state, metrics = jax.vmap(step, in_axes=(0, 0, None))(keys, state, batch)
            else:
                state, metrics = step(step_key, state, batch)
            return state, metrics if keep_metrics else None

        t = jnp.arange(num_updates)
        return lax.scan(body, state, (t, t % len(batches)))

    return compile_program(
        run,
        (jax.random.key(2), state, batches),
        case,
        name=name,
        what=what,
        learner=f"{'PCD' if persistent else 'CD'}-{num_gibbs_steps}",
        num_updates=num_updates,
    )


def dispatched(case: Case, batches: jax.Array, num_updates: int) -> Program:
    """`rbm.cd_step` called from a Python loop, one dispatch an update."""
    optimizer = make_optimizer()
    start = rbm.init_state(init_params(case), optimizer)
    on_device = list(batches)

    def run():
        state, key = start, jax.random.key(2)
        for t in range(num_updates):
            key, step_key = jax.random.split(key)
            batch = on_device[t % len(on_device)]
            state, _ = rbm.cd_step(step_key, state, batch, optimizer=optimizer)
        return state

    return Program(
        name="cd_dispatched",
        what="cd_step called from Python, metrics computed",
        learner="CD-1",
        num_updates=num_updates,
        call=run,
    )


def all_programs(case: Case, batches: jax.Array, num_updates: int) -> list[Program]:
    """The floor first, and every variant of the update."""

    def variant(name, what, **settings):
        return update(case, batches, num_updates, name=name, what=what, **settings)

    return [
        floor(case, batches, num_updates),
        variant("cd", "cd_step in a scan"),
        variant("cd_metrics", "the same, every metric kept", keep_metrics=True),
        variant("cd_decay", "cd_step with weight decay", decay=True),
        variant("cd_means", "cd_step, visible means, not samples", sample_visible=False),
        variant("pcd", "pcd_step in a scan", persistent=True),
        variant("pcd_metrics", "the same, every metric kept", persistent=True, keep_metrics=True),
        dispatched(case, batches, num_updates),
    ]
