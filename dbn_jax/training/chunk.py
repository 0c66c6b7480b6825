"""Many updates as one compiled program, and the search for an update that made NaN."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.tree_util import Partial, keystr, tree_leaves_with_path

from dbn_jax import parallel, pytrees, random
from dbn_jax.training import batches
from dbn_jax.typing import Array, Key


class Stepper:
    """Runs updates of the training state; `sums` are those of the metrics over the epoch so far."""

    def __init__(
        self,
        step: Callable[..., Any],
        transform: Callable[..., Any] | None,
        state: Any,
        source: batches.Batches,
        *,
        keys: tuple[Key[Array, "..."], Key[Array, "..."]],
    ):
        """Checks that everything fits; see `dbn_jax.training.train`.

        The state is from `prepare_state`; the keys are of updates and of transforms, of an ensemble
        those of each member.
        """
        bad = _name_non_finite(state)
        if bad:
            raise ValueError(f"the first state holds NaN or infinity in {bad}")
        self._source = source
        self._program = _Program(
            _as_argument(step),
            _as_argument(transform or _unchanged),
            keys,
            source.data,
            source.batch_size,
            source.where,
            tuple(map(_mesh_sharding, jax.tree.leaves(state))),
        )
        sums = _zero_sums.eval_shape(self._program, source.order_shape, state)
        self._zeros = {name: np.zeros(x.shape, x.dtype) for name, x in sums.items()}
        self.restore(state, self._zeros)

    def restore(self, state: Any, sums: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.state = self._chunk_start = state
        self.sums = sums

    def reset_sums(self) -> None:
        """Begins a new epoch."""
        self.sums = self._zeros

    def compile(self, first: int) -> None:
        """Compiles by making no update, so that nothing is timed with the first updates."""
        jax.block_until_ready(self._run(self.state, self.sums, first, 0))

    def advance(self, first: int, count: int) -> bool:
        """Makes updates first, …, first + count − 1, and waits for them.

        No more than the source says that there are from `first` on.

        False if the new state is not finite: `first_bad_update` says where that began.
        """
        self._chunk_start = self.state
        self.state, sums, finite = self._run(self.state, self.sums, first, count)
        self._source.read_ahead()
        # One small transfer a chunk. It also waits, so that the host can measure the time.
        finite, self.sums = parallel.fetch((finite, sums))
        return bool(finite)

    def first_bad_update(self, first: int, count: int) -> tuple[int, Any, str]:
        """Replays the last chunk, whose end is not finite, by bisection.

        Returns the number of updates after which the state is first not finite, the state before
        that update, and the names of the leaves that it spoiled.
        """
        good, low, high = self._chunk_start, 0, count  # finite after low updates, not after high
        while high - low > 1:
            middle = (low + high) // 2
            state, _, finite = self._run(good, self._zeros, first + low, middle - low)
            if finite:
                good, low = state, middle
            else:
                high = middle
        state, _, _ = self._run(good, self._zeros, first + low, 1)
        return first + high, good, _name_non_finite(state)

    def _run(self, state, sums, first, count):
        return advance(*self.inputs(state, sums, first, count))

    def inputs(self, state: Any, sums: dict[str, Any], first: int, count: int) -> tuple[Any, ...]:
        """What `advance` takes for these updates."""
        data, order, position = self._source.at(first)
        program = dataclasses.replace(self._program, data=data)
        numbers = np.asarray([position, first, count], np.int32)
        return program, order, numbers, state, sums


def prepare_state(state: Any, mesh: Mesh | None, *, is_ensemble: bool) -> Any:
    """Makes the leaves what the program returns, so that its second call compiles nothing.

    They become arrays without weak types, and lie on the mesh, if there is one: those that do not
    are copied to all its devices, or the members of an ensemble shared among them.
    """

    def without_weak_type(x):
        x = jnp.asarray(x)
        weak = getattr(x, "weak_type", False)
        return jax.lax.convert_element_type(x, x.dtype) if weak else x

    state = jax.tree.map(without_weak_type, state)
    if mesh is None:
        return state
    if is_ensemble:
        return parallel.share_members(state, mesh)
    return jax.tree.map(lambda x: x if _mesh_sharding(x) else parallel.everywhere(x, mesh), state)


def _mesh_sharding(x: jax.Array) -> NamedSharding | None:
    return x.sharding if isinstance(x.sharding, NamedSharding) else None


@pytrees.dataclass
class _Program:
    """What all updates share; programs of one structure and shape are compiled once."""

    step: Partial
    transform: Partial
    keys: tuple[Any, Any]
    data: Any
    batch_size: int = pytrees.static(default=0)
    where: NamedSharding | None = pytrees.static(default=None)  # batches lie
    shardings: tuple[NamedSharding | None, ...] = pytrees.static(default=())

    def update(self, order, position, number, state):
        """One update; of an ensemble, that of each member, by its own keys and batch."""
        update = _Program._update
        if self.keys[0].ndim:
            update = jax.vmap(update, in_axes=(None, 0, 0, None, None, 0))
        return update(self, self.keys, order, position, number, state)

    def _update(self, keys, order, position, number, state):
        batch = batches.gather(self.data, order, position, self.batch_size, self.where)
        update_key, transform_key = (random.fold_in(key, number) for key in keys)
        batch = parallel.place(self.transform(transform_key, batch), self.where)
        return self.step(update_key, state, batch)

    def constrain(self, state):
        """Leaves lie at the end as they came, or each call would move them."""
        leaves, structure = jax.tree.flatten(state)
        leaves = [
            x if s is None else jax.lax.with_sharding_constraint(x, s)
            for x, s in zip(leaves, self.shardings, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves)


@jax.jit
def advance(program, order, numbers, state, sums):
    """The compiled program of a chunk: the next state and sums, and whether the state is finite."""
    position, first, count = numbers
    # Numbers, not arrays: on TPUs, taking a key apart would be a kernel of every update.
    words = [jnp.unstack(jax.random.key_data(key), axis=-1) for key in program.keys]

    def update(i, carry):
        state, sums = carry
        keys = map(_as_key, words, program.keys)
        now = dataclasses.replace(program, keys=tuple(keys))
        state, metrics = now.update(order, position + i, first + i, state)
        sums = {name: sums[name] + jnp.asarray(metrics[name], jnp.float32) for name in sums}
        return state, sums

    state, sums = jax.lax.fori_loop(0, count, update, (program.constrain(state), sums))
    state = program.constrain(state)
    finite = sum(bad for bad, _ in _count_non_finite(state).values()) == 0
    return state, sums, finite


def _as_key(words, like):
    return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=jax.random.key_impl(like))


@jax.jit
def _zero_sums(program, order, state):
    """Zeros for the metrics' sums; looks at what `step` returns, once for each program."""
    result = jax.eval_shape(program.update, order, jnp.int32(0), jnp.int32(0), state)
    members = program.keys[0].shape
    _check_result(state, result, members)
    _, metrics = result
    return {name: jnp.zeros(members, jnp.float32) for name in metrics}


def _check_result(state: Any, result: Any, members: tuple[int, ...]) -> None:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError("step must return a pair, (state, metrics)")
    new, metrics = result
    if jax.tree.structure(state) != jax.tree.structure(new):
        raise ValueError(
            "step must return a state with the structure that it got.\n"
            f"  given    {jax.tree.structure(state)}\n  returned {jax.tree.structure(new)}"
        )
    for (path, x), y in zip(tree_leaves_with_path(state), jax.tree.leaves(new), strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ValueError(
                f"step must keep shapes and dtypes; it got the state's leaf "
                f"{keystr(path) or 'itself'} as {x.dtype}{list(x.shape)} and returned "
                f"{y.dtype}{list(y.shape)}"
            )
    if not isinstance(metrics, dict):
        raise ValueError(f"step must return metrics as a dict of scalars, not {type(metrics)}")
    for name, value in metrics.items():
        if getattr(value, "shape", None) != members:
            raise ValueError(f"the metric {name} is {value}; metrics are scalars")


@jax.jit
def _count_non_finite(state):
    """For each leaf of real numbers, by its path: how many are NaN or infinite, of how many."""
    return {
        keystr(path) or "the state": (jnp.sum(~jnp.isfinite(x)), x.size)
        for path, x in tree_leaves_with_path(state)
        if jnp.issubdtype(x.dtype, jnp.inexact)
    }


def _name_non_finite(state: Any) -> str:
    """Names the leaves of a state that hold NaN or infinity; empty if there is none."""
    return ", ".join(
        f"{name} ({bad} of {size} values)"
        for name, (bad, size) in _count_non_finite(state).items()
        if bad
    )


def _as_argument(function: Callable[..., Any]) -> Partial:
    """Makes a function an argument of compiled programs, which equal functions share.

    Arrays among a partial's keywords become arguments too: as constants they would be copied into
    the program, and other arrays would compile it anew.
    """
    if not isinstance(function, functools.partial):
        return Partial(function)
    arrays = {name: x for name, x in function.keywords.items() if isinstance(x, jax.Array)}
    rest = {name: x for name, x in function.keywords.items() if name not in arrays}
    try:
        parts = _Partial(function.func, function.args, frozenset(rest.items()))
        hash(parts)
    except TypeError:  # it holds a list, say: then it equals itself alone
        return Partial(function)
    return Partial(parts, **arrays)


@dataclasses.dataclass(frozen=True)
class _Partial:
    """A `functools.partial` that equals others of equal parts."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: frozenset[tuple[str, Any]]

    def __call__(self, *args, **arrays):
        return self.function(*self.args, *args, **dict(self.keywords), **arrays)


def _unchanged(key, batch):
    del key
    return batch
