"""Generates: images of each class, and a movie of a net at work; or dreams of sequences.

    python -m experiments.generate --workdir=runs/generated --pretrained=runs/updown

takes a net of `train_dbn`, `train_convolutional` or a fine-tuning, and draws in figures/

- `classes.png`: samples of each class in a row, with the label unit clamped and 1000 Gibbs
  iterations in the top RBM between two samples, as published;
- `forgetting.png`: how many iterations chains take to leave the class that they started from, and
  to reach the clamped class;
- `movie.webp`: the image, the states of the top layer and the label units, while one label after
  the other is clamped;
- `mind_and_brain.png` and `.webp`: the net is shown random pixels, then generates freely.

A judge, a classifier trained on real images only (`experiments.baseline_models.svm_judge`), counts
how many samples show the intended class: 100 of each class, each from a chain of its own.
It rejects images that are almost empty or full. The chains start at real images of *other* classes,
so that the start cannot count in favour of the net. The command takes a minute and a half on 2
cores. For a net without label units it draws the movie and `mind_and_brain`, and `chains.png`, of
which each row is a chain in the top RBM that starts at an unseen image.

Of a model of `train_sequences` it draws `dreams`: three that go on from the beginnings of held-out
sequences, and one that begins with nothing, of --frames each. Balls and people are films, pieces of
music are piano rolls, and files to hear (.mid and .wav); see `pictures.sequences`.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
7; Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import associative_memory, data, dbn, figures, label_units, numerics, trajectories
from experiments.baseline_models import svm_judge
from experiments.common import pretrained, runs, sequence_data
from experiments.common.sequence_data import SequenceData
from experiments.common.settings import setting
from experiments.pictures import movies, sequences, steps

# Where chains can start, in words for the pictures.
STARTS = {
    "images": "a real image of another class",
    "noise": "random pixels",
    "features": "random features",
}
_OF_CLASSES = ("start", "steps", "columns", "judged", "judge_images")
_NUM_FRAMES = 100
_NUM_CHAINS, _CHAIN_STEPS = 8, (0, *steps.milestones(1000))


class Settings(runs.RunSettings, pretrained.Pretrained):
    """Everything that decides the result."""

    start: str = setting(
        "images",
        "Where the chains of chosen classes start: "
        + "; ".join(f"{name}, {what}" for name, what in STARTS.items())
        + ".",
        choices=tuple(STARTS),
    )
    steps: int = setting(
        1000,
        "Number of Gibbs iterations between samples, and before the first.",
        at_least=1,
        at_most=100_000,
    )
    columns: int = setting(
        10,
        "Number of samples of each class on the sheet, all from one chain.",
        at_least=1,
        at_most=100,
    )
    judged: int = setting(
        100,
        "Number of samples of each class that are judged, each from a chain of its own.",
        at_least=1,
        at_most=10_000,
    )
    judge_images: int = setting(
        40_000, "Largest number of real images that the judge is trained on.", at_least=100
    )
    frames: int | None = setting(
        None,
        "Number of frames of each dream of a model of sequences.",
        unset=f"{_NUM_FRAMES}",
        at_least=2,
        at_most=1000,
    )


def run(settings: Settings, workdir: str) -> dict:
    """Generates in a workdir; nothing is trained, and an interrupted run starts anew."""
    programs = (*pretrained.NETS, pretrained.CONVOLUTIONAL, pretrained.SEQUENCES)
    net, source = settings.load(programs)
    if isinstance(source, SequenceData):
        return _run_sequences(settings, workdir, net, source)
    settings.refuse(("frames",), "with a net, which is no model of sequences")
    dataset, transform = source.load()
    pretrained.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    labelled = dbn.num_labels(net) > 0
    classes = [int(label) for label in np.unique(dataset.train.labels)]
    if labelled and len(classes) < 2:
        raise ValueError(
            f"--pretrained={settings.pretrained} learnt the class {classes[0]} only; generate "
            "needs a net of at least two classes, or one without label units"
        )
    if not labelled:
        settings.refuse(_OF_CLASSES, "with a net without label units, whose classes are not chosen")
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    class_key, movie_key, mind_key = jax.random.split(run.key, 3)
    results = {}
    if labelled:
        # Grey levels, since the generated images are means of pixels too.
        plain = dataclasses.replace(source, binarisation="none", standardise=False, whiten=False)
        real = svm_judge.train(plain.load()[0], settings.judge_images, seed=settings.seed)
        print(
            f"the judge learnt {real.num_train:,} real images; of unseen real ones it gets "
            f"{real.error:.2%} wrong"
        )
        results, pictures = _classes(class_key, settings, net, dataset, transform, real)
        run.save_figures(pictures)
    else:
        print("the net has no label units: no images of chosen classes, and nothing to judge")
        run.save_figures({"chains": _chains(class_key, net, dataset, transform)})
    movies.movie(movie_key, run, net, classes if labelled else [None], dataset)
    movies.mind_and_brain(mind_key, run, net, dataset)
    return run.finish(results)


def _run_sequences(settings, workdir, model, source):
    settings.refuse(_OF_CLASSES, "with a model of sequences")
    dataset = source.load()
    pretrained.check_sequences(dataset, model)
    part, _ = sequence_data.held_out(dataset)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    num_frames = settings.frames or _NUM_FRAMES
    sequences.draw_dreams(run.key, run, model, dataset, part, num_frames)
    return run.finish({"split": part, "frames": num_frames})


def _classes(
    key, settings, net, dataset, transform, real
) -> tuple[dict[str, object], dict[str, Figure]]:
    """Generates images of each class, has them judged, and draws the sheet."""
    many_key, few_key = jax.random.split(key)
    classes = np.unique(dataset.train.labels)
    intended = np.repeat(classes, settings.judged)
    looks = steps.milestones(settings.steps)
    start_key, chain_key = jax.random.split(many_key)
    x, began = start(start_key, settings.start, net, dataset, transform, intended)
    samples = _pixels(chain_key, net, x, jnp.asarray(np.diff(looks, prepend=0)))
    answers = real.answers(dataset.pictures(samples).reshape(samples.shape))
    shares = svm_judge.shares(answers[-1], intended)
    share = float(np.mean(answers[-1] == intended))
    error = float(np.sqrt(share * (1 - share) / len(intended)))
    print(
        f"it recognises {share:.1%} ± {error:.1%} of {len(intended):,} generated images as the "
        f"intended class, each {steps.in_words(settings.steps)} after its start:"
    )
    by_name = (f"{dataset.class_name(label)}: {value:.0%}" for label, value in shares.items())
    print("  " + "  ".join(by_name))
    refused = float(np.mean(answers[-1] == svm_judge.NONE))
    print(f"  and {refused:.1%} as nothing, with too little ink or too much")
    curves = {"clamped class": (looks, np.mean(answers == intended, axis=-1))}
    if began is not None:
        curves["class of the start"] = (looks, np.mean(answers == began, axis=-1))
    pictures = {
        "forgetting": figures.learning_curves(
            {"share of the chains": curves},
            x_label="Gibbs steps",
            log_x=True,
            shares=["share of the chains"],
            title="Which class the chains show, according to the judge",
            subtitle=f"{len(intended):,} chains, each from {STARTS[settings.start]}, with a label "
            "unit clamped; the judge is trained on real images only",
        )
    }
    start_key, chain_key = jax.random.split(few_key)
    x, _ = start(start_key, settings.start, net, dataset, transform, classes)
    samples = _pixels(chain_key, net, x, jnp.full(settings.columns, settings.steps))
    rows = np.swapaxes(dataset.pictures(samples), 0, 1)
    pictures["classes"] = figures.image_rows(
        {dataset.class_name(c): images for c, images in zip(classes, rows, strict=True)},
        image_shape=dataset.image_shape,
        columns=settings.columns,
        notes={dataset.class_name(label): f"{value:.0%}" for label, value in shares.items()},
        title="Images generated by the net, one class in each row",
        subtitle=f"each row is one chain from {STARTS[settings.start]}, its label unit clamped, "
        f"with {steps.in_words(settings.steps)} before each image; at the right: the share of "
        f"{settings.judged:,} such chains that a classifier of real images assigns to the class "
        f"(it gets {real.error:.1%} of real images wrong)",
    )
    results = {
        "recognised": share,
        "recognised_standard_error": error,
        "recognised_as_nothing": refused,
        "recognised_by_class": {str(label): value for label, value in shares.items()},
        "judge_error": real.error,
        "judge_images": real.num_train,
    }
    return results, pictures


def _chains(key, net, dataset, transform) -> Figure:
    """Free chains in the top RBM, from unseen images."""
    view_key, chain_key = jax.random.split(key)
    part, held_out = dataset.held_out
    v = data.apply(transform, view_key, held_out.spread(_NUM_CHAINS).images)
    frames, h = [v], dbn.up_pass(net, v)[-1]
    for t, (done, step) in enumerate(itertools.pairwise(_CHAIN_STEPS)):
        v, h = dbn.generate(jax.random.fold_in(chain_key, t), net, h, step - done)
        frames.append(v)
    return figures.chains(
        dataset.pictures(np.stack(frames)),
        image_shape=dataset.image_shape,
        steps=_CHAIN_STEPS,
        title=f"Gibbs sampling in the top RBM from {part} images",
        subtitle="the image first, then means of the pixels after one pass down",
    )


def start(
    key: jax.Array,
    name: str,
    net: dbn.Net,
    dataset: data.Dataset,
    transform: data.Transform,
    labels: np.ndarray,
) -> tuple[jax.Array, np.ndarray | None]:
    """Where label-clamped chains of these classes start: `name` is one of `STARTS`.

    Returns:
      (N, F + L) visible states of the top RBM; and the classes (N,) of the images that the features
      come from, or None if they do not come from images.
    """
    choice_key, view_key, up_key = jax.random.split(key, 3)
    if name == "features":
        return _random_features(up_key, net, jnp.asarray(labels)), None
    began = None
    if name == "images":
        rng = np.random.default_rng(np.asarray(jax.random.key_data(choice_key)))
        others = {label: np.flatnonzero(dataset.train.labels != label) for label in set(labels)}
        rows = np.array([rng.choice(others[label]) for label in labels])
        began = dataset.train.labels[rows]
        v = data.apply(transform, view_key, dataset.train.images[rows])
    else:
        v = movies.noise(view_key, (len(labels), dataset.train.images.shape[1]))
    return _recognised(up_key, net, v, jnp.asarray(labels)), began


_random_features = jax.jit(associative_memory.start_from_labels)


@jax.jit
def _recognised(key, net, v, labels):
    one_hot = numerics.one_hot(labels, dbn.num_labels(net), v.dtype)
    return label_units.join(net.top, dbn.sample_recognition(key, net, v)[-1], one_hot)


@jax.jit
def _pixels(key, net, x, intervals):
    """Means of the pixels of label-clamped chains after each interval: (times, N, V)."""
    clamped = label_units.mask(net.top)
    moments, _ = trajectories.trajectory(key, net, x, clamped, intervals)
    return moments.pixels


if __name__ == "__main__":
    runs.main(run, Settings)
