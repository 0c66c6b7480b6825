"""Virtual adversarial training: robustness to the worst small perturbation of an input.

The penalty is KL(p(label | v) ‖ p(label | v + r)), where r is the perturbation of a given length
that changes the answers most. To find r, neither labels nor the layout of the inputs need be known:
to second order, r points along the largest eigenvector of the divergence's Hessian at v,
Jᵀ diag(p) J with J the derivative of the log-probabilities. Multiplying a random direction by that
matrix already turns it towards the eigenvector; the product is exact, by one derivative forwards
and one backwards. J of the logits would do on paper, with diag(p) − p pᵀ; but where an answer is
sure, that difference is lost in single precision.

Keys are consumed; "..." are batch axes; V inputs, L classes; divergences in nats.

Reference: Miyato, Maeda, Koyama, Nakae, Ishii, "Distributional smoothing with virtual adversarial
training" (2016).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dbn_jax.typing import Array, Float, Key

# Of each input by itself.
Logits = Callable[[Float[Array, "*batch V"]], Float[Array, "*batch L"]]


def divergence(
    p_logits: Float[Array, "*batch L"], q_logits: Float[Array, "*batch L"]
) -> Float[Array, "*batch"]:
    """KL(p ‖ q) of classes."""
    return optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(q_logits), jax.nn.log_softmax(p_logits)
    )


def worst_direction(
    key: Key[Array, ""], logits: Logits, v: Float[Array, "*batch V"], num_iterations: int = 1
) -> Float[Array, "*batch V"]:
    """The unit direction in which a small perturbation of each input changes its answers most.

    Power iterations of the divergence's Hessian, from a random direction; one is enough in
    practice. Zeros where the answers do not depend on the input.
    """
    log_p, tangent = jax.linearize(lambda v: jax.nn.log_softmax(logits(v)), v)
    cotangent = jax.linear_transpose(tangent, v)

    def multiply(_, direction):
        (product,) = cotangent(jnp.exp(log_p) * tangent(direction))
        return _unit(product)

    start = _unit(jax.random.normal(key, v.shape, v.dtype))
    return jax.lax.fori_loop(0, num_iterations, multiply, start)


def penalty(
    key: Key[Array, ""],
    logits: Logits,
    v: Float[Array, "*batch V"],
    answers: Float[Array, "*batch L"],
    radius: float,
) -> Float[Array, "*batch"]:
    """KL(p(label | v) ‖ p(label | v + r)) of the worst perturbation r of length `radius`.

    The gradient flows through the answers to v + r only: ``answers = logits(v)`` and r count as
    constants.
    """
    move = radius * jax.lax.stop_gradient(worst_direction(key, logits, v))
    return divergence(jax.lax.stop_gradient(answers), logits(v + move))


def _unit(x):
    # Scaled first, since squares of what is left at a sure answer would underflow.
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    x = x / jnp.where(largest > 0, largest, jnp.ones_like(largest))
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(length > 0, length, jnp.ones_like(length))
