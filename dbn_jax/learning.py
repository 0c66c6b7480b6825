"""Learners: ways to estimate the gradient of the log-likelihood of an RBM.

A learner is an immutable value with two pure functions,

    init(key, params) -> chains                                    what persists between updates
    estimate(key, params, chains, batch) -> (gradient, chains, metrics)

where the gradient is a descent direction, a tree like `params`, for any optax optimizer. Equal
learners are equal values, so a program compiled for one serves the other. `step` makes one update
with any of them; `Centred` and `Sparse` wrap any other. Maximum-likelihood learning with a long
chain (a *fantasy*) is `CD` with many steps: its gradient tends to that of `Exact`.

References: Hinton 2002 (CD); Tieleman 2008 (PCD); Tieleman and Hinton, "Using fast weights to
improve persistent contrastive divergence" (2009); Desjardins et al., "Tempered Markov chain Monte
Carlo for training of restricted Boltzmann machines" (2010); Cho, Raiko, Ilin, "Enhanced gradient
for training restricted Boltzmann machines" (2013); Melchior, Fischer, Wiskott, "How to center deep
Boltzmann machines" (2016); Hinton's practical guide (2010), section 11 (sparsity).
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from dbn_jax import partition, rbm, threefry
from dbn_jax.shapes import Array, Float, Key


@runtime_checkable
class Learner(Protocol):
    """What a learner provides. The keys are consumed."""

    def init(self, key: Key[Array, ""], params: rbm.RBM) -> Any:
        """Makes what persists between updates: a pytree of arrays, or None."""

    def estimate(
        self, key: Key[Array, ""], params: rbm.RBM, chains: Any, batch: Float[Array, "*batch V"]
    ) -> tuple[rbm.RBM, Any, rbm.Metrics]:
        """Returns a descent direction for −log p(batch), what persists, and scalar metrics."""


def init_state(
    key: Key[Array, ""],
    params: rbm.RBM,
    *,
    learner: Learner,
    optimizer: optax.GradientTransformation,
) -> rbm.State:
    """Starts learning with any learner. The key is consumed."""
    return rbm.init_state(params, optimizer, chains=learner.init(key, params))


@functools.partial(jax.jit, static_argnames=("learner", "optimizer"), inline=True)
def step(
    key: Key[Array, ""],
    state: rbm.State,
    batch: Float[Array, "*batch V"],
    *,
    learner: Learner,
    optimizer: optax.GradientTransformation,
) -> tuple[rbm.State, rbm.Metrics]:
    """One update with any learner; compiled when called directly, inlined inside a `jit`.

    Args:
      key: consumed.
      state: from `init_state`.
      batch: (..., V) data.
      learner: the one that `state` was made with.
      optimizer: likewise.

    Returns:
      The new state and the learner's metrics.

    Raises:
      ValueError: the state was made with another learner; or as the learner has it.
    """
    needed = jax.tree.structure(jax.eval_shape(learner.init, key, state.params))
    if jax.tree.structure(state.chains) != needed:
        raise ValueError(
            f"state.chains are not those of {learner}: make the state with "
            "learning.init_state(key, params, learner=learner, optimizer=optimizer)"
        )
    gradient, chains, metrics = learner.estimate(key, state.params, state.chains, batch)
    return rbm.apply_gradient(state, gradient, optimizer, chains=chains), metrics


@dataclasses.dataclass(frozen=True)
class Exact:
    """The exact gradient, by enumerating the smaller layer: the oracle for all the others."""

    def init(self, key, params):
        """Nothing persists."""
        del key, params

    def estimate(self, key, params, chains, batch):
        """Gradient of −mean log p(batch); the metric is `log_likelihood`, nats per example."""
        del key
        batch = rbm.as_batch(params, batch)

        def loss(params):
            log_z = partition.exact_log_partition(params)
            return -jnp.mean(partition.log_likelihood(params, batch, log_z))

        value, gradient = jax.value_and_grad(loss)(rbm.vary_as(batch, params))
        metrics = {"log_likelihood": -value, "gradient_norm": rbm.norm(gradient)}
        return gradient, chains, metrics


@dataclasses.dataclass(frozen=True)
class CD:
    """Contrastive divergence (`rbm.cd_gradient`).

    Attributes:
      num_gibbs_steps: n of CD-n.
      sample_visible: False takes probabilities for the reconstruction.
    """

    num_gibbs_steps: int = 1
    sample_visible: bool = True

    def init(self, key, params):
        """Nothing persists."""
        del key, params

    def estimate(self, key, params, chains, batch):
        """See `Learner`."""
        gradient, metrics = rbm.cd_gradient(
            key,
            params,
            batch,
            num_gibbs_steps=self.num_gibbs_steps,
            sample_visible=self.sample_visible,
        )
        return gradient, chains, metrics


@dataclasses.dataclass(frozen=True)
class PCD:
    """Persistent contrastive divergence (`rbm.pcd_gradient`).

    Attributes:
      num_chains: number of persistent chains; about the batch size is usual.
      num_gibbs_steps: their Gibbs steps in each update.
    """

    num_chains: int = 100
    num_gibbs_steps: int = 1

    def init(self, key, params):
        """Hidden states of the chains, (num_chains, H)."""
        return rbm.init_chains(key, params, self.num_chains)

    def estimate(self, key, params, chains, batch):
        """See `Learner`."""
        return rbm.pcd_gradient(key, params, chains, batch, num_gibbs_steps=self.num_gibbs_steps)


class FastChains(NamedTuple):
    """What persists in fast PCD: `hidden` (chains, H), and the `fast` parameters."""

    hidden: Any
    fast: Any


@dataclasses.dataclass(frozen=True)
class FastPCD:
    """PCD whose chains run on params + fast parameters, which learn quickly and decay.

    The fast parameters raise the energy where the chains are, and so drive them on (Tieleman and
    Hinton 2009, section 4).

    Attributes:
      num_chains: number of persistent chains.
      num_gibbs_steps: their Gibbs steps in each update.
      fast_rate: learning rate of the fast parameters; the paper keeps it at the initial rate of
        the regular ones while that decays.
      fast_decay: factor on the fast parameters at each update; 19/20 in the paper.
    """

    num_chains: int = 100
    num_gibbs_steps: int = 1
    fast_rate: float = 0.05
    fast_decay: float = 0.95

    def __post_init__(self):
        if not self.fast_rate >= 0 or not 0 <= self.fast_decay <= 1:
            raise ValueError(
                f"fast_rate is {self.fast_rate} and fast_decay {self.fast_decay}; they must lie in "
                "[0, infinity) and [0, 1], or the fast parameters grow without bound"
            )

    def init(self, key, params):
        """Chains, and fast parameters of zero."""
        hidden = rbm.init_chains(key, params, self.num_chains)
        return FastChains(hidden, jax.tree.map(jnp.zeros_like, params))

    def estimate(self, key, params, chains, batch):
        """See `Learner`."""
        batch = rbm.as_batch(params, batch)
        fantasy_key, hidden_key = threefry.split(key)
        driven = jax.tree.map(jnp.add, params, chains.fast)
        v, _, inputs = rbm.fantasy(fantasy_key, driven, chains.hidden, self.num_gibbs_steps)
        hidden = driven.hidden.sample(hidden_key, inputs)
        gradient, metrics = rbm.contrast(
            params, batch, rbm.hidden_inputs(params, batch), v, rbm.hidden_inputs(params, v)
        )
        fast = jax.tree.map(
            lambda f, g: self.fast_decay * f - self.fast_rate * g, chains.fast, gradient
        )
        return gradient, FastChains(hidden, fast), metrics


@dataclasses.dataclass(frozen=True)
class ParallelTempering:
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
        if self.num_gibbs_steps < 1:
            raise ValueError(f"num_gibbs_steps is {self.num_gibbs_steps}; it must be at least 1")
        if not 0 <= self.min_beta < 1:
            raise ValueError(f"min_beta is {self.min_beta}; it must lie in [0, 1)")

    def init(self, key, params):
        """Hidden states, (num_temperatures, num_chains, H), level 0 the hottest."""
        chains = rbm.init_chains(key, params, self.num_temperatures * self.num_chains)
        return chains.reshape(self.num_temperatures, self.num_chains, -1)

    def estimate(self, key, params, chains, batch):
        """See `Learner`.

        Among the metrics is `swap_rate_k`, the mean probability that levels k and k + 1 accept an
        exchange. A rate near 0 means that the ladder is broken there: use more temperatures.
        """
        batch = rbm.as_batch(params, batch)
        if self.num_gibbs_steps > 1:
            chains = jax.lax.fori_loop(
                1,
                self.num_gibbs_steps,
                lambda t, h: self.sample(threefry.fold_in(key, t), params, h)[1],
                chains,
            )
        v, chains, inputs, swap_rates = self.sample(threefry.fold_in(key, 0), params, chains)
        gradient, metrics = rbm.contrast(
            params, batch, rbm.hidden_inputs(params, batch), v[-1], inputs[-1]
        )
        rates = {f"swap_rate_{k}": rate for k, rate in enumerate(swap_rates)}
        return gradient, chains, {**metrics, **rates}

    def sample(
        self, key: Key[Array, ""], params: rbm.RBM, h: Float[Array, "levels chains H"]
    ) -> tuple[Array, Array, Array, Array]:
        """One Gibbs step down and up at every level, then one round of exchanges.

        Args:
          key: consumed.
          params: the RBM.
          h: (num_temperatures, num_chains, H) hidden states.

        Returns:
          v and h after the exchanges, joint samples of each level; v's hidden inputs at β = 1; and
          the acceptance probability of each neighbouring pair, averaged over the chains,
          (num_temperatures − 1,).
        """
        down_key, up_key, swap_key, parity_key = threefry.split(key, 4)
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
        draws = threefry.uniform(swap_key, gain.shape).astype(gain.dtype)
        accept = (draws < jnp.exp(gain)) & jnp.broadcast_to(pair[:, None], gain.shape)
        up = jnp.pad(accept.astype(jnp.int32), ((0, 1), (0, 0)))
        down = jnp.pad(accept.astype(jnp.int32), ((1, 0), (0, 0)))
        source = jnp.broadcast_to(level[:, None], up.shape) + up - down

        def exchange(x):
            return jnp.take_along_axis(x, source[:, :, None], axis=0)

        return exchange(v), exchange(h), exchange(inputs), rates


class Offsets(NamedTuple):
    """What persists in a centred gradient: `visible` (V,), `hidden` (H,), the `inner` chains."""

    visible: Any
    hidden: Any
    inner: Any


@dataclasses.dataclass(frozen=True)
class Centred:
    """The centred gradient of another learner's gradient.

    Gradient descent in the parameters of E = U_v + U_h − (s_v − μ)ᵀW(s_h − λ), mapped back to the
    ordinary ones: learning no longer depends on which value of a unit is called 0 (Melchior et
    al. 2016, equations 8 to 12). The model itself is unchanged. A learnt σ is not centred: its own
    derivative is taken as it is, though s_v = v/σ and so μ depend on it.

    Attributes:
      learner: whose gradient is centred.
      model_share: offsets μ, λ are (1 − share) × data means + share × model means.
      sliding: weight of the present batch in the moving averages μ and λ. `model_share` 1/2 and
        `sliding` 1 make it the enhanced gradient of Cho et al. (2013).
    """

    learner: Learner = CD()
    model_share: float = 0.0
    sliding: float = 0.01

    def __post_init__(self):
        if not 0 <= self.model_share <= 1 or not 0 < self.sliding <= 1:
            raise ValueError(
                f"model_share is {self.model_share} and sliding {self.sliding}; "
                "they are shares, in [0, 1] and (0, 1]"
            )
        if self.model_share and isinstance(self.learner, Sparse):
            raise ValueError(
                f"model_share is {self.model_share}, and the model means would be read from a "
                "gradient that has the pull of Sparse in it; write Sparse(Centred(...))"
            )

    def init(self, key, params):
        """Offsets at the means under the biases alone, which `Units.fit` takes from the data."""
        visible = params.visible.mean_statistic(jnp.zeros_like(params.visible.bias))
        hidden = params.hidden.mean_statistic(jnp.zeros_like(params.hidden.bias))
        return Offsets(visible, hidden, self.learner.init(key, params))

    def estimate(self, key, params, chains, batch):
        """See `Learner`."""
        batch = rbm.as_batch(params, batch)
        gradient, inner, metrics = self.learner.estimate(key, params, chains.inner, batch)
        # Gradients along the coefficients of s: model means minus data means.
        visible_gap = params.visible.statistic_scale * gradient.visible.bias
        hidden_gap = params.hidden.statistic_scale * gradient.hidden.bias
        statistic = params.visible.statistic(batch)
        hidden_statistic = params.hidden.mean_statistic(rbm.hidden_inputs(params, batch))

        def slide(old, data_statistic, gap):
            axes = tuple(range(data_statistic.ndim - 1))
            new = jnp.mean(data_statistic, axis=axes) + self.model_share * gap
            return old + self.sliding * (new - old)

        mu = slide(chains.visible, statistic, visible_gap)
        lam = slide(chains.hidden, hidden_statistic, hidden_gap)
        weights = gradient.weights - jnp.outer(mu, hidden_gap) - jnp.outer(visible_gap, lam)
        visible_change = -params.visible.statistic_scale * (weights @ lam)
        hidden_change = -params.hidden.statistic_scale * (mu @ weights)
        gradient = rbm.RBM(
            weights,
            gradient.visible.add_to_bias(visible_change),
            gradient.hidden.add_to_bias(hidden_change),
        )
        return gradient, Offsets(mu, lam, inner), metrics


class Activity(NamedTuple):
    """What persists with a sparsity target: `mean` activity (H,), and the `inner` chains."""

    mean: Any
    inner: Any


@dataclasses.dataclass(frozen=True)
class Sparse:
    """Another learner's gradient and a pull of each hidden unit's mean activity to a target.

    The cross-entropy penalty of the guide, section 11: its derivative by a unit's total input,
    cost · (q − target) with q a moving average of the unit's mean, is applied to the bias and,
    times the mean visible statistic, to the incoming weights.

    Attributes:
      learner: whose gradient is meant.
      target: wanted mean activity; the guide suggests 0.01 to 0.1 for binary units.
      cost: strength of the pull.
      decay: of the moving average; the guide suggests 0.9 to 0.99.
    """

    learner: Learner = CD()
    target: float = 0.1
    cost: float = 0.1
    decay: float = 0.9

    def __post_init__(self):
        if not self.cost >= 0 or not 0 <= self.decay < 1:
            raise ValueError(
                f"cost is {self.cost} and decay {self.decay}; they must lie in [0, infinity) and "
                "[0, 1): a negative cost pushes activities away from their target"
            )

    def init(self, key, params):
        """Activities at their target, so that nothing pulls at first.

        Raises:
          ValueError: the hidden units cannot have the target for a mean.
        """
        for part in params.hidden.elements():
            low, high = part.support
            if not low < self.target < high:
                raise ValueError(
                    f"target is {self.target}; the mean of {type(part).__name__} hidden units "
                    f"lies between {low:g} and {high:g}"
                )
        mean = jnp.full_like(params.hidden.bias, self.target)
        return Activity(mean, self.learner.init(key, params))

    def estimate(self, key, params, chains, batch):
        """See `Learner`."""
        batch = rbm.as_batch(params, batch)
        gradient, inner, metrics = self.learner.estimate(key, params, chains.inner, batch)
        axes = tuple(range(batch.ndim - 1))
        active = jnp.mean(params.hidden.mean(rbm.hidden_inputs(params, batch)), axis=axes)
        mean = self.decay * chains.mean + (1 - self.decay) * active
        pull = self.cost * (mean - self.target)
        statistic = jnp.mean(params.visible.statistic(batch), axis=axes)
        gradient = dataclasses.replace(
            gradient,
            weights=gradient.weights + jnp.outer(statistic, pull),
            hidden=gradient.hidden.add_to_bias(pull),
        )
        return gradient, Activity(mean, inner), metrics


def _scale(factors, x):
    """Multiplies by one factor for each entry of the first axis."""
    return x * jnp.broadcast_to(factors.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
