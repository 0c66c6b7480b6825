"""Learners around another: centred, with a sparsity target, for examples with missing values.

References: Cho, Raiko, Ilin, "Enhanced gradient for training restricted Boltzmann machines" (2013);
Melchior, Fischer, Wiskott, "How to center deep Boltzmann machines" (2016); Hinton's practical guide
(2010), section 11 (sparsity).
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from dbn_jax import clamping, linear, random, rbm
from dbn_jax.learning.learners import CD, Learner
from dbn_jax.typing import Array, Float


class Offsets(NamedTuple):
    """What persists in a centred gradient: both offsets, and the inner learner's chains."""

    visible: Float[Array, " V"]
    hidden: Float[Array, " H"]
    inner: Any


class Activity(NamedTuple):
    """What persists with a sparsity target: mean activities, and the inner learner's chains."""

    mean: Float[Array, " K"]
    inner: Any


Kept = TypeVar("Kept", Offsets, Activity)


class _Wrapper(Learner[Kept]):
    """The chains are those of `learner`, which persist as `inner`."""

    learner: Learner

    @property
    def tells_means(self):
        return False

    def hidden_chains(self, chains):
        return self.learner.hidden_chains(chains.inner)

    def start_at(self, key, params, chains, x):
        return chains._replace(inner=self.learner.start_at(key, params, chains.inner, x))


@dataclasses.dataclass(frozen=True)
class Centred(_Wrapper[Offsets]):
    """The centred gradient of another learner's gradient.

    Gradient descent in the parameters of E = U_v + U_h − (s_v − μ)ᵀW(s_h − λ), mapped back to the
    ordinary ones: learning no longer depends on which value of a unit is called 0 (Melchior et
    al. 2016, equations 8 to 12). The model itself is unchanged. A learnt σ is not centred: its own
    derivative is taken as it is, though s_v = v/σ and so μ depend on it.

    Attributes:
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
        if self.model_share and not self.learner.tells_means:
            raise ValueError(
                f"model_share is {self.model_share}, but the gradient of {self.learner} has more "
                "in it than means of model and data, and does not tell those of the model; take a "
                "model_share of 0, or a label_cost of 0; for a sparsity target write "
                "Sparse(Centred(...))"
            )

    def init(self, key, params):
        """Offsets at the means under the biases alone, which `Units.fit` takes from the data."""
        for side in (params.visible, params.hidden):
            if side.bias.shape[-1] != side.num_units:
                raise ValueError(
                    f"{side.num_units} {type(side).__name__} units share {side.bias.shape[-1]} "
                    "biases; the centred gradient needs one for each: learn without `Centred`"
                )
        visible = params.visible.mean_statistic(jnp.zeros_like(params.visible.bias))
        hidden = params.hidden.mean_statistic(jnp.zeros_like(params.hidden.bias))
        return Offsets(visible, hidden, self.learner.init(key, params))

    def estimate(self, key, params, chains, batch):
        batch = rbm.as_batch(params, batch)
        gradient, inner, metrics = self.learner.estimate(key, params, chains.inner, batch)
        # Biases are the coefficients of s: model means minus data means.
        visible_gap, hidden_gap = gradient.visible.bias, gradient.hidden.bias
        statistic = params.visible.statistic(batch.values)
        hidden_statistic = params.hidden.mean_statistic(rbm.hidden_inputs(params, batch.values))

        def slide(old, data_statistic, gap):
            new = batch.unit_means(data_statistic) + self.model_share * gap
            return old + self.sliding * (new - old)

        mu = slide(chains.visible, statistic, visible_gap)
        lam = slide(chains.hidden, hidden_statistic, hidden_gap)
        weights = (
            linear.dense(gradient.weights) - jnp.outer(mu, hidden_gap) - jnp.outer(visible_gap, lam)
        )
        gradient = rbm.RBM(
            weights,
            gradient.visible.add_to_bias(-(weights @ lam)),
            gradient.hidden.add_to_bias(-(mu @ weights)),
        )
        return gradient, Offsets(mu, lam, inner), metrics


@dataclasses.dataclass(frozen=True)
class Sparse(_Wrapper[Activity]):
    """Another learner's gradient and a pull of each hidden unit's mean activity to a target.

    The cross-entropy penalty of the guide, section 11: its derivative by a unit's total input,
    cost · (q − target) with q a moving average of the unit's mean, is applied to the bias and,
    times the mean visible statistic, to the incoming weights. Of units that share a bias q is the
    mean, and each of them is pulled.

    Attributes:
      target: wanted mean activity; the guide suggests 0.01 to 0.1 for binary units.
      cost: strength of the pull.
      decay: of the moving average; the guide suggests 0.9 to 0.99.
      bias_only: whether the weights are left alone. With a decay of 0 it is the rule of Lee,
        Ekanadham, Ng, "Sparse deep belief net model for visual area V2" (2008).
    """

    learner: Learner = CD()
    target: float = 0.1
    cost: float = 0.1
    decay: float = 0.9
    bias_only: bool = False

    def __post_init__(self):
        if not self.cost >= 0 or not 0 <= self.decay < 1:
            raise ValueError(
                f"cost is {self.cost} and decay {self.decay}; they must lie in [0, infinity) and "
                "[0, 1): a negative cost pushes activities away from their target"
            )

    def init(self, key, params):
        """Activities at their target, so that nothing pulls at first."""
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
        batch = rbm.as_batch(params, batch)
        gradient, inner, metrics = self.learner.estimate(key, params, chains.inner, batch)
        active = batch.unit_means(params.hidden.mean(rbm.hidden_inputs(params, batch.values)))
        sharing = params.hidden.num_units // params.hidden.bias.shape[-1]
        active = params.hidden.total_shared(active) / sharing
        mean = self.decay * chains.mean + (1 - self.decay) * active
        pull = params.hidden.spread(self.cost * (mean - self.target))
        weights = gradient.weights
        if not self.bias_only:
            statistic = batch.unit_means(params.visible.statistic(batch.values))
            outer = linear.outer_total(statistic[None], pull[None], like=params.weights)
            weights = jax.tree.map(jnp.add, weights, outer)
        hidden = gradient.hidden.add_to_bias(params.hidden.total_shared(pull))
        gradient = dataclasses.replace(gradient, weights=weights, hidden=hidden)
        return gradient, Activity(mean, inner), metrics


@dataclasses.dataclass(frozen=True)
class Incomplete(Learner):
    """Another learner's gradient on examples whose missing values are filled in.

    Each estimate fills them in anew by `clamping.impute`. If that draws from p(missing | observed),
    the gradient of the filled-in log-likelihood is an unbiased estimate of that of
    log p(observed): the missing units are free in the positive phase. Batches are `Examples` that
    say what is observed.

    Attributes:
      num_gibbs_steps: to fill in; too few leave the values near the biases' own.
    """

    learner: Learner = CD()
    num_gibbs_steps: int = 10

    def __post_init__(self):
        rbm.check_steps(self.num_gibbs_steps)

    def init(self, key, params):
        return self.learner.init(key, params)

    def estimate(self, key, params, chains, batch):
        fill_key, key = random.split(key)
        examples = rbm.as_examples(params, batch)
        if examples.observed is not None:
            filled = clamping.impute(
                fill_key, params, examples.values, examples.observed, self.num_gibbs_steps
            )
            examples = examples.with_values(filled)
        return self.learner.estimate(key, params, chains, examples)

    def hidden_chains(self, chains):
        return self.learner.hidden_chains(chains)

    def start_at(self, key, params, chains, x):
        return self.learner.start_at(key, params, chains, x)
