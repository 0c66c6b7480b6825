"""Integrals of densities of any shape, against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import pytrees, units
from dbn_jax.testing import tables


@pytrees.dataclass
class Real(units.Units):
    """Units of any energy, of which nothing else is asked."""

    bias: jax.Array | None = None
    of_one: object = pytrees.static(default=None)
    support: tuple[float, float] = pytrees.static(default=(-math.inf, math.inf))
    cumulant = mean = sample = None

    def energy(self, x):
        return jnp.sum(self.of_one(x), axis=-1)


def half(slope):
    """log ∫₀^∞ exp(slope·x − x²/2) dx."""
    return np.log(math.sqrt(math.pi / 2) * scipy.special.erfcx(-slope / math.sqrt(2)))


def kinked(slope):
    """log ∫ exp(slope·x − 3|x| − x²/2) dx."""
    return np.logaddexp(half(slope - 3), half(-slope - 3))


def beta(slope):
    """log ∫₀¹ exp(slope·x) x^−½ (1 − x)^−0.7 dx."""
    return np.log(scipy.special.hyp1f1(0.5, 0.8, slope) * scipy.special.beta(0.5, 0.3))


LINE, POSITIVE, UNIT = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
LOG_2PI = math.log(2 * math.pi)
# Energy of a unit, its support, a sample, the cumulant, and how exact it has to be.
CASES = {
    "normal": (lambda x: x**2 / 2, LINE, 0.3, lambda s: (s**2 + LOG_2PI) / 2, 1e-11),
    "narrow and far": (
        lambda x: 5000 * (x - 1000) ** 2,
        LINE,
        1000.01,
        lambda s: 1000 * s + (s / 100) ** 2 / 2 - math.log(100) + LOG_2PI / 2,
        1e-9,
    ),
    "cut off": (lambda x: x**2 / 2 - x, POSITIVE, 0.3, lambda s: half(s + 1), 1e-11),
    "kink at 0": (lambda x: 3 * abs(x) + x**2 / 2, LINE, 0.3, kinked, 1e-11),
    "kink elsewhere": (
        lambda x: 3 * abs(x - 0.7) + x**2 / 2,
        LINE,
        0.3,
        lambda s: 0.7 * s - 0.245 + kinked(s - 0.7),
        1e-2,
    ),
    "without limit at its ends": (
        lambda x: 0.5 * jnp.log(x) + 0.7 * jnp.log1p(-x),
        UNIT,
        0.3,
        beta,
        1e-3,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("x64")
def test_integrals_and_their_errors(name):
    energy, support, sample, cumulant, accuracy = CASES[name]
    layer = Real(jnp.zeros(1), energy, support)
    inputs = np.array([[-2.0], [0.0], [1.5]])
    table = tables.Table.of(layer, inputs, np.full((5, 1), sample))
    gap = np.abs(table.cumulant(inputs) - cumulant(inputs[:, 0]))
    assert gap.max() < accuracy
    assert gap.max() < table.error(inputs) + accuracy / 1000
    assert table.error(inputs) < max(10 * accuracy, 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("energy", "sentence"),
    [
        (lambda x: -(x**2), "exp(I·s(x) − U(x)) does not fall off: at x = 1e+06 U is -1e+12, and"),
        (lambda x: x * jnp.inf, "at x near (0.3) it is inf"),
        (lambda x: x**2 + 9 * jnp.cos(300 * x), "exp(I·s(x) − U(x)) cannot be integrated: by tw"),
    ],
)
def test_energies_without_an_integral(energy, sentence):
    with pytest.raises(AssertionError) as raised:
        tables.Table.of(Real(jnp.zeros(1), energy), np.zeros((1, 1)), np.full((5, 1), 0.3))
    assert str(raised.value).startswith(f"Real.energy: {sentence}")
