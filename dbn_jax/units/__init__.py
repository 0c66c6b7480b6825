"""Unit types: what one layer of an RBM is made of.

A layer of N units with values x has an energy U(x) of its own and meets the other layer through a
statistic s(x) alone,

    E(v, h) = U_v(v) + U_h(h) − s_v(v)ᵀ W s_h(h),

so that, given the other layer, its units are independent with log-density I·s(x) − U(x) up to a
constant, where I is the *input* from the other layer (I = s_v(v)ᵀW for hidden units; biases belong
to U and are not part of I). Each type gives U, s, and from the input the cumulant
A(I) = Σ_i log Σ_{x_i} exp(I_i s_i(x_i) − U_i(x_i)) (an integral for real-valued units), the mean
and a sampler (`base.Units`, the contract). What works for every type asks for this contract
only, so that a new type is one class here and one row in the tests' contract table.

Parameters are leaves of the class itself, a pytree; what kind of unit it is, is static. A unit made
without arguments (``Bernoulli()``) is a description; `Units.init` gives it parameters.

References: Welling, Rosen-Zvi, Hinton, "Exponential family harmoniums" (2005); Hinton, "A practical
guide to training restricted Boltzmann machines" (2010), section 13.
"""

from dbn_jax.units.base import Units
from dbn_jax.units.concat import Concat
from dbn_jax.units.discrete import Bernoulli, Binomial, Poisson, Softmax, Spin
from dbn_jax.units.maps import Maps, MaxPooled
from dbn_jax.units.real import Gaussian, ReLU

__all__ = [
    "Bernoulli",
    "Binomial",
    "Concat",
    "Gaussian",
    "Maps",
    "MaxPooled",
    "Poisson",
    "ReLU",
    "Softmax",
    "Spin",
    "Units",
]
