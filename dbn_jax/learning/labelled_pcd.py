"""Learning of an associative memory by persistent chains that keep their labels.

Free chains of a memory over features and labels seldom change class. Learning then cannot tell a
class that has lost its chains from one that is improbable, and whole classes are lost to others.
Here each chain keeps its label. Chains with a clamped label are samples of p(features | label), so
that persistent CD maximises

    log p(features | label),

and every class keeps its chains for ever. They do not tell how probable the classes are: the
gradient of this term with respect to the label biases is zero. How labels follow from features is
learnt by a second term,

    label_cost · log p(label | features),

whose gradient is exact. With a cost of 1 the sum of both is the composite likelihood of the two
blocks of variables, a pseudo-likelihood, whose maximum is the distribution of the data if the model
can represent it. A larger cost makes the memory a better classifier.

References: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
gradient" (2008); Besag, "Statistical analysis of non-lattice data" (1975), for pseudo-likelihood;
Larochelle and Bengio, "Classification using discriminative restricted Boltzmann machines" (2008),
for the exact gradient of log p(label | features) and the hybrid with a generative one.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import label_units, numerics, parallel, random, rbm, sharded
from dbn_jax.data import blocks
from dbn_jax.learning.learners import Learner
from dbn_jax.typing import Array, Float


class LabelledChains(NamedTuple):
    """The persistent chains: their `hidden` states, and their one-hot `labels`."""

    hidden: Float[Array, "chains H"]
    labels: Float[Array, "chains L"]


@dataclasses.dataclass(frozen=True)
class LabelledPCD(Learner[LabelledChains]):
    """Descends −log p(features | label) − label_cost · log p(label | features).

    Attributes:
      num_chains: at least one for each label; they are shared out evenly.
      num_gibbs_steps: of the chains in each update.
      label_cost: weight of log p(label | features). With 0, recognition is not learnt.
    """

    num_chains: int = 100
    num_gibbs_steps: int = 1
    label_cost: float = 1.0

    def __post_init__(self):
        rbm.check_steps(self.num_gibbs_steps)
        if self.label_cost < 0:
            raise ValueError(f"label_cost is {self.label_cost}; it must not be negative")

    def init(self, key, params):
        """Draws hidden states from their biases alone; the chains take the labels in turn."""
        num_labels = label_units.require(params)
        if self.num_chains < num_labels:
            raise ValueError(
                f"num_chains is {self.num_chains}, but there are {num_labels} labels, and each "
                "needs a chain of its own at least"
            )
        labels = jnp.arange(self.num_chains, dtype=jnp.int32) % num_labels
        return LabelledChains(
            rbm.init_chains(key, params, self.num_chains),
            numerics.one_hot(labels, num_labels, params.weights.dtype),
        )

    def estimate(self, key, params, chains, batch):
        """The batch is features, then one-hot labels; `label_loss` is −log p(label | features)."""
        batch = rbm.as_batch(params, batch)
        features, labels = label_units.split(params, batch.values)
        chains = parallel.shard(chains)
        x, hidden = self.sample(key, params, chains)
        # A chain stands for the examples of its class: to it goes its part of their share.
        share = batch.unit_means(labels)
        weights = chains.labels @ (share / jnp.sum(chains.labels, axis=0))

        def loss(params):
            inputs = rbm.hidden_inputs(label_units.without(params), features)
            energies = label_units.free_energies_given(params, features, inputs)
            data = batch.mean(jnp.sum(labels * energies, axis=-1))
            free_energy = rbm.free_energy_given(params, x, rbm.hidden_inputs(params, x))
            fantasies = jnp.sum(weights * free_energy)
            log_p = jax.nn.log_softmax(-energies)
            label_loss = -batch.mean(jnp.sum(labels * log_p, axis=-1))
            return data - fantasies + self.label_cost * label_loss, (data, fantasies, label_loss)

        gradient, (data, fantasies, label_loss) = jax.grad(loss, has_aux=True)(
            sharded.match_varying(batch.values, params)
        )
        metrics = {
            "free_energy_data": data,
            "free_energy_fantasies": fantasies,
            "gradient_norm": optax.tree.norm(gradient),
            "label_loss": label_loss,
        }
        return gradient, chains._replace(hidden=hidden), metrics

    @property
    def tells_means(self):
        return self.label_cost == 0

    def hidden_chains(self, chains):
        return chains.hidden

    def start_at(self, key, params, chains, x):
        """Each chain at an example of its own label; where none has it, at the first example.

        Not for compiled code.
        """
        seen = np.asarray(label_units.split(params, x)[1]).argmax(axis=-1)
        wanted = np.asarray(chains.labels).argmax(axis=-1)
        rows = blocks.rows_with_labels(seen, wanted)
        return chains._replace(hidden=rbm.sample_hidden(key, params, x[rows]))

    def sample(self, key, params, chains):
        """Gibbs sampling of p(features, h | label), `num_gibbs_steps` times down and up.

        Returns:
          Features beside the labels; and the hidden states drawn from them.
        """

        def step(t, carry):
            _, h = carry
            down_key, up_key = random.split(random.fold_in(key, t))
            features, _ = label_units.split(params, rbm.sample_visible(down_key, params, h))
            x = label_units.join(params, features, chains.labels)
            return x, rbm.sample_hidden(up_key, params, x)

        # One step has no loop: XLA then fuses across the phases of an update.
        x, h = step(0, (None, chains.hidden))
        if self.num_gibbs_steps > 1:
            x, h = jax.lax.fori_loop(1, self.num_gibbs_steps, step, (x, h))
        return x, h
