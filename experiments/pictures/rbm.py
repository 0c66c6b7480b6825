"""The pictures of `train_rbm`: features, reconstructions, chains, samples, histograms."""

import jax
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, figures, rbm
from experiments.common.data_settings import Pixels
from experiments.pictures import steps

_NUM_SHOWN = 24
_NUM_CHAINS = 8
_NUM_SAMPLES = 60


def draw(
    key: jax.Array,
    params: rbm.RBM,
    dataset: data.Dataset,
    pixels: Pixels,
    *,
    unfamiliar: data.Split | None,
    chains: jax.Array | None,
    num_steps: int,
) -> dict[str, Figure]:
    """Draws the pictures of an RBM.

    Args:
      unfamiliar: images of other classes, if there are any.
      chains: (N, H) hidden states of its persistent chains, if any.
      num_steps: Gibbs steps before a sample.
    """
    data_key, start_key, sample_key, chain_key = jax.random.split(key, 4)
    shape = dataset.image_shape
    _, held_out = dataset.held_out

    def visible(images):
        return data.apply(pixels, data_key, images)

    def grey(v):
        return np.clip(dataset.pictures(np.asarray(pixels.grey(v), np.float32)), 0, 1)

    def reconstructions(images, title):
        v = visible(data.spread(images, _NUM_SHOWN))
        rows = {"data": grey(v), "reconstruction": grey(rbm.reconstruct(params, v))}
        return figures.image_rows(rows, image_shape=shape, title=title)

    kind = type(params.hidden).__name__
    pictures = {
        "features": figures.receptive_fields(
            params.weights,
            image_shape=shape,
            title=f"Weights of the hidden units ({kind})",
        ),
        "reconstructions": reconstructions(
            held_out.images, "Unseen images and their reconstructions"
        ),
        "histograms": figures.histograms(
            {
                "weights": params.weights,
                "visible biases": params.visible.bias,
                "hidden biases": params.hidden.bias,
            },
            title="Distribution of weights and biases",
        ),
    }
    if unfamiliar is not None:
        known = " or ".join(dataset.class_name(label) for label in np.unique(dataset.train.labels))
        pictures["unfamiliar"] = reconstructions(
            unfamiliar.images, f"Images of classes other than {known}, and their reconstructions"
        )
    milestones = [0, *steps.milestones(num_steps)]
    start = rbm.init_chains(start_key, params, _NUM_CHAINS)
    pictures["chains"] = figures.chains(
        grey(_chain(chain_key, params, start, milestones)),
        image_shape=shape,
        steps=milestones,
        title="Gibbs sampling from random hidden states",
        subtitle="means of the visible units",
    )
    start, where = chains, f"{steps.in_words(num_steps)} more of the persistent chains of training"
    if chains is None:
        images = data.spread(held_out.images, _NUM_SAMPLES)
        start = rbm.sample_hidden(start_key, params, visible(images))
        where = f"{steps.in_words(num_steps)} from unseen images"
    samples = _chain(sample_key, params, data.spread(start, _NUM_SAMPLES), (num_steps,))[-1]
    pictures["samples"] = figures.image_sheet(
        grey(samples),
        image_shape=shape,
        columns=12,
        title="Samples of the RBM",
        subtitle=f"{where}; means of the visible units",
    )
    low, high = params.hidden.support
    if np.isfinite(high - low):
        means = rbm.hidden_mean(params, visible(data.spread(held_out.images, 200)))
        pictures["hidden"] = figures.hidden_activities(
            means, title="Activities of the hidden units on unseen images", value_range=(low, high)
        )
    return pictures


def _chain(key, params, h, milestones):
    """The visible means of chains after each of these numbers of Gibbs steps: (T, chains, V)."""
    frames, done = [], 0
    for step in milestones:
        h, mean = _advance(jax.random.fold_in(key, step), params, h, step - done)
        frames.append(mean)
        done = step
    return np.stack(frames)


@jax.jit
def _advance(key, params, h, num_steps):
    """Hidden states after some Gibbs steps (their number is traced), and visible means."""
    chain_key, up_key = jax.random.split(key)

    def advance(h):
        _, _, inputs = rbm.gibbs_from_hidden(chain_key, params, h, num_steps)
        return params.hidden.sample(up_key, inputs)

    h = jax.lax.cond(num_steps > 0, advance, lambda h: h, h)
    return h, rbm.visible_mean(params, h)
