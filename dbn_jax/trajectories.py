"""What a net does over time: its chains, with everything that a picture of them needs.

A net has something on its mind when its hidden units are in states that an image would have brought
about: the image is what those states stand for. So a `Moment` holds both, the states of all hidden
layers and the pixels that one pass down makes of them. It comes about in two ways: `perceive`
shows the net an image, from the bottom up; `imagine` generates, from the top down. A `trajectory`
is Gibbs sampling in the top RBM, looked at now and then.

Keys are consumed; "..." are batch axes; V pixels, H units of the last hidden layer, x (..., X) the
visible states of the top RBM: features, then any labels. Nets have label units or none.

Reference: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
7, "Looking into the mind of a neural network".
"""

import jax
import jax.numpy as jnp

from dbn_jax import dbn, label_units, pytrees, random, rbm
from dbn_jax.typing import Array, Bool, Float, Int, Key


@pytrees.dataclass
class Moment:
    """What a net does at one moment, or, with leading axes, at many.

    Attributes:
      pixels: what it is shown; or the means of the pixels given the states above them.
      hidden: the states of every hidden layer, first to last.
      labels: probability of each label unit given the last hidden layer; an empty axis for a net
        without label units.
    """

    pixels: Float[Array, "*batch V"]
    hidden: tuple[Float[Array, "*batch _"], ...]
    labels: Float[Array, "*batch L"]


def perceive(
    key: Key[Array, ""], net: dbn.Net, v: Float[Array, "*batch V"]
) -> tuple[Moment, Float[Array, "*batch X"]]:
    """Shows the net images: stochastic recognition, the label units neutral.

    Returns:
      The moment, its pixels those shown; and x, from which a trajectory starts.
    """
    up_key, top_key = random.split(key)
    _, *states = seen = dbn.sample_recognition(up_key, net, v)
    x = label_units.join(net.top, seen[-1])
    h = rbm.sample_hidden(top_key, net.top, x)
    return Moment(v, (*states, h), _label_means(net, h)), x


def imagine(
    key: Key[Array, ""], net: dbn.Net, x: Float[Array, "*batch X"], h: Float[Array, "*batch H"]
) -> Moment:
    """One stochastic pass down from visible and hidden states of the top RBM."""
    if not net.generative:
        return Moment(dbn.down_pass(net, h), (h,), _label_means(net, h))
    pixels, *states = dbn.sample_generation(key, net, label_units.split(net.top, x)[0])
    return Moment(pixels, (*states, h), _label_means(net, h))


def trajectory(
    key: Key[Array, ""],
    net: dbn.Net,
    x: Float[Array, "*batch X"],
    clamped: Bool[Array, "..."],
    intervals: Int[Array, " times"],
) -> tuple[Moment, Float[Array, "*batch X"]]:
    """Gibbs sampling in the top RBM with units clamped, and a pass down now and then.

    The passes down only look: the chains do not depend on how often they are looked at, but for
    the random numbers used. Interval t uses ``fold_in(key, t)``, split for the chains and the pass
    down.

    Args:
      clamped: see `label_units.clamped_gibbs`.
      intervals: Gibbs steps before each moment since the one before, at least 1 each.

    Returns:
      The moments, (times, ...); and the x from which the chains can go on.
    """

    def go_on(x, interval):
        t, num_steps = interval
        gibbs_key, down_key = random.split(random.fold_in(key, t))
        x, h = label_units.clamped_gibbs(gibbs_key, net.top, x, clamped, num_steps)
        return x, imagine(down_key, net, x, h)

    x, moments = jax.lax.scan(go_on, x, (jnp.arange(len(intervals)), intervals))
    return moments, x


def _label_means(net, h):
    return label_units.split(net.top, rbm.visible_mean(net.top, h))[1]
