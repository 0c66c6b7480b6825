"""Partition functions and likelihoods of RBMs, and the variational bound of nets.

log Z and with it the likelihood is exact where one layer has few enough states
(`exact_log_partition`). Elsewhere `ais` estimates log Z, `reverse_ais` bounds it from the other
side, and `log_pseudo_likelihood` does without it. Module `bound` has the bound of a deep belief
net.
"""

from dbn_jax.likelihood.annealing import Estimate, ais, published_betas, reverse_ais
from dbn_jax.likelihood.partition import exact_log_partition, log_likelihood
from dbn_jax.likelihood.pseudo_likelihood import log_pseudo_likelihood

__all__ = [
    "Estimate",
    "ais",
    "exact_log_partition",
    "log_likelihood",
    "log_pseudo_likelihood",
    "published_betas",
    "reverse_ais",
]
