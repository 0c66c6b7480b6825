"""What a checkpoint belongs to: names and values that must be the same when a run goes on.

Numbers and texts stand for themselves. Arrays leave a fingerprint, a list: the CRC-32 of whole
numbers; of real ones, which another machine or compilation rounds differently, their length as a
vector and random projections, which are compared within a thousandth of it. Data that are read from
files leave their number of rows, and the fingerprint of some rows that are spread over them.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import parallel, sources

# Settings of JAX on which random bits depend.
_RANDOM = (
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_random_seed_offset",
    "jax_threefry_partitionable",
)
_NUM_PROJECTIONS = 8
_TOLERANCE = 1e-3
_SHOWN_DIFFERENCES = 3


def random_settings() -> dict[str, Any]:
    """JAX's settings on which random bits depend."""
    return {name: getattr(jax.config, name) for name in _RANDOM}


def of_arrays(name: str, tree: Any) -> dict[str, Any]:
    """The fingerprint of each array of a tree, by its place there."""
    leaves = jax.tree_util.tree_leaves_with_path(sources.look_at(tree))
    found: dict[str, Any] = {
        name + jax.tree_util.keystr(path): _fingerprint(x) for path, x in leaves
    }
    if sources.is_read(tree):
        found[f"number of rows of {name}"] = sources.num_rows(tree)
    return found


def of_function(name: str, function: Any) -> dict[str, Any]:
    """The names of a function and of what it is bound to, and the values there.

    It looks into partial functions, dataclasses and containers, not into closures.
    """
    return dict(_described(name, function))


def _described(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    parts: Mapping[Any, Any] = {}
    if isinstance(thing, functools.partial):
        parts = {"function": thing.func, **dict(enumerate(thing.args)), **thing.keywords}
    elif isinstance(thing, (tuple, list)):
        parts = dict(enumerate(thing))
    elif isinstance(thing, Mapping):
        parts = thing
    elif dataclasses.is_dataclass(thing):
        parts = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    if isinstance(thing, (np.ndarray, np.generic, jax.Array)):
        yield name, _fingerprint(thing)
    elif thing is None or isinstance(thing, (bool, int, float, str)):
        yield name, thing
    else:
        yield name, getattr(thing, "__qualname__", type(thing).__qualname__)
    for part, value in parts.items():
        yield from _described(f"{name}.{part}", value)


def check(saved: Mapping[str, Any], given: Mapping[str, Any], what: str) -> None:
    """Raises ValueError, by name, unless all that was saved is what is given now."""
    differences = [
        _difference(name, saved.get(name, "nothing"), given.get(name, "nothing"))
        for name in {**given, **saved}
        if name not in saved or name not in given or not _equal(saved[name], given[name])
    ]
    if more := differences[_SHOWN_DIFFERENCES:]:
        differences[_SHOWN_DIFFERENCES:] = [f"{len(more)} more"]
    if differences:
        raise ValueError(
            f"{what} was made with {', '.join(differences)}; put back what it was made with, or "
            "choose another --workdir"
        )


def _difference(name: str, saved: Any, given: Any) -> str:
    if isinstance(saved, list) or isinstance(given, list):
        return f"other {name}"
    return f"{name} {saved} (now {given})"


def _equal(saved: Any, given: Any) -> bool:
    if [] in (saved, given):
        return True
    real = [isinstance(x, list) and len(x) > 1 for x in (saved, given)]
    if not all(real):
        return saved == given
    return np.allclose(
        saved, given, rtol=0, atol=_TOLERANCE * np.nan_to_num(saved[0]), equal_nan=True
    )


def _fingerprint(x: Any) -> list:
    """[checksum] or [length, projections …]; [] if other hosts hold a part of the array."""
    if not parallel.is_here(x):
        return []
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return [zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)]
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = np.stack([x.real, x.imag])
    rows = x.astype(np.promote_types(x.dtype, np.float32), copy=False)
    rows = rows.reshape(len(rows) if rows.ndim else 1, -1)
    signs = np.random.RandomState(0)  # its streams are frozen
    columns = signs.choice(np.array([-1, 1], rows.dtype), rows.shape[1])
    projections = signs.choice([-1.0, 1.0], (_NUM_PROJECTIONS, len(rows))) @ (rows @ columns)
    return [float(number) for number in (np.linalg.norm(rows), *projections)]
