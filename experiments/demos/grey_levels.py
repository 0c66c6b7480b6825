"""Why grey levels of photographs need Gaussian units: free energies of one pixel's value.

A *mean-field logistic* unit takes a value x in [0, 1] for the probability that a binary unit is on.
Its total input I enters the energy as −I x, linearly, and the negative entropy keeps x between 0
and 1:

    F(x) = −I x + x log x + (1 − x) log(1 − x),    F''(x) = 1 / (x (1 − x)).

The input tilts the curve and moves its minimum to x = σ(I), but no input can bend it: how much 0.7
is preferred to *both* 0.6 and 0.8 is bounded by the entropy alone (`logistic_preference`), and is
next to nothing. Without the entropy, where x is a value and no probability, the energy is a
straight line and 0.7 always lies between the two. Hidden units that are summed out make it worse:
they add −Σ_j log(1 + exp(c_j + w_j x)), which is concave in x.

A *Gaussian* unit has a parabola of its own, x²/2σ²; the bias b and the input I move its minimum to
σ(b + I), and σ, which can be learnt, says how narrow it is. All free energies are in nats.

Reference: Hinton, "Deep belief nets", tutorial at NIPS (2007).
"""

import jax.numpy as jnp
from jax.scipy.special import xlogy

from dbn_jax.typing import Array, Float


def logistic_free_energy(
    x: Float[Array, "*batch"], inputs: Float[Array, ""]
) -> Float[Array, "*batch"]:
    """F(x) of a mean-field logistic unit; `inputs` is its total input I, bias included."""
    return negative_entropy(x) - inputs * x


def gaussian_free_energy(
    x: Float[Array, "*batch"], mean: Float[Array, ""], sigma: Float[Array, ""]
) -> Float[Array, "*batch"]:
    """F(x) of a Gaussian unit, less its smallest value; `mean` is σ(b + I)."""
    return (x - mean) ** 2 / (2 * sigma**2)


def negative_entropy(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """x log x + (1 − x) log(1 − x); 0 at both ends."""
    return xlogy(x, x) + xlogy(1 - x, 1 - x)


def logistic_preference(middle: Float[Array, ""], step: Float[Array, ""]) -> Float[Array, ""]:
    """The most that any input can make the middle preferred to both values a step away.

    The input adds the same to F(middle − step) − F(middle) as it takes from F(middle + step) −
    F(middle), so that the smaller of both is at most half their sum. All values lie in [0, 1].
    """
    ends = negative_entropy(jnp.stack([middle - step, middle + step]))
    return jnp.mean(ends) - negative_entropy(middle)


def gaussian_preference(step: Float[Array, ""], sigma: Float[Array, ""]) -> Float[Array, ""]:
    """The same for a Gaussian unit: step²/2σ², as much as a small σ makes it."""
    return step**2 / (2 * sigma**2)
