"""Evaluates a model: its errors and calibration, and the likelihood of unseen images.

    python -m experiments.evaluate --workdir=runs/evaluation --pretrained=runs/updown

takes a run of `train_rbm`, `train_dbn`, `train_convolutional`, a fine-tuning of a net or
`train_sequences`, or a folder that `publish` made (with --data_dir). For the validation images of
that run, or else its test images, it prints:

- for a net with label units, the error of each way to recognise, how often the ways agree, and how
  well calibrated its confidence is. figures/ then holds the confusion matrix, the reliability of
  the confidence, the errors, and correctly recognised images, the hardest of each class first;
- for an RBM the log-likelihood, and for a deeper net the variational bound on it, estimated by
  annealed importance sampling, and conservatively by reverse annealing; with the exact log Z too,
  where one layer of the top RBM has at most 2²⁰ states. Pixels are drawn from the grey levels, as
  published. There is none for nets that pool layers below the top;
- for a net with convolutional layers, the error of images reconstructed from each of them;
- for a model of sequences, the table of `train_sequences`.

    python -m experiments.evaluate --workdir=runs/referee --model=rbm.joblib --dataset=digits

takes an RBM with binary pixels that another program wrote, and images: a `BernoulliRBM` of
scikit-learn (by joblib; reading it runs code that the file holds, so trust it first), a model of
rbms or of RestrictedBoltzmannMachines.jl (.h5), or of Hinton and Salakhutdinov's MATLAB programs
(.mat). `dbn_jax.foreign` has the formats.

The published schedule of 14,500 steps with --ais_chains=300 --reverse_images=300 takes under five
minutes for a top RBM of 500 × 2000 units on 2 cores; --ais_steps=1000 gives a first impression.

References: Hinton, Osindero, Teh 2006; Salakhutdinov and Murray 2008; Burda, Grosse, Salakhutdinov
2015; Guo, Pleiss, Sun, Weinberger 2017.
"""

import dataclasses
import itertools

import jax
import numpy as np
from absl import logging
from matplotlib.figure import Figure

from dbn_jax import (
    data,
    dbn,
    figures,
    foreign,
    label_units,
    numerics,
    random,
    receptive_fields,
    recognition,
    units,
)
from dbn_jax.likelihood import annealing, evaluation
from experiments.common import (
    layer_measures,
    pretrained,
    runs,
    sequence_data,
    sequence_results,
    yardsticks,
)
from experiments.common.data_settings import DataSettings
from experiments.common.sequence_data import SequenceData
from experiments.common.settings import above_0, group, setting
from experiments.pictures import errors

_PROGRAMS = ("train_rbm", *pretrained.NETS, pretrained.CONVOLUTIONAL, pretrained.SEQUENCES)
# Correctly recognised images shown of each class: the hardest, then as many of the others.
_NUM_HARD = 6
_LARGE_GAP = 2.0  # nats from the estimate to its conservative value; a well annealed RBM has 0.5
_IMAGES = {"ais_steps": 14_500, "ais_chains": 100}
_LIKELIHOOD = ("ais_steps", "ais_chains", "passes", "reverse_images")


class Settings(runs.RunSettings):
    """Everything that decides the result."""

    pretrained: str | None = setting(
        None,
        "Workdir of the run whose model is evaluated, or the folder where it is published; its own "
        "data are taken, from --data_dir if they have moved.",
        folder=True,
    )
    model: str | None = setting(
        None,
        "File of an RBM that another program wrote, evaluated on the images of --dataset: .joblib "
        "or .pkl of scikit-learn, which runs code that the file holds, .h5 of rbms or of "
        "RestrictedBoltzmannMachines.jl, .mat of Hinton's programs.",
        folder=True,
    )
    data: DataSettings = group(DataSettings)
    split: str | None = setting(
        None,
        "Split to evaluate; by default that of validation if there is one, else the test split.",
        choices=("validation", "test"),
    )
    ais_steps: int | None = setting(
        None,
        "Number of annealing steps; 0 for no likelihoods.",
        unset="14,500; of models of sequences, 200 for each frame",
        at_least=0,
        at_most=100_000,
    )
    ais_chains: int | None = setting(
        None,
        "Number of annealing chains; of fewer than 10, the standard error of log Z says little.",
        unset="100; of models of sequences, 20 for each frame",
        at_least=2,
        at_most=10_000,
        given=above_0("ais_steps"),
    )
    passes: int = setting(
        20,
        "Number of samples of the recognition distribution that estimate the variational bound.",
        at_least=1,
        at_most=1000,
        given=above_0("ais_steps"),
    )
    reverse_images: int = setting(
        100,
        "Largest number of images from which reverse annealing starts.",
        at_least=2,
        given=above_0("ais_steps"),
    )
    ais_frames: int | None = setting(
        None,
        "Number of frames of sequences, evenly spread, whose log p is estimated; by default all.",
        at_least=2,
        given=above_0("ais_steps"),
    )

    def __post_init__(self):
        super().__post_init__()
        if (self.pretrained is None) == (self.model is None):
            raise ValueError(
                "give one model: --pretrained, the workdir of a run, or --model, the file of an "
                "RBM that another program wrote"
            )
        if self.ais_steps in (1, 2):
            raise ValueError(
                f"--ais_steps={self.ais_steps}: the schedule has three parts; give at least 3, or "
                "0 to leave likelihoods out"
            )

    @property
    def named(self) -> str:
        """The flag that names the model."""
        return f"--pretrained={self.pretrained}" if self.pretrained else f"--model={self.model}"


def run(settings: Settings, workdir: str) -> dict:
    """Evaluates a model in a workdir. Nothing is trained; an interrupted run starts anew."""
    model, source = _load(settings)
    if isinstance(source, SequenceData):
        return _run_sequences(settings, workdir, model, source)
    settings.refuse(("ais_frames",), "with a model of images")
    net = evaluation.as_net(model)
    has_likelihood = not any(map(_is_pooled, net.recognition))
    if has_likelihood:
        settings = _with_defaults(settings, _IMAGES)
        _check_model(settings, net, source)
    else:
        settings.refuse(
            _LIKELIHOOD, "with a net that pools layers below the top: no bound is known"
        )
    dataset, transform = source.load()
    part, held_out = _held_out(settings, dataset)
    pretrained.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    recognise_key, train_key, held_out_key, likelihood_key = jax.random.split(run.key, 4)
    print(f"{len(held_out.labels):,} {part} images of {dataset.name}")
    results = {"split": part}
    if dbn.num_labels(net):
        found, pictures = _recognise(recognise_key, net, dataset, held_out, transform, part)
        results |= found
        run.save_figures(pictures)
    if any(map(receptive_fields.is_convolutional, _layers(net))):
        results |= layer_measures.measure(recognise_key, net, held_out, transform)
    if has_likelihood and settings.ais_steps:
        estimates = evaluation.evaluate(
            likelihood_key,
            net,
            _examples(train_key, net, dataset.train.spread(annealing.NUM_BASE), transform),
            _examples(held_out_key, net, held_out, transform),
            num_steps=settings.ais_steps,
            num_chains=settings.ais_chains,
            num_passes=settings.passes,
            num_reverse=settings.reverse_images,
        )
        _warn(estimates, settings)
        results |= estimates
    return run.finish(results)


def _load(settings):
    """The model, and the settings of its data."""
    if settings.model is not None:
        return foreign.load(settings.model), settings.data
    names = {field.name for field in dataclasses.fields(DataSettings)} - {"data_dir"}
    settings.refuse(tuple(names), "with --pretrained, whose own data are taken")
    return pretrained.load(settings.pretrained, _PROGRAMS, settings.data.data_dir)


def _run_sequences(settings, workdir, model, source):
    settings.refuse(("passes", "reverse_images"), "with a model of sequences")
    dataset = source.load()
    pretrained.check_sequences(dataset, model)
    if dataset.kind == "grey":
        sequence_results.refuse_annealing(settings, dataset.name)
    if dataset.kind == "binary" and settings.ais_steps == 0:
        raise ValueError(
            f"--ais_steps=0 leaves nothing to evaluate: of {dataset.name} log p alone is measured"
        )
    settings = _with_defaults(settings, dataclasses.asdict(sequence_results.Measures()))
    part, _ = sequence_data.held_out(dataset, settings.split)
    names = ("ais_steps", "ais_chains", "ais_frames")
    measures = sequence_results.Measures(**{name: getattr(settings, name) for name in names})
    train = source.training_sequences(dataset, settings.seed)
    sequence_results.check(measures, dataset, part, train, model.rbm.hidden.num_units)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    results, table = sequence_results.measure(
        run.key, model, dataset, part, train, measures, "the model"
    )
    run.save_table(table)
    return run.finish({"split": part, **results})


def _with_defaults(settings, defaults):
    """The settings with numbers where the defaults depend on the model."""
    unset = {name: x for name, x in defaults.items() if getattr(settings, name) is None}
    return dataclasses.replace(settings, **unset)


def _layers(net):
    return *net.recognition, label_units.without(net.top)


def _is_pooled(layer):
    return layer.hidden.num_pooled != layer.hidden.num_units


def _check_model(settings, net, data_settings):
    """Raises unless there is something to evaluate."""
    first = net.generative[0] if net.generative else label_units.without(net.top)
    pixels = first.visible.each if isinstance(first.visible, units.Maps) else first.visible
    if not isinstance(pixels, units.Bernoulli) or data_settings.made_real:
        kind = f"{type(pixels).__name__} units"
        if data_settings.made_real:
            kind = f"made real numbers by {data_settings.made_real}"
        remedy = "; in Python, `foreign.load` and `likelihood` take others" * bool(settings.model)
        raise ValueError(
            f"the pixels of {settings.named} are {kind}; evaluate is for models of Bernoulli "
            f"units, learnt from grey levels or binary pixels{remedy}"
        )
    if not net.recognition:
        settings.refuse(("passes",), "with a model of one layer, whose likelihood is no bound")
    if not (dbn.num_labels(net) or settings.ais_steps):
        raise ValueError(
            f"--ais_steps=0 leaves nothing to evaluate: {settings.named} has no label units to "
            "recognise with"
        )


def _held_out(settings, dataset):
    """The name of what is evaluated, and the images and labels."""
    name = settings.split or dataset.held_out[0]
    if name not in dataset.splits():
        raise ValueError(
            f"--split={name}: there is no validation set beside {settings.named} "
            "(--num_validation); evaluate it with --split=test"
        )
    return name, dataset.splits()[name]


def _examples(key, net, split, transform):
    """Pixels drawn from grey levels, and one-hot labels where the net has label units."""
    view_key, draw_key = jax.random.split(key)
    grey = data.apply(transform, view_key, split.images)
    count = dbn.num_labels(net)
    labels = numerics.one_hot(split.labels, count, grey.dtype) if count else None
    return random.bernoulli(draw_key, grey), labels


def _warn(estimates, settings):
    """Warns when log Z is not to be trusted: it is then too low, and flatters the model."""
    effective = estimates["log_z_effective_sample_size"]
    if fault := annealing.few_chains(effective, settings.ais_chains):
        logging.warning("%s: raise --ais_steps", fault)
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
    net: dbn.Net,
    dataset: data.Dataset,
    held_out: data.Split,
    transform: data.Transform,
    part: str,
) -> tuple[dict[str, float], dict[str, Figure]]:
    """Recognises the images in every way, and draws the results."""
    results, answers, labels = {}, {}, held_out.labels
    for i, (way, classify) in enumerate(recognition.WAYS.items()):
        answers[way] = recognition.log_posteriors(
            jax.random.fold_in(key, i), net, held_out.images, transform, classify
        )
        results[f"error_rate_{way}"] = recognition.error_rate(answers[way], labels)
    yardsticks.warn(results, dataset, held_out)
    for one, other in itertools.combinations(recognition.WAYS, 2):
        same = answers[one].argmax(axis=-1) == answers[other].argmax(axis=-1)
        results[f"agreement_{one}_{other}"] = float(same.mean())
    # The pictures are of the answers averaged over stochastic passes.
    log_p = answers["sampling"]
    chosen, confidence = log_p.argmax(axis=-1), np.exp(log_p.max(axis=-1))
    right = chosen == labels
    results["label_log_loss"] = float(-log_p[np.arange(len(labels)), labels].mean())
    calibration = recognition.calibration(confidence, right)
    results["calibration_error"] = calibration.error

    num_wrong = int(np.sum(~right))
    share = f"{num_wrong:,} of {len(labels):,} {part} images wrong, {num_wrong / len(labels):.2%}"
    counts = np.zeros((dataset.num_classes, dataset.num_classes), int)
    np.add.at(counts, (labels, chosen), 1)
    pictures = errors.sheet(dataset, held_out, log_p, part)
    pictures["confusion"] = figures.confusion_matrix(
        counts,
        title="What each class was taken for",
        subtitle=share,
        names=dataset.class_names,
    )
    pictures["reliability"] = figures.reliability(
        calibration.confidence,
        calibration.share_right,
        calibration.counts,
        title="Is it as often right as it is sure?",
        subtitle=f"expected calibration error {calibration.error:.2%}; bars: 95% intervals; "
        "dashed: perfect calibration",
    )
    some = _hard_and_others(labels, confidence, right)
    if len(some):
        pictures["recognised"] = figures.captioned_sheet(
            dataset.pictures(held_out.images[some]),
            [f"{dataset.class_name(labels[i])}  {confidence[i]:.0%}" for i in some],
            image_shape=dataset.image_shape,
            columns=2 * _NUM_HARD,
            title="Unseen and recognised rightly",
            subtitle=f"the answer and its probability; of each class the {_NUM_HARD} least "
            f"confident, then {_NUM_HARD} spread over the others",
        )
    return results, pictures


def _hard_and_others(labels, confidence, right):
    """Which correct answers to show: of each class the least confident, then some of the others."""
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(right & (labels == label))
        rows = rows[np.argsort(confidence[rows], kind="stable")]
        hard, others = rows[:_NUM_HARD], rows[_NUM_HARD:]
        # The last of each of so many equal parts.
        spread = np.linspace(0, len(others), min(_NUM_HARD, len(others)) + 1).astype(int)[1:] - 1
        chosen += [hard, others[spread]]
    return np.concatenate(chosen)


if __name__ == "__main__":
    runs.main(run, Settings)
