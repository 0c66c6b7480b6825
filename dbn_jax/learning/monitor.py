"""What to watch while an RBM learns (Hinton's practical guide, sections 6 and 15)."""

import jax
import jax.numpy as jnp

from dbn_jax import precision, rbm
from dbn_jax.compilation import jit
from dbn_jax.examples import Examples
from dbn_jax.likelihood import annealing, partition, pseudo_likelihood
from dbn_jax.typing import Array, Key

Batch = jax.Array | Examples
# Units of each example that the pseudo-likelihood looks at.
_PSEUDO_UNITS = 10


@jit(static_argnames="two_valued")
@precision.full
def compare(params: rbm.RBM, train: Batch, held_out: Batch, *, two_valued: bool) -> rbm.Metrics:
    """Compares training examples with held-out ones, (N, V) both.

    Returns:
      `reconstruction_error` of the held-out examples (mean field; squared, summed over the pixels,
      averaged over the examples), `free_energy` of both (nats, mean), and `free_energy_gap`,
      held out minus training: it grows when the model overfits; and `log_pseudo_likelihood` of
      two-valued held-out examples (nats, mean), from a few units of each, the same ones every time.
    """
    train, held_out = Examples.of(train), Examples.of(held_out)
    v = held_out.values
    error = jnp.sum((v - rbm.reconstruct(params, v)) ** 2, axis=-1)
    held_out_energy = held_out.mean(rbm.free_energy(params, v))
    train_energy = train.mean(rbm.free_energy(params, train.values))
    metrics = {
        "reconstruction_error": held_out.mean(error),
        "free_energy": held_out_energy,
        "free_energy_train": train_energy,
        "free_energy_gap": held_out_energy - train_energy,
    }
    if two_valued:
        count = min(_PSEUDO_UNITS, v.shape[-1])
        log_p = pseudo_likelihood.log_pseudo_likelihood(
            jax.random.key(0), params, v, num_units=count
        )
        metrics["log_pseudo_likelihood"] = held_out.mean(log_p)
    return metrics


@jit(static_argnames=("num_steps", "num_chains"))
@precision.full
def log_likelihood(
    key: Key[Array, ""],
    params: rbm.RBM,
    train: Batch,
    held_out: Batch,
    *,
    num_steps: int = 300,
    num_chains: int = 100,
) -> rbm.Metrics:
    """Mean log-likelihoods, in nats, by an annealing that is short enough for every epoch.

    With the same key they have the same random numbers, so that differences between epochs are less
    noisy than they are. Binary units that see grey levels p have a lower bound on the mean over
    states that are drawn with p.

    Returns:
      `log_likelihood` of the held-out examples, and `log_likelihood_train`.
    """
    train, held_out = Examples.of(train), Examples.of(held_out)
    estimate = annealing.ais(
        key,
        params,
        base=params.visible.fit(train),
        betas=jnp.linspace(0, 1, num_steps + 1),
        num_chains=num_chains,
    )
    return {
        name: x.mean(partition.log_likelihood(params, x.values, estimate.log_z))
        for name, x in (("log_likelihood", held_out), ("log_likelihood_train", train))
    }
