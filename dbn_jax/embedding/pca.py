"""Principal component analysis: the x̂ = m + C z that is nearest to x in squared error, exactly.

`dbn_jax.embedding.logistic_pca` is its sibling for pixels in [0, 1].
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import numerics, pytrees
from dbn_jax.typing import Array, Float, Num


@pytrees.dataclass
class PCA:
    """Linear principal components.

    Attributes:
      mean: (V,) of the training images.
      components: (V, K), orthonormal columns, largest variance first; the entry of each that is
        largest in absolute value is positive.
      variances: (K,) of the training images along them. The variances that are left out sum to
        their reconstruction error.
    """

    mean: Any
    components: Any
    variances: Any


def fit(x: Num[Array, "examples V"], num_components: int) -> PCA:
    """Fits PCA exactly, by the singular value decomposition of x − m.

    It is computed from the triangular factor of x − m, a V×V matrix with the same singular values,
    so that time and memory grow with the number of images only as reading them does, and small
    variances are not lost, as they would be in the eigenvalues of a covariance matrix.

    Args:
      x: (N, V).
      num_components: K.

    Raises:
      ValueError: K is not in 1..min(N, V), or x holds NaN or infinity.
      TypeError: x holds integers.
    """
    return _fit(checked(x, num_components), num_components)


def encode(model: PCA, x: Num[Array, "*batch V"]) -> Float[Array, "*batch K"]:
    """The codes of images, their projections: (..., V) -> (..., K).

    Raises:
      ValueError: x has another number of pixels, or, where known and not traced, holds NaN.
      TypeError: x holds integers.
    """
    return _project(model, checked(x, model=model).astype(model.components.dtype))


@functools.partial(jax.jit, inline=True)
def decode(model: PCA, codes: Float[Array, "*batch K"]) -> Float[Array, "*batch V"]:
    """The images that codes stand for: (..., K) -> (..., V)."""
    with jax.default_matmul_precision("highest"):
        x = codes @ model.components.T
    return x + numerics.per_unit(model.mean, x)


def reconstruction_error(model: PCA, x: Num[Array, "examples V"]) -> Float[Array, ""]:
    """Squared error of the images encoded and decoded, summed over pixels, averaged over images.

    The measure of Hinton and Salakhutdinov (2006), for grey levels in [0, 1].
    """
    x_hat = decode(model, encode(model, x))
    return jnp.mean(jnp.sum((x.astype(x_hat.dtype) - x_hat) ** 2, axis=-1))


def checked(
    x: Num[Array, "*batch V"],
    num_components: int | None = None,
    *,
    model: Any = None,
) -> Float[Array, "*batch V"]:
    """Returns images in single precision at least, or raises; for `logistic_pca` too.

    Args:
      x: (..., V).
      num_components: K, if components are to be fitted.
      model: the components, if the images are to be encoded.

    Raises:
      ValueError: K is not in 1..min(N, V), the images have other pixels than the model, or,
        where known and not traced, hold NaN or infinity.
      TypeError: x holds integers.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(
            f"x holds {x.dtype} numbers; convert them: bytes to grey levels with "
            "x.astype('float32') / 255"
        )
    if num_components is not None and not 1 <= num_components <= min(x.shape):
        raise ValueError(
            f"num_components is {num_components}; {x.shape[0]} images of {x.shape[1]} pixels have "
            f"1 to {min(x.shape)}"
        )
    if model is not None and x.shape[-1] != len(model.components):
        raise ValueError(
            f"images of {x.shape[-1]} pixels; the components have {len(model.components)}"
        )
    if known(x) and not _all_finite(x):
        raise ValueError("x holds NaN or infinity; remove those images, or impute the pixels")
    return numerics.widen(x)


@jax.jit
def _all_finite(x):
    return jnp.all(jnp.isfinite(x))


def known(x: Array) -> bool:
    """Whether x has values that can be looked at: it is neither traced nor empty."""
    return not isinstance(x, jax.core.Tracer) and x.size > 0


def signs(components: Float[Array, "V K"]) -> Float[Array, " K"]:
    """1 or −1 for each column: what makes its largest entry positive. (V, K) -> (K,)."""
    largest = jnp.argmax(jnp.abs(components), axis=0, keepdims=True)
    return jnp.where(jnp.take_along_axis(components, largest, axis=0)[0] < 0, -1, 1).astype(
        components.dtype
    )


@functools.partial(jax.jit, static_argnames="num_components", inline=True)
def _fit(x, num_components):
    mean = jnp.mean(x, axis=0)
    with jax.default_matmul_precision("highest"):
        r = jnp.linalg.qr(x - numerics.per_unit(mean, x), mode="r")
        _, singular_values, rows = jnp.linalg.svd(r, full_matrices=False)
    components = rows[:num_components].T
    variances = singular_values[:num_components] ** 2 / x.shape[0]
    return PCA(mean, components * numerics.per_unit(signs(components), components), variances)


@functools.partial(jax.jit, inline=True)
def _project(model, x):
    with jax.default_matmul_precision("highest"):
        return (x - numerics.per_unit(model.mean, x)) @ model.components
