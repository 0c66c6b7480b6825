"""Many updates as one compiled program, and the search for an update that made NaN."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax import random
from dbn_jax.training.batches import Window
from dbn_jax.typing import Array, Bool

# Columns of the metrics file that the loop fills itself.
_COLUMNS = ("step", "epoch", "seconds", "images_per_second")


class Stepper:
    """Runs updates on the device.

    Attributes:
      state: the training state.
      sums: sums of the metrics over the epoch's updates so far, float32, on the host.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        transform: Callable[..., Any] | None,
        state: Any,
        window: Window,
        *,
        keys: tuple[Any, Any],
        batch_size: int,
    ):
        """Checks that everything fits.

        Args:
          step: see `dbn_jax.training.train`.
          transform: likewise.
          state: the first state, from `prepare_state`.
          window: any window of the data.
          keys: of the updates and of the transforms; update t folds in t.
          batch_size: examples per update.

        Raises:
          ValueError: the state is not finite, `step` changes its structure, shapes or dtypes, or
            its metrics are no flat dict of scalars.
        """
        self.state = state
        bad = _non_finite_leaves(self.state)
        if bad:
            raise ValueError(f"the first state holds NaN or infinity in {bad}")
        shardings = tuple(
            x.sharding if isinstance(x.sharding, NamedSharding) else None
            for x in jax.tree.leaves(self.state)
        )
        step, self._held = _part_arrays(step)
        self._program = _Program(_hashable(step), _hashable(transform), batch_size, shardings)
        self._keys = keys
        self._zeros = jax.device_get(
            _zero_sums(self._program, keys, self._held, self.state, window.data)
        )
        self._chunk_start: Any = None
        self.reset_sums()

    def reset_sums(self) -> None:
        """Begins a new epoch."""
        self.sums = self._zeros

    def restore(self, state: Any, sums: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.state = state
        self.sums = sums

    def compile(self, window: Window) -> None:
        """Compiles by making no update, so that nothing is timed with the first updates."""
        jax.block_until_ready(self._run(self.state, self.sums, window, 0, 0))

    def advance(self, window: Window, first: int, count: int) -> bool:
        """Makes updates first, …, first + count − 1, and waits for them.

        Args:
          window: with the first batch at its position.
          first: number of updates made before.
          count: number of updates to make.

        Returns:
          Whether the new state is finite. If not, `first_bad_update` says where that began.
        """
        self._chunk_start = self.state
        self.state, sums, finite = self._run(self.state, self.sums, window, first, count)
        # One small transfer a chunk. It also waits, so that the host can measure the time.
        finite, self.sums = jax.device_get((finite, sums))
        return bool(finite)

    def first_bad_update(self, window: Window, first: int, count: int) -> tuple[int, Any, str]:
        """Replays the last chunk, whose end is not finite, by bisection.

        Args:
          window: as it was given to `advance`.
          first: likewise.
          count: likewise.

        Returns:
          The number of updates after which the state is first not finite, the state before that
          update, and the names of the leaves that it spoiled.
        """
        good, low, high = self._chunk_start, 0, count  # finite after low updates, not after high
        while high - low > 1:
            middle = (low + high) // 2
            at = window._replace(position=window.position + low)
            state, _, finite = self._run(good, self._zeros, at, first + low, middle - low)
            if finite:
                good, low = state, middle
            else:
                high = middle
        at = window._replace(position=window.position + low)
        state, _, _ = self._run(good, self._zeros, at, first + low, 1)
        return first + high, good, _non_finite_leaves(state)

    def _run(self, state, sums, window, first, count):
        numbers = np.asarray([window.position, first, count], np.int32)
        return _advance(
            self._program, self._keys, self._held, state, sums, window.data, window.order, numbers
        )


def prepare_state(state: Any) -> Any:
    """Makes the leaves what the program returns, so that its second call compiles nothing.

    They become arrays without weak types; if some lie on a mesh of devices, the others are copied
    to all its devices.
    """
    state = jax.tree.map(_without_weak_type, state)
    everywhere = replicated(state)
    if everywhere is None:
        return state
    return jax.tree.map(
        lambda x: x if isinstance(x.sharding, NamedSharding) else jax.device_put(x, everywhere),
        state,
    )


def replicated(tree: Any) -> NamedSharding | None:
    """Returns the sharding that copies to all devices of a tree's mesh; None without a mesh."""
    for x in jax.tree.leaves(tree):
        if isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding):
            return NamedSharding(x.sharding.mesh, PartitionSpec())
    return None


@dataclasses.dataclass(frozen=True)
class _Program:
    """What decides on the compiled program, besides shapes; equal values share one."""

    step: Callable[..., Any]
    transform: Callable[..., Any] | None
    batch_size: int
    shardings: tuple[Any, ...]

    def update(self, keys, held, state, number, data, rows):
        # The barrier keeps the gathering apart from the update, whose compiled arithmetic then
        # cannot depend on where the rows come from.
        batch = jax.lax.optimization_barrier(
            jax.tree.map(lambda x: x.at[rows].get(mode="promise_in_bounds"), data)
        )
        update_key, transform_key = keys
        if self.transform is not None:
            batch = self.transform(random.fold_in(transform_key, number), batch)
        return self.step(random.fold_in(update_key, number), state, batch, **held)

    def constrain(self, state):
        """Keeps the leaves on the meshes that they came on, or each call would move them."""
        leaves, structure = jax.tree.flatten(state)
        leaves = [
            x if s is None else jax.lax.with_sharding_constraint(x, s)
            for x, s in zip(leaves, self.shardings, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves)


@functools.partial(jax.jit, static_argnums=0)
def _advance(program, keys, held, state, sums, data, order, numbers):
    position, first, count = numbers
    size = program.batch_size

    def update(i, carry):
        state, sums = carry
        rows = jax.lax.dynamic_slice(order, ((position + i) * size,), (size,))
        state, metrics = program.update(keys, held, state, first + i, data, rows)
        sums = {name: sums[name] + jnp.asarray(metrics[name], jnp.float32) for name in sums}
        return program.constrain(state), sums

    state, sums = jax.lax.fori_loop(0, count, update, (program.constrain(state), sums))
    return state, sums, _all_finite(state)


@functools.partial(jax.jit, static_argnums=0)
def _zero_sums(program, keys, held, state, data):
    """Zeros for the metrics' sums; looks at what `step` returns, once for each program."""
    rows = jnp.zeros(program.batch_size, jnp.int32)
    update = functools.partial(program.update, keys)
    result = jax.eval_shape(update, held, state, jnp.int32(0), data, rows)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError("step must return a pair, (state, metrics)")
    new, metrics = result
    _check_same_kind(state, new)
    if not isinstance(metrics, dict):
        raise ValueError(f"step must return metrics as a dict of scalars, not {type(metrics)}")
    for name, value in metrics.items():
        if name in _COLUMNS or name.startswith("eval_"):
            raise ValueError(
                f"the metric {name} has the name of one of the loop's own columns "
                f"({', '.join(_COLUMNS)}, eval_…); give it another"
            )
        if getattr(value, "shape", None) != ():
            raise ValueError(
                f"the metric {name} is {value}; metrics are scalars. Average over the members of "
                "an ensemble, or give each a name"
            )
    return {name: jnp.zeros((), jnp.float32) for name in metrics}


def _check_same_kind(old: Any, new: Any) -> None:
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise ValueError(
            "step must return a state with the structure that it got.\n"
            f"  given    {jax.tree.structure(old)}\n  returned {jax.tree.structure(new)}"
        )
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True
    ):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ValueError(
                f"step must keep shapes and dtypes; it got the state's leaf "
                f"{jax.tree_util.keystr(path) or 'itself'} as {x.dtype}{list(x.shape)} and "
                f"returned {y.dtype}{list(y.shape)}"
            )


def _all_finite(tree: Any) -> Bool[Array, ""]:
    checks = [
        jnp.all(jnp.isfinite(x))
        for x in jax.tree.leaves(tree)
        if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(checks)) if checks else jnp.asarray(True)


def _non_finite_leaves(tree: Any) -> str:
    """Names the leaves of a state that hold NaN or infinity; empty if there is none."""
    named = [
        (jax.tree_util.keystr(path) or "the state", x)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    counts = _count_non_finite([x for _, x in named])
    return ", ".join(
        f"{name} ({bad} of {x.size} values)"
        for (name, x), bad in zip(named, counts, strict=True)
        if bad
    )


@jax.jit
def _count_non_finite(arrays: list[jax.Array]) -> list[jax.Array]:
    return [jnp.sum(~jnp.isfinite(x)) for x in arrays]


def _without_weak_type(x: Any) -> Any:
    """Makes a leaf an array whose type is its own, as the program's results are."""
    x = jnp.asarray(x)
    weak = getattr(x, "weak_type", False)
    return jax.lax.convert_element_type(x, x.dtype) if weak else x


def _part_arrays(step: Any) -> tuple[Any, dict[str, jax.Array]]:
    """Parts a partial into what it is without its arrays, and these, by keyword.

    They become arguments of the compiled program: as constants in it they would be copied into its
    code, and other arrays would compile it anew.
    """
    if not isinstance(step, functools.partial):
        return step, {}
    held = {name: x for name, x in step.keywords.items() if isinstance(x, jax.Array)}
    rest = {name: x for name, x in step.keywords.items() if name not in held}
    return functools.partial(step.func, *step.args, **rest), held


@dataclasses.dataclass(frozen=True)
class _Partial:
    """A `functools.partial` that equals others of equal parts."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    def __call__(self, *args, **keywords):
        return self.function(*self.args, *args, **{**dict(self.keywords), **keywords})


def _hashable(function: Any) -> Any:
    """Makes equal partials compare equal, so that they share one compiled program."""
    if not isinstance(function, functools.partial):
        return function
    keywords = tuple(sorted(function.keywords.items(), key=lambda item: item[0]))
    partial = _Partial(_hashable(function.func), function.args, keywords)
    try:
        hash(partial)
    except TypeError:  # it holds arrays, say: then it equals itself alone
        return function
    return partial
