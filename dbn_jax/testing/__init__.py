"""Tests for unit types and weights of your own: what this package holds its own ones to.

    import jax
    from dbn_jax import testing

    def test_my_units():
        testing.check_units(jax.random.key(0), MyUnits(), num_units=2)

A check raises AssertionError with one sentence that says what is wrong and by how much. Of the
class under test it believes the energy U(x), the statistic s(x) and which values units take;
cumulants, means, gradients and samples have to agree with sums over these values, or integrals.

Samples are random, and a correct class fails for one key in a million. With a fixed key it passes
always or never.
"""

from dbn_jax.testing.linear_maps import check_weights
from dbn_jax.testing.unit_types import check_units

__all__ = ["check_units", "check_weights"]
