"""What a model can do: recognise unseen images, and find them probable.

    python -m experiments.evaluate --workdir=runs/evaluation --pretrained=runs/updown

takes what `train_rbm` learnt, or `train_dbn` or what went on from it, or a folder that `publish`
made of that (with --data_dir), and prints, for the images that the run held out:

- of a net with label units, the error of each way to recognise, how often the ways agree, and how
  well calibrated its confidence is. figures/ then shows the confusion matrix, the reliability of
  the confidence, the errors, and images recognised rightly, the hardest of each class first;
- the log-likelihood of images under an RBM, or the variational bound on it for a deeper net, by
  annealed importance sampling, and its conservative value by reverse annealing. Pixels are drawn
  from the grey levels, as published.

With the published schedule of 14,500 steps and --ais_chains=300 --reverse_images=300 that takes
under five minutes for a top RBM of 500 × 2000 units on 2 cores; --ais_steps=1000 gives a first
impression.

References: Hinton, Osindero, Teh 2006; Salakhutdinov and Murray 2008; Burda, Grosse, Salakhutdinov
2015; Guo, Pleiss, Sun, Weinberger 2017.
"""

import dataclasses
import itertools

import jax
import numpy as np
from absl import app, flags, logging

from dbn_jax import data, dbn, figures, random, units
from dbn_jax.training import workdir
from experiments.common import likelihoods, models, recognition, shared

_PROGRAMS = f"train_rbm,{models.NETS}"
_SPLITS = ("validation", "test")
# Of each class in the sheet of what was recognised: the hardest, then as many of all the others.
_NUM_HARD = 6
_FEW_CHAINS = 10  # fewer effective ones, and the standard error of log Z says nothing
_LARGE_GAP = 2.0  # nats from the estimate to its conservative value; a well annealed RBM has 0.5
_NUM_BASE = 10_000  # training images for the base rates of annealing


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the model, or the folder where it is published.
      split: "validation" or "test" images; None: what the run held out, which is the validation
        images where there are any, else the test images.
      data_dir: where its data are; None: where they were when it learnt.
      ais_steps: of annealing, at least 3; 0 leaves likelihoods out.
      ais_chains: of annealing, at least 2.
      passes: samples of the recognition distribution for each image in the variational bound.
      reverse_images: images from which annealing goes backwards, at least 2.
      seed: of everything random.
    """

    pretrained: str
    split: str | None = None
    data_dir: str | None = None
    ais_steps: int = 14_500
    ais_chains: int = 100
    passes: int = 20
    reverse_images: int = 100
    seed: int = 0

    def __post_init__(self):
        if self.ais_steps and self.ais_steps < 3:
            raise ValueError(
                f"ais_steps is {self.ais_steps}; the schedule has three parts: give at least 3, "
                "or 0 to leave likelihoods out"
            )
        for name, least in (("ais_chains", 2), ("passes", 1), ("reverse_images", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


def run(settings: Settings, path: str) -> dict:
    """Evaluates a model in a workdir. Nothing is learnt; an interrupted run starts anew.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      FileNotFoundError: there is no finished run, or its data are elsewhere.
      ValueError: there is nothing to evaluate, or model, data and settings do not fit each other.
    """
    model, data_settings = models.load(settings.pretrained, _PROGRAMS, settings.data_dir)
    net = likelihoods.as_net(model)
    _check_model(settings, net, data_settings)
    dataset, transform = data_settings.load()
    part, held_out = _held_out(settings, dataset)
    models.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.evaluate",
        needed_bytes=20_000_000,
    )
    if run_dir.is_done:
        summary = run_dir.summary()
        _report({k: v for k, v in summary["figures"].items() if k != "split"})
        print(f"done already: see {run_dir.path}")
        return summary
    recognise_key, train_key, held_out_key, likelihood_key = jax.random.split(
        jax.random.key(settings.seed), 4
    )
    print(f"{len(held_out):,} {part} images of {dataset.name}")
    results = {}
    if dbn.num_labels(net):
        results |= _recognise(recognise_key, run_dir, net, dataset, held_out, transform, part)
        _report(results)
    if settings.ais_steps:
        # Spread over the data set, which may be in an order.
        stride = max(1, len(dataset.train) // _NUM_BASE)
        some = data.Split(dataset.train.images[::stride], dataset.train.labels[::stride])
        estimates = likelihoods.evaluate(
            likelihood_key,
            net,
            _examples(train_key, net, some, transform),
            _examples(held_out_key, net, held_out, transform),
            num_steps=settings.ais_steps,
            num_chains=settings.ais_chains,
            num_passes=settings.passes if net.recognition else 1,
            num_reverse=settings.reverse_images,
        )
        _report(estimates)
        _warn(estimates, settings)
        results |= estimates
    summary = run_dir.write_summary({"split": part, **results}, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary


def _check_model(settings, net, data_settings):
    """Raises unless there is something to evaluate."""
    pixels = (net.generative or (net.top,))[0].visible
    if isinstance(pixels, units.Concat):
        pixels = pixels.parts[0]
    if not isinstance(pixels, units.Bernoulli) or data_settings.standardise:
        kind = "standardised" if data_settings.standardise else f"{type(pixels).__name__} units"
        raise ValueError(
            f"the pixels of --pretrained={settings.pretrained} are {kind}; evaluate is for models "
            "of Bernoulli units, learnt from grey levels or binary pixels"
        )
    if not (dbn.num_labels(net) or settings.ais_steps):
        raise ValueError(
            f"--ais_steps=0 leaves nothing to evaluate: --pretrained={settings.pretrained} has no "
            "label units to recognise with"
        )


def _held_out(settings, dataset):
    """The name of what is evaluated, and the images and labels."""
    name = settings.split or ("test" if dataset.validation is None else "validation")
    if name not in dataset.splits():
        raise ValueError(
            f"--split={name}: --pretrained={settings.pretrained} learnt without a validation set "
            "(--num_validation); evaluate it with --split=test"
        )
    return name, dataset.splits()[name]


def _examples(key, net, split, transform):
    """Pixels drawn from grey levels, and one-hot labels where the net has label units."""
    view_key, draw_key = jax.random.split(key)
    grey = shared.transformed(transform, view_key, split.images)
    count = dbn.num_labels(net)
    labels = jax.nn.one_hot(split.labels, count, dtype=grey.dtype) if count else None
    return random.bernoulli(draw_key, grey), labels


def _report(results):
    for name, value in results.items():
        print(f"{name}: {value:.6g}", flush=True)


def _warn(estimates, settings):
    """Says when log Z is not to be trusted: it is then too low, and flatters the model."""
    effective = estimates["log_z_effective_sample_size"]
    if effective < _FEW_CHAINS:
        logging.warning(
            "only %.1f of %d chains carry the estimate of log Z, so that it is too low, and its "
            "standard error too small: raise %s",
            effective,
            settings.ais_chains,
            "--ais_chains" if effective > settings.ais_chains / 2 else "--ais_steps",
        )
    (reverse,) = (name for name in estimates if name.endswith("_reverse"))
    gap = estimates[reverse.removesuffix("_reverse")] - estimates[reverse]
    if gap > _LARGE_GAP:
        logging.warning(
            "annealing ends in states like the data less often than the model should, by %.1f "
            "nats: it may have missed modes, and log Z be too low by up to as much; raise "
            "--ais_steps, and until then trust the conservative value, %s",
            gap,
            reverse,
        )


def _recognise(
    key: jax.Array,
    run_dir: workdir.Workdir,
    net: dbn.Net,
    dataset: data.Dataset,
    held_out: data.Split,
    transform: data.Transform,
    part: str,
) -> dict[str, float]:
    """Recognises in every way, and draws what came of it."""
    results, answers, labels = {}, {}, held_out.labels
    for i, (way, classify) in enumerate(recognition.WAYS.items()):
        answers[way] = recognition.log_posteriors(
            jax.random.fold_in(key, i), net, held_out, transform, classify
        )
        results[f"error_rate_{way}"] = recognition.error_rate(answers[way], labels)
    for one, other in itertools.combinations(recognition.WAYS, 2):
        same = answers[one].argmax(axis=-1) == answers[other].argmax(axis=-1)
        results[f"agreement_{one}_{other}"] = float(same.mean())
    # What is looked at closely: the answers averaged over stochastic passes.
    log_p = answers["sampling"]
    chosen, confidence = log_p.argmax(axis=-1), np.exp(log_p.max(axis=-1))
    right = chosen == labels
    results["label_log_loss"] = float(-log_p[np.arange(len(labels)), labels].mean())
    calibration = recognition.calibration(confidence, right)
    results["calibration_error"] = calibration.error

    def save(picture, name):
        figures.save(picture, run_dir.figures / f"{name}.png")

    num_wrong = int(np.sum(~right))
    share = f"{num_wrong:,} of {len(labels):,} {part} images wrong, {num_wrong / len(labels):.2%}"
    counts = np.zeros((dataset.num_classes, dataset.num_classes), int)
    np.add.at(counts, (labels, chosen), 1)
    picture = figures.confusion_matrix(
        counts, title="What each class was taken for", subtitle=share
    )
    save(picture, "confusion")
    picture = figures.reliability(
        calibration.confidence,
        calibration.share_right,
        calibration.counts,
        title="Is it as often right as it is sure?",
        subtitle=f"expected calibration error {calibration.error:.4f}; bars: 95% intervals; "
        "dashed: as right as sure",
    )
    save(picture, "reliability")
    errors = recognition.error_sheet(dataset, held_out, log_p, part)
    if errors is not None:
        save(errors, "errors")
    some = _hard_and_others(labels, confidence, right)
    if len(some):
        picture = figures.captioned_sheet(
            dataset.pictures(held_out.images[some]),
            [f"{labels[i]}  {confidence[i]:.0%}" for i in some],
            image_shape=dataset.image_shape,
            columns=2 * _NUM_HARD,
            title="Unseen and recognised rightly",
            subtitle=f"the answer and its probability; of each class the {_NUM_HARD} of which it "
            f"was least sure, then {_NUM_HARD} spread over the others",
        )
        save(picture, "recognised")
    return results


def _hard_and_others(labels, confidence, right):
    """Which right answers to show: of each class the least sure ones, then some of all others."""
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(right & (labels == label))
        rows = rows[np.argsort(confidence[rows], kind="stable")]
        hard, others = rows[:_NUM_HARD], rows[_NUM_HARD:]
        # The last of each of so many equal parts.
        spread = np.linspace(0, len(others), min(_NUM_HARD, len(others)) + 1).astype(int)[1:] - 1
        chosen += [hard, others[spread]]
    return np.concatenate(chosen)


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags(checkpoints=False)
    flags.DEFINE_string("pretrained", None, "Workdir or folder of the model.", required=True)
    flags.DEFINE_enum(
        "split", None, _SPLITS, "Images to evaluate on, if not those that the run held out."
    )
    flags.DEFINE_string("data_dir", None, "Where its data are, if no longer where they were.")
    flags.DEFINE_integer("ais_steps", default.ais_steps, "Of annealing; 0: no likelihoods.")
    flags.DEFINE_integer("ais_chains", default.ais_chains, "Of annealing.")
    flags.DEFINE_integer("passes", default.passes, "Recognition samples an image, for the bound.")
    flags.DEFINE_integer(
        "reverse_images", default.reverse_images, "Images for the conservative likelihood."
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
