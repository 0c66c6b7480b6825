"""The variational bound of a deep belief net: its terms, by enumeration and by samples.

With the recognition distribution q of the hidden layers h¹ … hᴸ below the top RBM, whose free
energy is F, and with h⁰ = v,

    log p(v) + log Z_top = Σ_l E_q[log p(hˡ⁻¹ | hˡ)] + H(q) − E_q[F(hᴸ)] + KL(q ‖ p(h | v)).
                           reconstruction             entropy   prior       slack

Everything but the slack is the bound. No partition function is left but that of the top RBM: those
of the layers below cancel, as `goodnesses` shows layer by layer. `dbn_jax.learning.bound_gradient`
ascends the bound.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), equation
8; Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks" (2008).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import dbn, label_units, pytrees, rbm
from dbn_jax.typing import Array, Float, Key

MAX_STATES = 2**20  # of all hidden layers together, that `exact` enumerates at most


@pytrees.dataclass
class Terms:
    """The terms of the bound on log p(v), plus log Z of the top RBM; nats.

    Attributes:
      reconstruction: log-probability of each layer given the one above, summed over the layers.
      entropy: of the recognition distribution; −log q of the states, where these are drawn.
      prior: minus the top RBM's free energy.
    """

    reconstruction: Any
    entropy: Any
    prior: Any

    @property
    def total(self) -> Array:
        """Their sum: the bound plus log Z of the top RBM."""
        return self.reconstruction + self.entropy + self.prior


@functools.partial(jax.jit, inline=True)
def sample_terms(
    key: Key[Array, ""],
    net: dbn.Net,
    v: Float[Array, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
) -> Terms:
    """The terms for one sample of the recognition distribution; their means are the bound's.

    The total is log p*(v, h) − log q(h | v), with p* the net's unnormalised probability, the top
    RBM's hidden units summed out. If q is the true posterior, it does not vary; the mean of exp of
    it over samples, an importance sampler, gives the likelihood itself (Salakhutdinov and Murray
    2008, equation 18).

    Args:
      key: consumed; the states are those that `dbn.sample_recognition` draws with it.
      net: the net.
      v: (..., V) pixels.
      labels: (..., L) known labels, for log p(v, labels); required if the net has label units.

    Returns:
      Terms of shape (...).

    Raises:
      ValueError: the net has label units, and `labels` is missing.
    """
    label_units.check(net.top, labels)
    return _terms(net, dbn.sample_recognition(key, net, v), labels)


@functools.partial(jax.jit, inline=True)
def exact(
    net: dbn.Net, v: Float[Array, "*batch V"], labels: Float[Array, "*batch L"] | None = None
) -> tuple[Terms, Float[Array, "*batch"]]:
    """The terms of the bound, and the log-likelihood, by enumeration of the recognised layers.

    Args:
      net: the net, whose hidden layers below the top RBM have few states.
      v: (..., V) pixels.
      labels: see `sample_terms`.

    Returns:
      Terms of shape (...), and log p(v) plus log Z of the top RBM, (...). The difference of the
      latter from `Terms.total` is the slack, KL(q ‖ p(h | v)).

    Raises:
      ValueError: there are more than `MAX_STATES` states, or `labels` is missing.
    """
    label_units.check(net.top, labels)
    counts = [layer.hidden.num_states for layer in net.recognition]
    number = math.prod(counts)
    if number > MAX_STATES:
        raise ValueError(
            f"the hidden layers below the top RBM have 2^{math.log2(number):.3g} states together; "
            f"at most 2^{math.log2(MAX_STATES):.3g} are enumerated: draw some with `sample_terms`"
        )
    index, states = jnp.arange(number), []
    for layer, count in zip(reversed(net.recognition), reversed(counts), strict=True):
        states.insert(0, layer.hidden.states(index % count))
        index //= count

    def repeated(x):
        return jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], number, x.shape[-1]))

    states = [jnp.broadcast_to(h, (*v.shape[:-1], *h.shape)) for h in states]
    each = _terms(net, (repeated(v), *states), None if labels is None else repeated(labels))
    q = jnp.exp(-each.entropy)

    def mean(x):
        return jnp.sum(q * x, axis=-1)

    log_p = jax.nn.logsumexp(each.reconstruction + each.prior, axis=-1)
    return jax.tree.map(mean, each), log_p


def _terms(net, states, labels):
    zeros = jnp.zeros_like(states[0][..., 0])
    reconstruction = sum(log_conditionals(net.generative, states), start=zeros)
    entropy = zeros
    for layer, (below, above) in zip(net.recognition, itertools.pairwise(states), strict=True):
        entropy -= layer.hidden.log_prob(above, rbm.hidden_inputs(layer, below))
    prior = -rbm.free_energy(net.top, label_units.join(net.top, states[-1], labels))
    return Terms(reconstruction, entropy, prior)


def log_conditionals(
    generative: tuple[rbm.RBM, ...], states: Sequence[Float[Array, "..."]]
) -> list[Float[Array, "*batch"]]:
    """Log-probability of each layer's states given those above: pixels first, (...) each."""
    return [
        layer.visible.log_prob(below, rbm.visible_inputs(layer, above))
        for layer, (below, above) in zip(generative, itertools.pairwise(states), strict=True)
    ]


@functools.partial(jax.jit, inline=True)
def goodnesses(
    key: Key[Array, ""],
    net: dbn.Net,
    v: Float[Array, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
) -> Float[Array, "..."]:
    """The bound plus log Z of the top RBM as a sum over layers, for one sample of recognition.

    Write Fˡ for the free energy of layer l's RBM as a function of its visible units, and F̄ˡ as one
    of its hidden units. With tied weights the entropy and the log-probabilities of the layers below
    telescope, every partition function but the top's cancels, and

        log p(v) ≥ −F¹(v) + Σ_{l≥1} E_q[F̄ˡ(hˡ) − Fˡ⁺¹(hˡ)] − log Z_top.

    The first entry is layer 1's goodness alone. Each further one is what the layer added on top
    finds its data better than the layer below did: zero where it is that layer turned upside down.

    Args:
      key: consumed; the states are those that `dbn.sample_recognition` draws with it.
      net: the net, of tied weights.
      v: (..., V) pixels.
      labels: see `sample_terms`.

    Returns:
      (layers, ...), nats, whose sum over the layers has the mean of `sample_terms`' total.

    Raises:
      TypeError: recognition and generative weights are apart, so that nothing telescopes.
      ValueError: the net has label units, and `labels` is missing.
    """
    if not isinstance(net, dbn.DBN):
        raise TypeError(
            f"the net is a {type(net).__name__}; goodnesses are of tied weights (dbn.DBN), "
            "`sample_terms` and `exact` have the bound of any net"
        )
    label_units.check(net.top, labels)
    states = dbn.sample_recognition(key, net, v)
    visible = (*states[:-1], label_units.join(net.top, states[-1], labels))
    entries = [-rbm.free_energy(layer, x) for layer, x in zip(net.layers, visible, strict=True)]
    for i, (below, h) in enumerate(zip(net.recognition, states[1:], strict=True), 1):
        inputs = rbm.visible_inputs(below, h)
        entries[i] += below.hidden.energy(h) - below.visible.cumulant(inputs)
    return jnp.stack(entries)
