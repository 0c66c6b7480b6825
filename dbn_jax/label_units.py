"""Label units: one softmax group beside the features that an RBM sees.

The visible units of an RBM with labels are ``Concat(parts=(features, Softmax(num_labels)))``. It
models features and labels jointly, x = (features, label): given a label it generates features, and
given features the posterior of the label is exact,

    p(label | features) = exp(−F(features, label)) / Σ_l exp(−F(features, l)).

On top of a deep belief net such an RBM is an associative memory (`dbn_jax.associative_memory`).
Nothing outside this module knows how label units are laid out.

Keys are consumed; "..." are batch axes; F features, L labels, V = F + L visible units, H hidden
units; energies and log-probabilities in nats. Label units that are needed and missing are a
ValueError.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
6; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann machines"
(2008), equation 2.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import linear, numerics, precision, rbm, units
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Bool, Float, Key


def visible_units(
    num_features: int, num_labels: int = 10, *, features: units.Units = units.Bernoulli()
) -> units.Concat:
    """Describes visible units: features of a type, then one group of label units."""
    return units.Concat(
        parts=(features, units.Softmax(num_classes=num_labels)), sizes=(num_features, num_labels)
    )


def init_params(
    key: Key[Array, ""],
    num_features: int,
    num_hidden: int,
    num_labels: int = 10,
    *,
    features: units.Units = units.Bernoulli(),
    **options: Any,
) -> rbm.RBM:
    """Makes an RBM over features and a label; the options are those of `rbm.init_params`.

    >>> top = init_params(jax.random.key(0), 500, 2000)
    >>> top.weights.shape
    (510, 2000)
    """
    visible = visible_units(num_features, num_labels, features=features)
    return rbm.init_params(key, num_features + num_labels, num_hidden, visible=visible, **options)


def num_labels(params: rbm.RBM) -> int:
    """Number of label units; 0 without."""
    layout = _layout(params)
    return 0 if layout is None else layout.sizes[1]


def require(params: rbm.RBM) -> int:
    """Number of label units, of which there must be some."""
    return _required(params).sizes[1]


def _layout(params: rbm.RBM) -> units.Concat | None:
    """The visible units, if they are features and a label."""
    match params.visible:
        case units.Concat(parts=(_, units.Softmax(num_classes=classes)), sizes=(_, count)) as both:
            return both if count == classes else None  # several groups are no label
    return None


def _required(params: rbm.RBM) -> units.Concat:
    layout = _layout(params)
    if layout is None:
        raise ValueError(
            "the RBM has no label units: make it (of a net, the top one) with "
            "label_units.init_params"
        )
    return layout


def check(params: rbm.RBM, labels: Array | None) -> None:
    """Raises ValueError unless states are given for all label units, and for these alone."""
    count = num_labels(params)
    if labels is None and count:
        raise ValueError(f"the RBM has {count} label units: give the labels' states")
    if labels is not None and labels.shape[-1] != count:
        raise ValueError(
            f"the labels have shape {labels.shape}, but the RBM has {count} label units: give the "
            "state of each in the last axis, or no labels if there are no label units"
        )


def parts(params: rbm.RBM) -> tuple[rbm.RBM, rbm.RBM]:
    """The RBM over the features alone and the one over the label, which share the hidden units."""
    layout, weights = _required(params), linear.dense(params.weights)
    (features, label), (_, count) = layout.parts, layout.sizes
    return (
        rbm.RBM(weights[:-count], features, params.hidden),
        rbm.RBM(weights[-count:], label, params.hidden),
    )


def without(params: rbm.RBM) -> rbm.RBM:
    """The RBM over the features alone; `params` itself if there are no label units."""
    return parts(params)[0] if num_labels(params) else params


def with_features(params: rbm.RBM, features: rbm.RBM) -> rbm.RBM:
    """Exchanges the features, their weights and the hidden units for those of an RBM over them."""
    layout = _layout(params)
    if layout is None:
        return features
    weights = linear.dense(features.weights)
    return rbm.RBM(
        linear.dense(params.weights).at[: len(weights)].set(weights),
        dataclasses.replace(layout, parts=(features.visible, layout.parts[1])),
        features.hidden,
    )


def join(
    params: rbm.RBM,
    features: Float[AnyArray, "*batch F"],
    labels: Float[Array, "*batch L"] | None = None,
) -> Float[Array, "*batch V"]:
    """Visible states: features and, if there are label units, labels beside them.

    None is the neutral state of the label units, 1/L each.
    """
    count = num_labels(params)
    if not count:
        return jnp.asarray(features)
    num_features, dtype = params.visible.num_units - count, params.weights.dtype
    features = numerics.as_states(features, num_features, dtype, "features of the RBM")
    if labels is None:
        labels = jnp.full((*features.shape[:-1], count), 1 / count)
    return jnp.concatenate([features, labels.astype(dtype)], axis=-1)


def split(
    params: rbm.RBM, x: Float[Array, "*batch V"]
) -> tuple[Float[Array, "*batch F"], Float[Array, "*batch L"]]:
    """The features and the labels (without label units an empty axis) of visible states."""
    features = x.shape[-1] - num_labels(params)
    return x[..., :features], x[..., features:]


def mask(params: rbm.RBM) -> Bool[Array, " V"]:
    """True at the label units."""
    count, size = require(params), params.visible.num_units
    return jnp.arange(size) >= size - count


@jit
@precision.full
def free_energies(
    params: rbm.RBM, features: Float[AnyArray, "*batch F"]
) -> Float[Array, "*batch L"]:
    """Free energies of features, or of their means, beside each label.

    Equal to ``rbm.free_energy(params, join(...))``.
    """
    inputs = rbm.hidden_inputs(without(params), features)
    return free_energies_given(params, features, inputs)


def free_energies_given(
    params: rbm.RBM, features: Float[AnyArray, "*batch F"], inputs: Float[Array, "*batch H"]
) -> Float[Array, "*batch L"]:
    """The same, given the hidden inputs of the features; see `rbm.free_energy_given`."""
    of_features, of_labels = parts(params)
    features = rbm.as_visible(of_features, features)

    def log_weight(label):
        weights, bias = label
        return bias + params.hidden.cumulant(inputs + jnp.broadcast_to(weights, inputs.shape))

    # One label after the other: all of them at once would need L times the hidden layer's memory.
    log_weights = jax.lax.map(log_weight, (of_labels.weights, of_labels.visible.bias))
    return of_features.visible.energy(features)[..., None] - jnp.moveaxis(log_weights, 0, -1)


def log_posterior(
    params: rbm.RBM, features: Float[AnyArray, "*batch F"]
) -> Float[Array, "*batch L"]:
    """log p(label | features), exact; see `free_energies`."""
    return jax.nn.log_softmax(-free_energies(params, features))
