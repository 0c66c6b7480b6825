"""What to watch while an RBM learns (Hinton's practical guide, sections 6 and 15)."""

import jax
import jax.numpy as jnp

from dbn_jax import rbm
from dbn_jax.compilation import jit
from dbn_jax.likelihood import pseudo_likelihood

# Units of each example that the pseudo-likelihood looks at.
_PSEUDO_UNITS = 10


@jit(static_argnames="two_valued")
def compare(
    params: rbm.RBM, train: jax.Array, held_out: jax.Array, *, two_valued: bool
) -> rbm.Metrics:
    """Compares training examples with held-out ones, (N, V) both.

    Returns:
      `reconstruction_error` of the held-out examples (mean field; squared, summed over the pixels,
      averaged over the examples), `free_energy` of both (nats, mean), and `free_energy_gap`,
      held out minus training: it grows when the model overfits; and `log_pseudo_likelihood` of
      two-valued held-out examples (nats, mean), from a few units of each, the same ones every time.
    """
    error = jnp.sum((held_out - rbm.reconstruct(params, held_out)) ** 2, axis=-1)
    held_out_energy = jnp.mean(rbm.free_energy(params, held_out))
    train_energy = jnp.mean(rbm.free_energy(params, train))
    metrics = {
        "reconstruction_error": jnp.mean(error),
        "free_energy": held_out_energy,
        "free_energy_train": train_energy,
        "free_energy_gap": held_out_energy - train_energy,
    }
    if two_valued:
        count = min(_PSEUDO_UNITS, held_out.shape[-1])
        log_p = pseudo_likelihood.log_pseudo_likelihood(
            jax.random.key(0), params, held_out, num_units=count
        )
        metrics["log_pseudo_likelihood"] = jnp.mean(log_p)
    return metrics
