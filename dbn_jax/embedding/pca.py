"""Principal component analysis, exact: the x̂ = m + C z that has the least squared error from x.

`dbn_jax.embedding.logistic_pca` is its sibling for pixels in [0, 1].

Shapes: N images of V pixels, K components; images are floats of any precision, or booleans, in
arrays or lists. Images of integers raise a TypeError; images with NaN or infinity, with another
number of pixels than the components, or too few for K components raise a ValueError.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax import numerics, precision, pytrees
from dbn_jax.embedding.points import Images, Points, as_array, check_matrix
from dbn_jax.typing import Array, Float


@pytrees.dataclass
class PCA:
    """Linear principal components: orthonormal columns, largest variance first.

    The entry of each that is largest in absolute value is positive. The variances that are left out
    sum to the reconstruction error of the training images.
    """

    mean: Float[Array, " V"]
    components: Float[Array, "V K"]
    variances: Float[Array, " K"]


def fit(x: Points, num_components: int) -> PCA:
    """Fits PCA exactly, by the singular value decomposition of x − m.

    It is computed from the triangular factor of x − m, a V×V matrix with the same singular values,
    so that time and memory grow with the number of images only as reading them does, and small
    variances are not lost, as they would be in the eigenvalues of a covariance matrix.
    """
    x = as_images(x)
    _check_count(x, num_components)
    return _fit(numerics.widen(x), num_components)


@jax.jit(static_argnames="num_components")
def _fit(x, num_components):
    mean = jnp.mean(x, axis=0)
    r = jnp.linalg.qr(x - numerics.per_unit(mean, x), mode="r")
    _, singular_values, rows = jnp.linalg.svd(r, full_matrices=False)
    components = rows[:num_components].T
    variances = singular_values[:num_components] ** 2 / x.shape[0]
    return PCA(mean, components * numerics.per_unit(signs(components), components), variances)


@precision.full
def encode(model: PCA, x: Images) -> Float[Array, "*batch K"]:
    """The codes of images, their projections."""
    x = jnp.asarray(as_images(x, like=model), model.components.dtype)
    return (x - numerics.per_unit(model.mean, x)) @ model.components


@precision.full
def decode(model: PCA, codes: Float[Array, "*batch K"]) -> Float[Array, "*batch V"]:
    """The images reconstructed from codes."""
    codes = jnp.asarray(as_array(codes, "codes"), model.components.dtype)
    x = codes @ model.components.T
    return x + numerics.per_unit(model.mean, x)


def signs(components: Float[Array, "V K"]) -> Float[Array, " K"]:
    """The factor, 1 or −1, that makes the largest entry of each column positive."""
    rows = jnp.argmax(jnp.abs(components), axis=0, keepdims=True)
    largest = jnp.take_along_axis(components, rows, axis=0)[0]
    return jnp.where(largest < 0, -1, 1).astype(components.dtype)


def as_images(
    x: Images, *, like: Any = None, within: tuple[float, float] = (-np.inf, np.inf)
) -> Images:
    """An array that fits components and lies within bounds (unchecked while tracing), or raises."""
    x = as_array(x, "x")
    if jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(
            f"x holds {x.dtype} numbers; convert them: bytes to grey levels with "
            "x.astype('float32') / 255"
        )
    if like is not None and x.shape[-1] != len(like.components):
        raise ValueError(
            f"images of {x.shape[-1]} pixels; the components have {len(like.components)}"
        )
    if isinstance(x, Tracer) or not x.size:
        return x
    low, high = float(jnp.min(x)), float(jnp.max(x))
    if not np.isfinite([low, high]).all():
        raise ValueError("x holds NaN or infinity; remove those images, or impute the pixels")
    if not within[0] <= low <= high <= within[1]:
        raise ValueError(
            f"x lies in [{low:.4g}, {high:.4g}], but must lie in [{within[0]:g}, {within[1]:g}]; "
            "scale the grey levels"
        )
    return x


def _check_count(x, num_components):
    check_matrix(x, "x")
    if not 1 <= num_components <= min(x.shape):
        raise ValueError(
            f"num_components is {num_components}, but x of shape {x.shape} has 1 to {min(x.shape)}"
        )
