"""Small models of sequences of every kind, and the same models in numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import rbm, temporal, units
from dbn_jax.temporal import cells
from tests import oracles
from tests.random_models import jolt

V, H, U = 3, 2, 4
BINARY = units.Bernoulli()
VISIBLE = {
    "binary": BINARY,
    "gaussian": units.Gaussian(),
    "gaussian_learnt": units.Gaussian(learn_sigma=True, sigma=0.7),
    "softmax": units.Softmax(num_classes=3),
    "voices": units.Concat((units.Softmax(num_classes=2), units.Bernoulli()), (2, 1)),
}
KINDS = ["none", "conditional", "style", "trbm", "rtrbm", "plain", "gru", "lstm"]
DETERMINISTIC = [kind for kind in KINDS if kind != "trbm"]


def make(kind, visible=BINARY, seed=0, scale=0.7, dtype=jnp.float64):
    """A model all of whose parameters are drawn at random."""
    key, options = jax.random.key(seed), {"visible": visible}
    match kind:
        case "none":
            model = temporal.init_conditional(key, V, H, order=0, **options)
        case "conditional" | "style":
            size = 2 if kind == "style" else 0
            model = temporal.init_conditional(key, V, H, order=2, style_size=size, **options)
        case "rtrbm" | "trbm":
            model = temporal.init_rtrbm(key, V, H, sampled=kind == "trbm", **options)
        case _:
            cell, carry = cells.make(key, kind, V, U)
            model = temporal.init_rnn_rbm(key, V, H, cell, carry, **options)
    return jolt(seed, jax.tree.map(lambda x: x.astype(dtype), model), scale)


def start(kind, model):
    """The memory before the first frame."""
    return model.start(jnp.array([1.0, 0.0])) if kind == "style" else model.start()


def draw(seed, num_frames, visible=BINARY, num_sequences=None, dtype=jnp.float64):
    """Frames that the visible units can take."""
    shape = (num_frames, V) if num_sequences is None else (num_sequences, num_frames, V)
    layer = visible.init(V, dtype)
    return layer.sample(jax.random.key(seed), jnp.zeros(shape, dtype))


def frames(kind, model, v):
    """The RBM of each frame of a sequence, from the equations, in numpy float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), model)
    layer = oracles.Layer.of(model.rbm.visible)
    past, result = [], []
    carry = None if kind in ("none", "conditional", "style") else p.initial
    for x in np.asarray(v, np.float64):
        a, b = np.zeros(V), np.zeros(H)
        match kind:
            case "conditional" | "style":
                before = past[::-1] + past[:1] * 2  # the first frame again
                padded = np.concatenate([*before, np.zeros(2 * V)])[: 2 * V]
                context = np.append(padded, [1.0, 0.0]) if kind == "style" else padded
                a, b = context @ p.to_visible, context @ p.to_hidden
            case "rtrbm" | "trbm":
                b = carry @ p.recurrent
            case "plain" | "gru" | "lstm":
                u = carry[1] if kind == "lstm" else carry
                a, b = u @ p.to_visible, u @ p.to_hidden
        params = rbm.RBM(
            model.rbm.weights,
            model.rbm.visible.add_to_bias(jnp.asarray(a)),
            model.rbm.hidden.add_to_bias(jnp.asarray(b)),
        )
        result.append(oracles.Model.of(params))
        s = layer.statistic(x)
        past.append(s)
        if carry is not None:
            carry = _next(kind, p, carry, s, b)
    return result


def _next(kind, p, carry, s, b):
    sigmoid = oracles.sigmoid
    if kind in ("rtrbm", "trbm"):
        return sigmoid(s @ p.rbm.weights + p.rbm.hidden.bias + b)
    inputs = s @ p.cell.dense_i.kernel[...]
    if p.cell.dense_i.bias is not None:
        inputs = inputs + p.cell.dense_i.bias[...]
    if kind == "plain":
        return sigmoid(inputs + carry @ p.cell.dense_h.kernel[...])
    h = carry[1] if kind == "lstm" else carry
    own = h @ p.cell.dense_h.kernel[...]
    if kind == "gru":
        (r, z, n), (hr, hz, hn) = np.split(inputs, 3), np.split(own, 3)
        r, z = sigmoid(r + hr), sigmoid(z + hz)
        return (1 - z) * np.tanh(n + r * hn) + z * h
    i, f, g, o = np.split(inputs + own + p.cell.dense_h.bias[...], 4)
    c = sigmoid(f) * carry[0] + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def log_probs(kind, model, v):
    """log p of each frame, by enumeration."""
    return np.array(
        [params.log_likelihood(x) for params, x in zip(frames(kind, model, v), v, strict=True)]
    )
