"""Learners: ways to estimate the gradient of the log-likelihood of an RBM.

A learner derives from `Learner`; its gradient is a descent direction, a tree like `params`, for any
optax optimizer. `Centred` and `Sparse` wrap any other. Maximum-likelihood learning with a long
chain (a *fantasy*) is `CD` with many steps: its gradient tends to that of `Exact`.

Keys are consumed; "..." are batch axes; V visible, H hidden units; log-probabilities in nats.

References: those of `dbn_jax.rbm` (CD, PCD); Tieleman and Hinton, "Using fast weights to improve
persistent contrastive divergence" (2009).
"""

import abc
import dataclasses
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dbn_jax import parallel, random, rbm, sharded
from dbn_jax.compilation import jit
from dbn_jax.data import blocks
from dbn_jax.examples import Batch
from dbn_jax.likelihood import partition
from dbn_jax.train_state import Chains
from dbn_jax.typing import Array, Float, Key


class Learner(abc.ABC, Generic[Chains]):
    """What every learner provides; nothing persists unless the subclass says what.

    `Learner[Chains]` tells type checkers what persists: its type, or None.

    Learners are hashable values with pure functions, such as frozen dataclasses: a program compiled
    for one serves all equal ones.
    """

    def init(self, key: Key[Array, ""], params: rbm.RBM) -> Any:
        """Makes what persists between updates: a pytree of arrays, or None. It can be traced."""
        return None

    @abc.abstractmethod
    def estimate(
        self,
        key: Key[Array, ""],
        params: rbm.RBM,
        chains: Chains,
        batch: Batch,
    ) -> tuple[rbm.RBM, Chains, rbm.Metrics]:
        """Returns a descent direction for −log p(batch), what persists, and scalar metrics."""

    @property
    def tells_means(self) -> bool:
        """Whether the gradient of each bias is a mean of the model minus that of the data."""
        return True

    def hidden_chains(self, chains: Chains) -> Float[Array, "chains H"] | None:
        """Returns the hidden states of the persistent chains (tempered: at β = 1), or None."""
        return None

    def start_at(
        self, key: Key[Array, ""], params: rbm.RBM, chains: Chains, x: Float[Array, "examples V"]
    ) -> Chains:
        """Moves persistent chains to examples, in turn; those that keep a label to ones of it."""
        return chains


def init_state(
    key: Key[Array, ""],
    params: rbm.RBM,
    *,
    learner: Learner[Chains],
    optimizer: optax.GradientTransformation,
) -> rbm.State[rbm.RBM, Chains]:
    """Starts learning with any learner."""
    return rbm.init_state(params, optimizer, chains=learner.init(key, params))


@jit(static_argnames=("learner", "optimizer"))
def step(
    key: Key[Array, ""],
    state: rbm.State[rbm.RBM, Chains],
    batch: Batch,
    *,
    learner: Learner[Chains],
    optimizer: optax.GradientTransformation,
) -> tuple[rbm.State[rbm.RBM, Chains], rbm.Metrics]:
    """One update with any learner; compiled when called directly, inlined inside a `jit`."""
    check_chains(learner, state.params, state.chains)
    gradient, chains, metrics = learner.estimate(key, state.params, state.chains, batch)
    return rbm.apply_gradient(state, gradient, optimizer, chains=chains), metrics


def check_chains(learner: Learner, params: rbm.RBM, chains: Any) -> None:
    """Raises ValueError if chains are another learner's; inside `shard_map` they may be fewer."""

    def described(tree):
        leaves, structure = jax.tree.flatten(tree)
        return structure, [(leaf.ndim, leaf.dtype) for leaf in leaves]

    if described(chains) != described(jax.eval_shape(learner.init, jax.random.key(0), params)):
        raise ValueError(f"state.chains are not those of {learner}: give `init_state` this learner")


@dataclasses.dataclass(frozen=True)
class Exact(Learner[None]):
    """The exact gradient, by enumerating the smaller layer: the oracle for all the others."""

    def estimate(self, key, params, chains, batch):
        """Gradient of −mean log p(batch); the metric is `log_likelihood`, nats per example."""
        del key
        batch = rbm.as_batch(params, batch)

        def loss(params):
            log_z = partition.exact_log_partition(params)
            return -batch.mean(partition.log_likelihood(params, batch.values, log_z))

        value, gradient = jax.value_and_grad(loss)(sharded.match_varying(batch.values, params))
        metrics = {"log_likelihood": -value, "gradient_norm": optax.tree.norm(gradient)}
        return gradient, chains, metrics


@dataclasses.dataclass(frozen=True)
class CD(Learner[None]):
    """Contrastive divergence; see `rbm.cd_gradient` for its settings."""

    num_gibbs_steps: int = 1
    sample_visible: bool = True

    def estimate(self, key, params, chains, batch):
        settings = dataclasses.asdict(self)
        gradient, metrics = rbm.cd_gradient(key, params, batch, **settings)
        return gradient, chains, metrics


@dataclasses.dataclass(frozen=True)
class PCD(Learner[Array]):
    """Persistent contrastive divergence (`rbm.pcd_gradient`).

    Attributes:
      num_chains: about the batch size is usual.
      num_gibbs_steps: of the chains in each update.
    """

    num_chains: int = 100
    num_gibbs_steps: int = 1

    def init(self, key, params):
        """Hidden states of the chains, (num_chains, H)."""
        return rbm.init_chains(key, params, self.num_chains)

    def estimate(self, key, params, chains, batch):
        return rbm.pcd_gradient(key, params, chains, batch, num_gibbs_steps=self.num_gibbs_steps)

    def hidden_chains(self, chains):
        return chains

    def start_at(self, key, params, chains, x):
        return hidden_at(key, params, x, len(chains))


def hidden_at(
    key: Key[Array, ""], params: rbm.RBM, x: Float[Array, "examples V"], num_chains: int
) -> Float[Array, "chains H"]:
    """Hidden states of chains, each drawn given an example, evenly spread over all of them."""
    return rbm.sample_hidden(key, params, x[blocks.spread_numbers(len(x), num_chains)])


class FastChains(NamedTuple):
    """What persists in fast PCD: hidden states, and the fast parameters."""

    hidden: Float[Array, "chains H"]
    fast: rbm.RBM


@dataclasses.dataclass(frozen=True)
class FastPCD(Learner[FastChains]):
    """PCD whose chains run on params + fast parameters, which learn quickly and decay.

    The fast parameters raise the energy where the chains are, and so drive them on (Tieleman and
    Hinton 2009, section 4).

    Attributes:
      num_chains: as in `PCD`.
      num_gibbs_steps: as in `PCD`.
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
        batch = rbm.as_batch(params, batch)
        fantasy_key, hidden_key = random.split(key)
        driven = jax.tree.map(jnp.add, params, chains.fast)
        v, _, inputs = rbm.gibbs_from_hidden(
            fantasy_key, driven, parallel.shard(chains.hidden), self.num_gibbs_steps
        )
        hidden = driven.hidden.sample(hidden_key, inputs)
        data_inputs = rbm.hidden_inputs(params, batch.values)
        gradient, metrics = rbm.contrastive_gradient(
            params, batch, data_inputs, v, rbm.hidden_inputs(params, v)
        )
        fast = jax.tree.map(
            lambda f, g: self.fast_decay * f - self.fast_rate * g, chains.fast, gradient
        )
        return gradient, FastChains(hidden, fast), metrics

    def hidden_chains(self, chains):
        return chains.hidden

    def start_at(self, key, params, chains, x):
        return chains._replace(hidden=hidden_at(key, params, x, len(chains.hidden)))
