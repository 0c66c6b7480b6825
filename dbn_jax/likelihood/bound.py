"""The variational bound of a deep belief net: its terms, by enumeration and by samples.

With the recognition distribution q of the hidden layers h¹ … hᴸ below the top RBM, whose free
energy is F, and with h⁰ = v,

    log p(v) + log Z_top = Σ_l E_q[log p(hˡ⁻¹ | hˡ)] + H(q) − E_q[F(hᴸ)] + KL(q ‖ p(h | v)).
                           reconstruction             entropy   prior       slack

Everything but the slack is the bound. The only partition function is that of the top RBM.
`dbn_jax.learning.bound_gradient` ascends the bound.

A net with label units needs labels (else ValueError), and its bound is that on log p(v, labels).
Keys are consumed; "..." are batch axes; V pixels, L labels; all terms in nats.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), equation
8; Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks" (2008).
"""

import math

import jax
import jax.numpy as jnp

from dbn_jax import dbn, label_units, precision, pytrees, rbm
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Float, Key

MAX_STATES = 2**20  # of all hidden layers together, that `exact` enumerates at most


@pytrees.dataclass
class Terms:
    """The terms of the bound on log p(v), plus log Z of the top RBM.

    Attributes:
      reconstruction: log-probability of each layer given the one above, summed over the layers.
      entropy: of the recognition distribution; of sampled states, −log q.
      prior: minus the top RBM's free energy.
    """

    reconstruction: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    prior: Float[Array, "*batch"]

    @property
    def total(self) -> Float[Array, "*batch"]:
        """Their sum: the bound plus log Z of the top RBM."""
        return self.reconstruction + self.entropy + self.prior


@jit
@precision.full
def sample_terms(
    key: Key[Array, ""],
    net: dbn.Net,
    v: Float[AnyArray, "*batch V"],
    labels: Float[Array, "*batch L"] | None = None,
) -> Terms:
    """The terms for one sample of the recognition distribution; their means are the bound's.

    The sample is the one that `dbn.sample_recognition` draws with this key. The total is
    log p*(v, h) − log q(h | v), with p* the net's unnormalised probability, the top RBM's hidden
    units summed out. If q is the true posterior, the total is the same for all samples. The mean of
    its exponential over samples is an importance-sampling estimate of p(v) times Z of the top RBM
    (Salakhutdinov and Murray 2008, equation 18).
    """
    label_units.check(net.top, labels)
    return _terms(net, dbn.sample_recognition(key, net, v), labels)


@jit
@precision.full
def exact(
    net: dbn.Net, v: Float[AnyArray, "*batch V"], labels: Float[Array, "*batch L"] | None = None
) -> tuple[Terms, Float[Array, "*batch"]]:
    """The terms of the bound, and the log-likelihood, by enumeration of the recognised layers.

    The log-likelihood is log p(v) plus log Z of the top RBM; its difference from `Terms.total` is
    the slack, KL(q ‖ p(h | v)).
    """
    v = dbn.as_pixels(net, v).values
    label_units.check(net.top, labels)
    hidden = [layer.hidden for layer in net.recognition]
    number = math.prod(units.num_states for units in hidden)
    _check_number(number)
    index, states = jnp.arange(number), []
    for units in reversed(hidden):
        states.insert(0, units.states(index % units.num_states))
        index //= units.num_states

    def repeated(x):
        return jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], number, x.shape[-1]))

    states = [jnp.broadcast_to(h, (*v.shape[:-1], *h.shape)) for h in states]
    each = _terms(net, (repeated(v), *states), None if labels is None else repeated(labels))
    q = jnp.exp(-each.entropy)
    log_p = jax.nn.logsumexp(each.reconstruction + each.prior, axis=-1)
    return jax.tree.map(lambda term: jnp.sum(q * term, axis=-1), each), log_p


def _check_number(number):
    if number > MAX_STATES:
        raise ValueError(
            f"the hidden layers below the top RBM have 2^{math.log2(number):.3g} states together; "
            f"at most 2^{math.log2(MAX_STATES):.3g} are enumerated: draw some with `sample_terms`"
        )


def _terms(net, states, labels):
    return Terms(
        reconstruction=dbn.log_generative(net.generative, states),
        entropy=-dbn.log_recognition(net.recognition, states),
        prior=-rbm.free_energy(net.top, label_units.join(net.top, states[-1], labels)),
    )
