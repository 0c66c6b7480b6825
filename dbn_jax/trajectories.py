"""Trajectories of a net: its Gibbs chains, with the states and images that a picture needs.

What a net has on its mind is the image that its hidden states stand for: the image that would have
brought them about. So a `Moment` holds the states of all hidden layers, and the pixels that one
pass down makes of them. `perceive` makes a moment from an image, from the bottom up; `imagine`
generates one, from the top down. A `trajectory` is Gibbs sampling in the top RBM, with moments at
chosen steps.

Keys are consumed; "..." are batch axes; V pixels, H units of the last hidden layer, x (..., X) the
visible states of the top RBM: features, then any labels. Nets have label units or none.

Reference: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
7, "Looking into the mind of a neural network".
"""

import jax
import jax.numpy as jnp

from dbn_jax import clamping, dbn, label_units, pytrees, random, rbm
from dbn_jax.typing import AnyArray, Array, Bool, Float, Int, Key


@pytrees.dataclass
class Moment:
    """The state of a net at one moment or, with leading axes, at many.

    Attributes:
      pixels: the image that is shown; or the means of the pixels given the states above them.
      hidden: the states of every hidden layer, first to last.
      labels: probability of each label unit given the last hidden layer; an empty axis for a net
        without label units.
    """

    pixels: Float[Array, "*batch V"]
    hidden: tuple[Float[Array, "*batch _"], ...]
    labels: Float[Array, "*batch L"]


def perceive(
    key: Key[Array, ""], net: dbn.Net, v: Float[AnyArray, "*batch V"]
) -> tuple[Moment, Float[Array, "*batch X"]]:
    """Shows the net images: stochastic recognition, the label units neutral.

    Returns:
      The moment, with the pixels that are shown; and x, from which a trajectory can start.
    """
    up_key, top_key = random.split(key)
    pixels, *states = seen = dbn.sample_recognition(up_key, net, v)
    x = label_units.join(net.top, seen[-1])
    h = rbm.sample_hidden(top_key, net.top, x)
    return Moment(pixels, (*states, h), _label_means(net, h)), x


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
    x: Float[AnyArray, "*batch X"],
    clamped: Bool[Array, "..."],
    intervals: Int[Array, " times"],
) -> tuple[Moment, Float[Array, "*batch X"]]:
    """Gibbs sampling in the top RBM with units clamped, and a pass down after each interval.

    The passes down do not change the chains; other intervals only change their random numbers.
    Interval t uses ``fold_in(key, t)``, split for the chains and the pass
    down.

    Args:
      clamped: see `clamping.gibbs`.
      intervals: Gibbs steps before each moment since the one before, at least 1 each.

    Returns:
      The moments, (times, ...); and the x from which the chains can go on.
    """

    def go_on(x, interval):
        t, num_steps = interval
        gibbs_key, down_key = random.split(random.fold_in(key, t))
        x, h = clamping.gibbs(gibbs_key, net.top, x, clamped, num_steps)
        return x, imagine(down_key, net, x, h)

    x = rbm.as_visible(net.top, x)
    x, moments = jax.lax.scan(go_on, x, (jnp.arange(len(intervals)), intervals))
    return moments, x


def _label_means(net, h):
    return label_units.split(net.top, rbm.visible_mean(net.top, h))[1]
