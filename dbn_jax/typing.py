"""Array annotations with shapes, for example ``Float[Array, "*batch visible"]``, and other types.

The names are jaxtyping's, which type checkers always see. The tests check every annotation at run
time; where jaxtyping is not installed, beside jax and optax alone, the annotations are inert.
"""

import typing
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jax import Array

AnyArray = Array | np.ndarray

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Key, Num, PyTree, Scalar, UInt8
    from typing_extensions import TypeVar

    # Any real number: for type checkers an int is a float, too.
    Real = float
    # A type, or None until it is filled in, such as the biases of a mere unit type, `Bernoulli()`.
    # Checkers are not told of None: else whoever uses them would have to say that they are there.
    T = typing.TypeVar("T")
    Late = Annotated[T, "late"]
else:
    from numbers import Real

    try:
        from jaxtyping import Bool, Float, Int, Key, Num, PyTree, Scalar, UInt8
    except ImportError:  # annotations only: nothing computes with them

        class _Unchecked:
            """Accepts ``Name[Array, "shape"]`` and means any value."""

            def __class_getitem__(cls, item):
                return object

        Bool = Float = Int = Key = Num = PyTree = Scalar = UInt8 = _Unchecked

    class Late:
        """Accepts ``Late[type]``."""

        def __class_getitem__(cls, item):
            return item | None

    def TypeVar(name, *, default, **options):
        """Python's own has defaults from 3.13 on."""
        return typing.TypeVar(name, **options)


# What is `Late`, before that.
unset: Any = None

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "Float",
    "Int",
    "Key",
    "Late",
    "Num",
    "PyTree",
    "Real",
    "Scalar",
    "TypeVar",
    "UInt8",
    "unset",
]
