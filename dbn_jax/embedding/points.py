"""Points and images as users have them: lists, frames, arrays of any numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax import numerics
from dbn_jax.typing import AnyArray, Array, Bool, Float, Num

# Or lists and frames, where nothing checks annotations.
Points = Num[AnyArray, "N D"] | Bool[AnyArray, "N D"]
Queries = Num[AnyArray, "Q D"] | Bool[AnyArray, "Q D"]
Images = Num[AnyArray, "*batch V"] | Bool[AnyArray, "*batch V"]


def as_array(x: Images, name: str) -> Images:
    """An array of numbers or booleans; a TypeError says what is none."""
    try:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    kinds = np.bool_, np.integer, np.floating
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise TypeError(
            f"{name} is no array of numbers but a {type(x).__name__}; make one of it (of a sparse "
            f"matrix by {name}.toarray())"
        )
    return array


def as_points(x: Points, name: str, *, least: int = 1) -> Float[Array, "N D"]:
    """Points, one a row, in float32 at least.

    Raises ValueError unless there are enough, all finite (unseen while tracing).
    """
    x = as_array(x, name)
    check_matrix(x, name)
    if len(x) < least:
        raise ValueError(f"{name} holds {len(x)} points; there must be at least {least}")
    points = numerics.widen(jnp.asarray(x))
    if isinstance(points, Tracer):
        return points
    if fault := numerics.non_finite(np.asarray(points)):
        raise ValueError(f"{name}: {fault}")
    return points


def check_matrix(x: Points, name: str) -> None:
    """Raises ValueError unless the rows hold numbers, and no rows."""
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            f"{name} has shape {x.shape}; it must be a matrix with a point in each row: try "
            f"{name}.reshape(len({name}), -1)"
        )
