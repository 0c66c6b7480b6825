"""Parallel tempering: persistent chains at several temperatures.

Reference: Desjardins et al., "Tempered Markov chain Monte Carlo for training of restricted
Boltzmann machines" (2010).
"""

import dataclasses

import jax
import jax.numpy as jnp

from dbn_jax import parallel, random, rbm
from dbn_jax.learning.learners import Learner, hidden_at
from dbn_jax.typing import Array, Float, Key


@dataclasses.dataclass(frozen=True)
class ParallelTempering(Learner[Array]):
    """Persistent chains at several temperatures that exchange their states.

    Level k samples p_k ∝ exp(−U_v − U_h + β_k s_vᵀW s_h): only the interaction is tempered, so
    that β = 0 is a product of independent units for every unit type. After each Gibbs step
    neighbouring levels propose to exchange states; the gradient takes the level β = 1.

    Attributes:
      num_chains: number of ladders, each with a chain at every level.
      num_temperatures: number of levels, β from `min_beta` to 1 in equal steps.
      num_gibbs_steps: Gibbs steps, each with an exchange, in every update.
      min_beta: β of the hottest level. From 0 a large RBM needs many levels; from 0.5 or so a few
        do, and mix less.
    """

    num_chains: int = 100
    num_temperatures: int = 5
    num_gibbs_steps: int = 1
    min_beta: float = 0.0

    def __post_init__(self):
        if self.num_temperatures < 2:
            raise ValueError(
                f"num_temperatures is {self.num_temperatures}; tempering needs at least 2 levels, "
                "and PCD is tempering with one"
            )
        rbm.check_steps(self.num_gibbs_steps)
        if not 0 <= self.min_beta < 1:
            raise ValueError(f"min_beta is {self.min_beta}; it must lie in [0, 1)")

    def init(self, key, params):
        """Hidden states, (num_temperatures, num_chains, H), level 0 the hottest."""
        chains = rbm.init_chains(key, params, self.num_temperatures * self.num_chains)
        return chains.reshape(self.num_temperatures, self.num_chains, -1)

    def estimate(self, key, params, chains, batch):
        """The metrics `swap_rate_k` are mean probabilities that levels k, k + 1 accept an exchange.

        A rate near 0 means that the ladder is broken there: use more temperatures.
        """
        batch = rbm.as_batch(params, batch)
        if self.num_gibbs_steps > 1:
            chains = jax.lax.fori_loop(
                1,
                self.num_gibbs_steps,
                lambda t, h: self.sample(random.fold_in(key, t), params, h)[1],
                chains,
            )
        v, chains, inputs, swap_rates = self.sample(random.fold_in(key, 0), params, chains)
        gradient, metrics = rbm.contrastive_gradient(
            params, batch, rbm.hidden_inputs(params, batch.values), v[-1], inputs[-1]
        )
        rates = {f"swap_rate_{k}": rate for k, rate in enumerate(swap_rates)}
        return gradient, chains, {**metrics, **rates}

    def hidden_chains(self, chains):
        return chains[-1]

    def start_at(self, key, params, chains, x):
        """Moves the level β = 1 alone."""
        return chains.at[-1].set(hidden_at(key, params, x, self.num_chains))

    def sample(
        self, key: Key[Array, ""], params: rbm.RBM, h: Float[Array, "levels chains H"]
    ) -> tuple[Array, Array, Array, Array]:
        """One Gibbs step down and up at every level, then one round of exchanges.

        Returns:
          v and h after the exchanges, joint samples of each level; v's hidden inputs at β = 1; and
          the acceptance probability of each neighbouring pair, averaged over the chains,
          (num_temperatures − 1,).
        """
        down_key, up_key, swap_key, parity_key = random.split(key, 4)
        h = parallel.shard(h, axis=1)
        levels = self.num_temperatures
        beta = jnp.linspace(self.min_beta, 1, levels, dtype=h.dtype)
        v = params.visible.sample(down_key, _scale(beta, rbm.visible_inputs(params, h)))
        inputs = rbm.hidden_inputs(params, v)
        h = params.hidden.sample(up_key, _scale(beta, inputs))

        # Exchanging the states of levels k and l changes log p by (β_k − β_l)(J_l − J_k).
        interaction = jnp.sum(inputs * params.hidden.statistic(h), axis=-1)
        gain = _scale(beta[:-1] - beta[1:], interaction[1:] - interaction[:-1])
        rates = jnp.mean(jnp.exp(jnp.minimum(gain, 0)), axis=-1)

        # Pairs (0, 1), (2, 3), … or (1, 2), (3, 4), …, by the toss of a coin.
        level = jnp.arange(levels, dtype=jnp.int32)
        pair = level[:-1] % 2 == jax.random.bernoulli(parity_key).astype(jnp.int32)
        draws = random.uniform(swap_key, gain.shape).astype(gain.dtype)
        accept = (draws < jnp.exp(gain)) & jnp.broadcast_to(pair[:, None], gain.shape)
        up = jnp.pad(accept.astype(jnp.int32), ((0, 1), (0, 0)))
        down = jnp.pad(accept.astype(jnp.int32), ((1, 0), (0, 0)))
        source = jnp.broadcast_to(level[:, None], up.shape) + up - down

        def exchange(x):
            return jnp.take_along_axis(x, source[:, :, None], axis=0)

        return exchange(v), exchange(h), exchange(inputs), rates


def _scale(factors, x):
    """Multiplies by one factor for each entry of the first axis."""
    return x * jnp.broadcast_to(factors.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
