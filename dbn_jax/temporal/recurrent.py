"""RBMs with a recurrent memory: TRBM, RTRBM and RNN-RBM.

    TRBM      h_t ~ p(h | v_t, h_{t−1}),            b_t = b + Rᵀ h_{t−1}
    RTRBM     r_t = E[h | v_t, r_{t−1}],            b_t = b + Rᵀ r_{t−1}
    RNN-RBM   u_t = cell(u_{t−1}, s(v_t)),          b_t = b + Bᵀ u_{t−1},   a_t = a + Aᵀ u_{t−1}

In each, h are the hidden units of the frame's RBM, a and b its biases. The TRBM's memory is a
sample, through which no gradient passes: the *filter* of Sutskever and Hinton, which does not
correct what it remembered when later frames contradict it. The RTRBM's is a mean, and so learning
goes back through time. The RNN-RBM has a memory of its own: any recurrent cell of Flax NNX, or
whatever is called like one, ``cell(carry, x) -> (carry, y)``, with y the last leaf of the carry. It
is an RTRBM if that cell has the RBM's weights and biases, and A is zero.

References: Sutskever, Hinton, "Learning multilevel distributed representations for high-dimensional
sequences" (2007); Sutskever, Hinton, Taylor, "The recurrent temporal restricted Boltzmann machine"
(2008); Boulanger-Lewandowski, Bengio, Vincent, "Modeling temporal dependencies in high-dimensional
sequences: application to polyphonic music generation and transcription" (2012).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import pytrees, random, rbm, units
from dbn_jax.temporal.base import TemporalRBM
from dbn_jax.typing import Array, Float, Key


@pytrees.dataclass
class RTRBM(TemporalRBM):
    """The recurrent temporal RBM: it remembers the means of its hidden units.

    `initial` is r_0, before the first frame.
    """

    rbm: rbm.RBM
    recurrent: Float[Array, "H H"]
    initial: Float[Array, " H"]

    def start(self):
        """r_0."""
        return self.initial

    def update(self, key: Key[Array, ""], memory, v):
        """r_t."""
        del key
        return rbm.hidden_mean(self.frame(memory), v)

    def frame(self, memory):
        """The RBM of the next frame."""
        hidden = self.rbm.hidden.add_to_bias(memory @ self.recurrent)
        return dataclasses.replace(self.rbm, hidden=hidden)


@pytrees.dataclass
class TRBM(RTRBM):
    """The temporal RBM with its filter: it remembers a sample of its hidden units.

    Along the filter's draws, Π_t p(v_t | h_{t−1}) is an unbiased estimate of p(v_1, …, v_T).
    """

    def update(self, key, memory, v):
        """A draw of h_t."""
        return jax.lax.stop_gradient(rbm.sample_hidden(key, self.frame(memory), v))


@pytrees.dataclass
class RNNRBM(TemporalRBM):
    """An RBM whose biases a recurrent network sets; U is the size of the network's output.

    `initial` is the network's carry before the first frame.
    """

    rbm: rbm.RBM
    cell: Any
    to_visible: Float[Array, "U V"]
    to_hidden: Float[Array, "U H"]
    initial: Any

    def start(self):
        """The carry before the first frame."""
        return self.initial

    def update(self, key: Key[Array, ""], memory, v):
        """The carry after one more frame."""
        del key
        return self.cell(memory, self.rbm.visible.statistic(v))[0]

    def frame(self, memory):
        """The RBM of the next frame."""
        u = jax.tree.leaves(memory)[-1]
        return rbm.RBM(
            self.rbm.weights,
            self.rbm.visible.add_to_bias(u @ self.to_visible),
            self.rbm.hidden.add_to_bias(u @ self.to_hidden),
        )


def init_rtrbm(
    key: Key[Array, ""],
    num_visible: int,
    num_hidden: int,
    *,
    sampled: bool = False,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
) -> RTRBM:
    """Makes an RTRBM, or with `sampled` a TRBM; other arguments as those of `rbm.init_params`."""
    rbm_key, recurrent_key = random.split(key)
    params = rbm.init_params(
        rbm_key, num_visible, num_hidden, visible=visible, hidden=hidden, weight_scale=weight_scale
    )
    recurrent = weight_scale * jax.random.normal(recurrent_key, (num_hidden, num_hidden))
    return (TRBM if sampled else RTRBM)(params, recurrent, jnp.zeros(num_hidden))


def init_rnn_rbm(
    key: Key[Array, ""],
    num_visible: int,
    num_hidden: int,
    cell: Any,
    carry: Any,
    *,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
) -> RNNRBM:
    """Makes an RNN-RBM of a recurrent cell and its first carry, such as those of `cells.make`.

    >>> from dbn_jax.temporal import cells
    >>> cell, carry = cells.make(jax.random.key(0), "gru", 88, 100)
    >>> model = init_rnn_rbm(jax.random.key(1), 88, 150, cell, carry)
    >>> model.to_visible.shape
    (100, 88)
    """
    params = rbm.init_params(
        key, num_visible, num_hidden, visible=visible, hidden=hidden, weight_scale=weight_scale
    )
    size = jax.tree.leaves(carry)[-1].shape[-1]
    return RNNRBM(
        params, cell, jnp.zeros((size, num_visible)), jnp.zeros((size, num_hidden)), carry
    )
