"""A net generates: images of chosen classes, a movie of it at work, and what is on its mind.

    python -m experiments.generate --workdir=runs/generated --pretrained=runs/updown

takes what `train_dbn` learnt, or what went on from it, and draws in figures/

- `classes.png`: samples of each class in a row, its label unit clamped, 1000 Gibbs iterations of
  the top RBM between samples, as published;
- `forgetting.png`: after how many iterations chains are in their class, and no longer where they
  started;
- `movie.gif`, and `movie.mp4` where ffmpeg is installed: the image, the state of the top layer and
  the label units, while one label after the other is clamped;
- `mind_and_brain.png`, `.gif` and `.mp4`: the net is shown random pixels, and fantasises on.

A judge, a classifier that has seen real images only (`experiments.baseline_models.svm_judge`), says
how many samples it takes for the intended class: 100 of each, from as many chains. It refuses pages
that are empty or full. The chains start at real images of *other* classes, so that nothing that
comes of its start can count for the net. A minute and a half on 2 cores. A net without label units
has the movie, and its mind and brain.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
7; Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from dbn_jax import associative_memory, data, dbn, figures, label_units, trajectories
from dbn_jax.training import workdir
from experiments.baseline_models import svm_judge
from experiments.common import models, shared
from experiments.pictures import movies

# Where chains can start, in words for the pictures.
STARTS = {
    "images": "a real image of another class",
    "noise": "random pixels",
    "features": "random features",
}
# Iterations after which the judge looks at the chains, as far as they go.
_LOOKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
# So many real images, chosen at random, are of several classes.
_LEAST = {"steps": 1, "columns": 1, "judged": 1, "judge_images": 100}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net.
      data_dir: where its data are now; None: where they were when it learnt.
      start: where the chains of chosen classes start, one of `STARTS`.
      steps: Gibbs iterations between samples, and before the first.
      columns: samples of each class on the sheet, from one chain.
      judged: samples of each class that the judge sees, from as many chains.
      judge_images: real images that the judge learns from, at most.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    start: str = "images"
    steps: int = 1000
    columns: int = 10
    judged: int = 100
    judge_images: int = 40_000
    seed: int = 0

    def __post_init__(self):
        if self.start not in STARTS:
            raise ValueError(f"start {self.start!r} is none of {', '.join(STARTS)}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


def run(settings: Settings, path: str) -> dict:
    """Generates in a workdir; nothing is learnt, and an interrupted run starts anew.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      ValueError: the net has label units, but learnt one class only.
    """
    net, data_settings = models.load(settings.pretrained, models.NETS, settings.data_dir)
    dataset, transform = data_settings.load()
    models.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    labelled = dbn.num_labels(net) > 0
    classes = [int(label) for label in np.unique(dataset.train.labels)]
    if labelled and len(classes) < 2:
        raise ValueError(
            f"--pretrained={settings.pretrained} learnt the class {classes[0]} only; generate "
            "needs a net of at least two classes, or one without label units"
        )
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.generate",
        needed_bytes=20_000_000,
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()
    class_key, movie_key, mind_key = jax.random.split(jax.random.key(settings.seed), 3)
    results = {}
    if labelled:
        # Grey levels, whatever the net learnt from: what it generates are means of pixels too.
        plain = dataclasses.replace(data_settings, binarisation="none", standardise=False)
        grey, _ = plain.load()
        real = svm_judge.train(grey, settings.judge_images, seed=settings.seed)
        print(
            f"the judge learnt {real.num_train:,} real images; of unseen real ones it gets "
            f"{real.error:.2%} wrong"
        )
        results = _classes(class_key, run_dir, settings, net, dataset, transform, real)
    else:
        print("the net has no label units: no images of chosen classes, and nothing to judge")
    movies.movie(movie_key, run_dir, net, classes if labelled else [None], dataset.image_shape)
    movies.mind_and_brain(mind_key, run_dir, net, dataset.image_shape)
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


def _classes(key, run_dir, settings, net, dataset, transform, real) -> dict[str, object]:
    """Generates images of each class, has them judged, and draws the sheet.

    Returns:
      Figures for the summary.
    """
    many_key, few_key = jax.random.split(key)
    classes = np.unique(dataset.train.labels)
    intended = np.repeat(classes, settings.judged)
    looks = [step for step in _LOOKS if step < settings.steps] + [settings.steps]
    start_key, chain_key = jax.random.split(many_key)
    x, began = start(start_key, settings.start, net, dataset, transform, intended)
    samples = _pixels(chain_key, net, x, jnp.asarray(np.diff(looks, prepend=0)))
    answers = real.answers(dataset.pictures(samples).reshape(samples.shape))
    shares = svm_judge.shares(answers[-1], intended)
    share = float(np.mean(answers[-1] == intended))
    error = float(np.sqrt(share * (1 - share) / len(intended)))
    print(
        f"it recognises {share:.1%} ± {error:.1%} of {len(intended):,} generated images as the "
        f"intended class, each {settings.steps:,} Gibbs iterations after its start:"
    )
    print("  " + "  ".join(f"{label}: {value:.0%}" for label, value in shares.items()))
    refused = float(np.mean(answers[-1] == svm_judge.NONE))
    print(f"  and {refused:.1%} as nothing, with too little ink or too much")
    curves = {"of the class that is clamped": (looks, np.mean(answers == intended, axis=-1))}
    if began is not None:
        curves["of the class of the start"] = (looks, np.mean(answers == began, axis=-1))
    _save(
        run_dir,
        "forgetting",
        figures.learning_curves(
            {"share of the chains": curves},
            x_label="Gibbs iterations",
            log_x=True,
            title="What the chains show, in the eyes of the judge",
            subtitle=f"{len(intended):,} chains, each from {STARTS[settings.start]}, a label unit "
            "clamped; the judge knows real images only",
        ),
    )
    start_key, chain_key = jax.random.split(few_key)
    x, _ = start(start_key, settings.start, net, dataset, transform, classes)
    samples = _pixels(chain_key, net, x, jnp.full(settings.columns, settings.steps))
    rows = np.swapaxes(dataset.pictures(samples), 0, 1)
    _save(
        run_dir,
        "classes",
        figures.image_rows(
            {str(label): images for label, images in zip(classes, rows, strict=True)},
            image_shape=dataset.image_shape,
            columns=settings.columns,
            notes={str(label): f"{value:.0%}" for label, value in shares.items()},
            title="Generated by the net, a class in each row",
            subtitle=f"each row one chain from {STARTS[settings.start]}, its label unit clamped, "
            f"{settings.steps:,} Gibbs iterations before each image; at the right, how many of "
            f"{settings.judged} such chains a classifier of real images takes for that class (it "
            f"gets {real.error:.1%} of real ones wrong)",
        ),
    )
    return {
        "recognised": share,
        "recognised_standard_error": error,
        "recognised_as_nothing": refused,
        "recognised_by_class": {str(label): value for label, value in shares.items()},
        "judge_error": real.error,
        "judge_images": real.num_train,
    }


def start(
    key: jax.Array,
    name: str,
    net: dbn.Net,
    dataset: data.Dataset,
    transform: data.Transform,
    labels: np.ndarray,
) -> tuple[jax.Array, np.ndarray | None]:
    """Where label-clamped chains start.

    Args:
      key: consumed.
      name: one of `STARTS`.
      net: with label units.
      dataset: that it learnt from.
      transform: makes pixels of the data set's rows.
      labels: (N,) the class of each chain.

    Returns:
      (N, F + L) visible states of the top RBM; and (N,) the classes of the images that the
      features come from, if such they are.
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
        v = shared.transformed(transform, view_key, dataset.train.images[rows])
    else:
        v = movies.noise(view_key, (len(labels), dataset.train.images.shape[1]))
    return _recognised(up_key, net, v, jnp.asarray(labels)), began


_random_features = jax.jit(associative_memory.start_from_labels)


@jax.jit
def _recognised(key, net, v, labels):
    one_hot = jax.nn.one_hot(labels, dbn.num_labels(net), dtype=v.dtype)
    return label_units.join(net.top, dbn.sample_recognition(key, net, v)[-1], one_hot)


@jax.jit
def _pixels(key, net, x, intervals):
    """The pixels' means of label-clamped chains after each interval: (times, N, V)."""
    clamped = label_units.mask(net.top)
    moments, _ = trajectories.trajectory(key, net, x, clamped, intervals)
    return moments.pixels


def _save(run_dir, name, picture):
    figures.save(picture, run_dir.figures / f"{name}.png")


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags(checkpoints=False)
    models.define_pretrained_flags("the net")
    flags.DEFINE_enum(
        "start",
        default.start,
        list(STARTS),
        "Chains of chosen classes start at: "
        + "; ".join(f"{name}, {what}" for name, what in STARTS.items()),
    )
    flags.DEFINE_integer("steps", default.steps, "Gibbs iterations between samples.", lower_bound=1)
    flags.DEFINE_integer(
        "columns", default.columns, "Samples of each class on the sheet.", lower_bound=1
    )
    flags.DEFINE_integer(
        "judged", default.judged, "Samples of each class that the judge sees.", lower_bound=1
    )
    flags.DEFINE_integer(
        "judge_images", default.judge_images, "Real images that it learns from.", lower_bound=100
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
