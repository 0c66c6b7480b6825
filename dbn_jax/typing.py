"""Array annotations with shapes, for example ``Float[Array, "*batch visible"]``.

The names are jaxtyping's. The tests install jaxtyping and check every annotation at run time; a
program that only calls the library needs jax and optax alone, and there the annotations are inert.
"""

from jax import Array

try:
    from jaxtyping import Bool, Float, Int, Key, Num, PyTree, Scalar, UInt8
except ImportError:  # annotations only: nothing computes with them

    class _Unchecked:
        """Accepts ``Name[Array, "shape"]`` and means any value."""

        def __class_getitem__(cls, item):
            return object

    Bool = Float = Int = Key = Num = PyTree = Scalar = UInt8 = _Unchecked

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Num", "PyTree", "Scalar", "UInt8"]
