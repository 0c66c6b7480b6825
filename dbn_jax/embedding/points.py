"""Points and images as users have them: lists, frames, arrays of any numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import numerics
from dbn_jax.typing import Array, Bool, Float, Num

_Any = np.ndarray | Array
# Or lists and frames, where nothing checks annotations.
Points = Num[_Any, "N D"] | Bool[_Any, "N D"]
Queries = Num[_Any, "Q D"] | Bool[_Any, "Q D"]
Images = Num[_Any, "*batch V"] | Bool[_Any, "*batch V"]


def as_array(x: Images, name: str) -> Images:
    """An array of numbers or booleans; a TypeError says what is none."""
    try:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
        kinds = np.bool_, np.integer, np.floating
        is_numbers = any(jnp.issubdtype(array.dtype, kind) for kind in kinds)
    except ValueError:  # rows of different lengths
        is_numbers = False
    if not is_numbers:
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
    x = numerics.widen(jnp.asarray(x))
    if isinstance(x, jax.core.Tracer):
        return x
    if fault := numerics.non_finite(np.asarray(x)):
        raise ValueError(f"{name}: {fault}")
    return x


def check_matrix(x: Points, name: str) -> None:
    """Raises ValueError unless the rows hold numbers, and no rows."""
    if x.ndim != 2 or not x.shape[1]:
        raise ValueError(
            f"{name} has shape {x.shape}; it must be a matrix with a point in each row: try "
            f"{name}.reshape(len({name}), -1)"
        )
