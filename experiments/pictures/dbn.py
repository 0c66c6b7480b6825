"""The pictures of a net that `train_dbn` learnt: its features, reconstructions, chains, samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import associative_memory, data, dbn, figures, label_units, rbm
from dbn_jax.learning import labelled_pcd
from dbn_jax.training import workdir
from experiments.common import pretraining, recognition, shared

_NUM_FEATURES = 100
_NUM_SHOWN = 24
_NUM_SAMPLES = 100
_NUM_OF_CLASS = 10
_NUM_CHAINS = 8
_CHAIN_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)


def draw(
    run_dir: workdir.Workdir,
    dataset: data.Dataset,
    transform: data.Transform,
    net: dbn.DBN,
    *,
    sample_steps: int,
    seed: int,
    top_chains: object,
) -> dict[str, float]:
    """Draws the pictures of a net that was learnt.

    Args:
      run_dir: where they go.
      dataset: what it learnt from.
      transform: makes pixels of the data set's rows.
      net: with label units or without.
      sample_steps: Gibbs steps before a digit is shown.
      seed: of everything random.
      top_chains: what persisted while the top RBM learnt.

    Returns:
      Figures for the summary.
    """
    view_key, start_key, chain_key, sample_key = jax.random.split(jax.random.key(seed), 4)
    held_out = dataset.validation or dataset.test
    v = shared.transformed(transform, view_key, held_out.images)
    pictures = {f"features_{i + 1}": _features(net, i, dataset) for i in range(len(net.layers))}
    reconstruction = dbn.reconstruct(net, v)
    error = float(jnp.mean(jnp.sum((v - reconstruction) ** 2, axis=-1)))
    some = np.linspace(0, len(v) - 1, min(_NUM_SHOWN, len(v))).astype(int)
    pictures["reconstructions"] = figures.reconstructions(
        dataset.pictures(np.asarray(v)[some]),
        dataset.pictures(np.asarray(reconstruction)[some]),
        image_shape=dataset.image_shape,
        title="Unseen images, and what comes back from the top of the net",
        subtitle=f"mean squared error per image {error:.1f}, summed over the pixels",
    )
    if dbn.num_labels(net):
        classes = np.unique(dataset.train.labels)
        pictures["chains"] = _chains_of_classes(start_key, chain_key, net, dataset, classes)
        pictures["samples"] = _samples_of_classes(
            start_key,
            sample_key,
            net,
            dataset,
            classes,
            pretraining.unwrapped(top_chains),
            sample_steps,
        )
    else:
        start = rbm.init_chains(start_key, net.top, _NUM_CHAINS)
        pictures["chains"] = _chains(chain_key, net, dataset, start)
        start, where = (
            pretraining.persistent_hidden(top_chains),
            "the persistent chains of learning",
        )
        if start is None:
            start, where = dbn.up_pass(net, v)[-1], "unseen images"
        pictures["samples"] = _samples(sample_key, net, dataset, start, where, sample_steps)
    for name, picture in pictures.items():
        figures.save(picture, run_dir.figures / f"{name}.png")
    return {"reconstruction_error": error}


def _features(net: dbn.DBN, i: int, dataset: data.Dataset) -> Figure:
    return figures.receptive_fields(
        dbn.feature_images(net, i),
        image_shape=dataset.image_shape,
        title=f"What units of hidden layer {i + 1} stand for",
        subtitle="their weights projected to the pixels",
        scale="common" if i == 0 else "unit",
        max_units=min(net.layers[i].hidden.num_units, _NUM_FEATURES),
    )


def _chains_of_classes(start_key, key, net, dataset, classes) -> Figure:
    """A chain of each class, from random features."""
    x, mask = _start_from_labels(start_key, net, classes), label_units.mask(net.top)
    frames = []
    for t, (done, step) in enumerate(itertools.pairwise(_CHAIN_STEPS)):
        v, x = _imagine(jax.random.fold_in(key, t), net, x, mask, step - done)
        frames.append(v)
    return figures.chains(
        dataset.pictures(np.stack(frames)),
        image_shape=dataset.image_shape,
        steps=_CHAIN_STEPS[1:],
        row_labels=[f"class {label}" for label in classes],
        title="Gibbs sampling from random features",
        subtitle="a label unit clamped, and one pass down; means of the pixels",
    )


def _samples_of_classes(start_key, key, net, dataset, classes, chains, num_steps) -> Figure:
    labels = np.repeat(classes, _NUM_OF_CLASS)
    if isinstance(chains, labelled_pcd.LabelledChains):
        x, where = _start_from_chains(start_key, net, labels, chains), "the chains of learning"
    else:
        x, where = _start_from_labels(start_key, net, labels), "random features"
    samples, _ = _imagine(key, net, x, label_units.mask(net.top), num_steps)
    by_class = dataset.pictures(samples).reshape(len(classes), _NUM_OF_CLASS, -1)
    return figures.image_rows(
        {str(label): images for label, images in zip(classes, by_class, strict=True)},
        image_shape=dataset.image_shape,
        columns=_NUM_OF_CLASS,
        title="Generated by the net, a class in each row",
        subtitle=f"{num_steps} Gibbs steps from {where} with the label units clamped, and one "
        "pass down",
    )


def _start_from_chains(key, net, labels, chains):
    """Visible states of the top RBM from persistent chains of these labels, (N, F + L)."""
    taken = recognition.rows_with_labels(np.asarray(chains.labels).argmax(axis=-1), labels)
    x = rbm.sample_visible(key, net.top, chains.hidden[taken])
    return label_units.join(net.top, label_units.split(net.top, x)[0], chains.labels[taken])


def _chains(key, net, dataset, start) -> Figure:
    """Free chains from hidden states of the top RBM."""
    frames, h = [dbn.down_pass(net, start)], start
    for t, (done, step) in enumerate(itertools.pairwise(_CHAIN_STEPS)):
        v, h = _generate(jax.random.fold_in(key, t), net, h, step - done)
        frames.append(v)
    return figures.chains(
        dataset.pictures(np.stack(frames)),
        image_shape=dataset.image_shape,
        steps=_CHAIN_STEPS,
        title="Gibbs sampling from random states of the top layer",
        subtitle="and one pass down; means of the pixels",
    )


def _samples(key, net, dataset, start, where, num_steps) -> Figure:
    start = start[:_NUM_SAMPLES]
    samples, _ = _generate(key, net, start, num_steps)
    return figures.image_sheet(
        dataset.pictures(samples),
        image_shape=dataset.image_shape,
        columns=10 if len(start) % 10 == 0 else None,
        title="Generated by the net",
        subtitle=f"{num_steps} Gibbs steps from {where}, and one pass down",
    )


_start_from_labels = jax.jit(associative_memory.start_from_labels)
# The number of steps is traced: one program for all.
_generate = jax.jit(dbn.generate)
_imagine = jax.jit(associative_memory.generate)
