"""Backpropagation: losses of the networks of `dbn_jax.networks`, and their learning with optax.

`split` parts a model into what is static and its arrays, the parameters of a learning state
(`rbm.init_state`); `step` makes an update of it. What is random, dropout, belongs to the loss.

Images may be `Examples` with weights. Keys are consumed; "..." are batch axes; B examples, V
pixels, L classes; losses in nats.

References: Hinton, Salakhutdinov, "Reducing the dimensionality of data with neural networks"
(2006); Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting"
(2014).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dbn_jax import networks, numerics, random, rbm, sharded
from dbn_jax.examples import Examples
from dbn_jax.learning import virtual_adversarial
from dbn_jax.train_state import Chains, Params
from dbn_jax.typing import AnyArray, Array, Float, Int, Key

Loss = Callable[[Key[Array, ""], Any, Any], tuple[Float[Array, ""], dict[str, Array]]]


def dropped_logits(
    key: Key[Array, ""],
    model: networks.Classifier,
    v: Float[AnyArray, "*batch V"],
    *,
    input_rate: float,
    hidden_rate: float,
) -> Float[Array, "*batch L"]:
    """Logits of a classifier while pixels and hidden units drop out, each at its rate."""
    keys = random.split(key, len(model.hidden) + 1)
    x = random.dropout(keys[0], networks.as_input(model, v), input_rate)
    for layer, layer_key in zip(model.hidden, keys[1:], strict=True):
        x = random.dropout(layer_key, layer.activities(x), hidden_rate)
    return model.softmax(x)


def classification_loss(
    key: Key[Array, ""],
    model: networks.Classifier,
    batch: tuple[Float[AnyArray, "B V"] | Examples[AnyArray], Int[AnyArray, " B"]],
    *,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    label_smoothing: float = 0.0,
    adversarial_radius: float = 0.0,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy of the labels, and a penalty on answers that change nearby.

    Args:
      label_smoothing: s; the target is 1 − s for the label, plus s/L for each class (Szegedy et
        al., "Rethinking the inception architecture for computer vision" 2016, section 7).
      adversarial_radius: how far the images move in `virtual_adversarial.penalty`, which is added
        with weight 1; 0 adds nothing. The same units drop out at both ends of the move.

    Returns:
      The loss; and "loss", without the penalty, and "error_rate" of the batch; with a radius,
      "adversarial_divergence" too.
    """
    examples, labels = Examples.of(batch[0]), batch[1]
    v = networks.as_input(model, examples.values)
    dropout_key, penalty_key = random.split(key)

    def answers(v):
        return dropped_logits(
            dropout_key, model, v, input_rate=input_dropout, hidden_rate=hidden_dropout
        )

    logits = answers(v)
    targets = numerics.one_hot(labels, logits.shape[-1], logits.dtype)
    targets = optax.smooth_labels(targets, label_smoothing)
    loss = examples.mean(optax.softmax_cross_entropy(logits, targets))
    wrong = jnp.argmax(logits, axis=-1).astype(labels.dtype) != labels
    metrics = {"loss": loss, "error_rate": examples.mean(wrong.astype(loss.dtype))}
    if not adversarial_radius:
        return loss, metrics
    penalty = examples.mean(
        virtual_adversarial.penalty(penalty_key, answers, v, logits, adversarial_radius)
    )
    return loss + penalty, metrics | {"adversarial_divergence": penalty}


def reconstruction_loss(
    key: Key[Array, ""], model: networks.Autoencoder, v: Float[AnyArray, "B V"] | Examples[AnyArray]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy of the pixels, per image: −Σᵢ [vᵢ log pᵢ + (1 − vᵢ) log(1 − pᵢ)].

    Pixels are in [0, 1].

    Returns:
      The loss; and "loss" and "squared_error" of the batch.
    """
    del key  # all losses take one
    examples = Examples.of(v)
    v = networks.as_input(model, examples.values)
    logits = model(v)
    loss = examples.mean(jnp.sum(numerics.softplus(logits) - v * logits, axis=-1))
    error = examples.mean(jnp.sum((v - jax.nn.sigmoid(logits)) ** 2, axis=-1))
    return loss, {"loss": loss, "squared_error": error}


def split(model: networks.Network) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """Parts a model into what is static, which is hashable, and its arrays."""
    graphdef, params = nnx.split(model)
    return graphdef, nnx.to_pure_dict(params)


def merge(graphdef: nnx.GraphDef, params: dict[str, Any]) -> networks.Network:
    """Joins what `split` parted."""
    return nnx.merge(graphdef, params)


def step(
    key: Key[Array, ""],
    state: rbm.State[Params, Chains],
    batch: Any,
    *,
    graphdef: nnx.GraphDef,
    loss: Loss,
    optimizer: optax.GradientTransformation,
) -> tuple[rbm.State[Params, Chains], dict[str, Array]]:
    """One update by backpropagation; not compiled by itself.

    The model comes in the parts of `split`. The loss is (key, model, batch) -> (scalar, metrics),
    such as `reconstruction_loss`, or `classification_loss` with its settings (`functools.partial`).
    """

    def cost(params):
        return loss(key, merge(graphdef, params), batch)

    params = sharded.match_varying(batch, state.params)
    gradient, metrics = jax.grad(cost, has_aux=True)(params)
    return rbm.apply_gradient(state, gradient, optimizer), metrics


def kernel_mask(params: dict[str, Any]) -> dict[str, Any]:
    """True at the weight matrices of `split`'s arrays: what weight decay is for."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def top_first(num_updates: int) -> optax.GradientTransformation:
    """Lets only the softmax layer of a classifier change in the first updates.

    Last in a chain of transformations. So gradients of a new softmax layer, at first arbitrary,
    do not spoil what the layers below have learnt (Hinton and Salakhutdinov's program keeps them
    for 5 epochs).
    """

    def hold(updates: Any, state: Any, params: Any = None):
        del params
        free = state >= num_updates
        held = {
            name: part if name == "softmax" else jax.tree.map(lambda x: jnp.where(free, x, 0), part)
            for name, part in updates.items()
        }
        return held, state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), hold)
