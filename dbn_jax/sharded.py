"""Products and derivatives of arrays that lie on a mesh of devices, of whatever kind it is.

- On automatic axes (`AxisType.Auto`) JAX decides how results lie.
- On explicit ones, as those of `jax.make_mesh` are, JAX wants to be told: here products lie as the
  rows of their first factor, all units of a row in one place.
- Inside `shard_map` each device has rows of its own, and derivatives are those of its own rows.

Without a mesh the functions are plain products, and leave arrays as they are.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dbn_jax.typing import Array, Num, PyTree

T = TypeVar("T")


def product(x: Num[Array, "*rows M"], y: Num[Array, "M N"]) -> Num[Array, "*rows N"]:
    """``x @ y``, on any mesh."""
    if not _is_explicit(x):
        return x @ y
    return jnp.matmul(x, y, out_sharding=_where(x, P(*spec(x)[:-1], None)))


def outer_total(
    x: Num[Array, "*rows M"], y: Num[Array, "*rows N"], like: Num[Array, "M N"]
) -> Num[Array, "M N"]:
    """Σ x yᵀ over the rows, on any mesh; it lies as `like` does."""
    rows = tuple(range(x.ndim - 1))
    where = _where(x, spec(like)) if _is_explicit(x) else None
    return jax.lax.dot_general(x, y, ((rows, rows), ((), ())), out_sharding=where)


def automatic(
    function: Callable[..., PyTree], arrays: PyTree, specs: PyTree
) -> Callable[..., PyTree]:
    """The function, in which JAX itself decides how arrays lie, of any mesh that these are on.

    `specs` say how its results lie, P for each of their leaves or branches.
    """
    there = next(filter(_is_explicit, jax.tree.leaves(arrays)), None)
    if there is None:
        return function
    where = jax.tree.map(
        functools.partial(_where, there), specs, is_leaf=lambda x: isinstance(x, P)
    )
    return jax.sharding.auto_axes(function, out_sharding=where)


def check(batch: Array, params: Array) -> None:
    """Raises ValueError if a batch lies on explicit axes of a mesh, but not the parameters."""
    if _is_explicit(batch) and not _is_explicit(params):
        raise ValueError(
            "the batch lies on a mesh with explicit axes, but not the parameters; put them there "
            "too: jax.device_put(params, NamedSharding(mesh, P()))"
        )


def spec(x: Array) -> P:
    """How an array lies."""
    return jax.typeof(x).sharding.spec


def _is_explicit(x):
    return AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types


def _where(x, spec):
    return NamedSharding(jax.typeof(x).sharding.mesh, spec)


def match_varying(data: PyTree, tree: T) -> T:
    """Lets parameters vary over devices as the data do, for differentiation inside `shard_map`.

    JAX sums derivatives by parameters that are the same on all devices over the devices; the
    estimate of each device is then no longer that of its own data. The values stay as they are.
    """
    like = jax.tree.leaves(data)[0]
    return jax.tree.map(lambda leaf: leaf + jnp.zeros_like(like, leaf.dtype, shape=()), tree)
