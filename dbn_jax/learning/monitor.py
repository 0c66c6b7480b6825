"""What to watch while an RBM learns (Hinton's practical guide, sections 6 and 15)."""

import jax
import jax.numpy as jnp

from dbn_jax import precision, rbm
from dbn_jax.compilation import jit
from dbn_jax.examples import Examples
from dbn_jax.likelihood import pseudo_likelihood

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
