"""Trains a deep belief net layer by layer, and shows what it generates.

Each RBM of the stack is trained on the activities of the layer below; the top one, an associative
memory, sees the labels of the images too. The net then generates digits of each class, by Gibbs
sampling in the top RBM with the label clamped and one pass down to the pixels, and recognises
unseen digits.

    python -m experiments.train_dbn --workdir=runs/dbn

trains a 784-500-500-2000 net on 4,000 real digits that ship with a package, and draws its pictures,
in under 3 minutes on 2 cores; it gets about 5 % of unseen digits wrong. --nolabels leaves the
labels out. On full MNIST,

    python -m experiments.train_dbn --workdir=runs/greedy --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/digit_model_greedy.flags

is the first step of the digit model (then finetune_updown and finetune_memory); its test error is
about 2.2 %.

--pretrained goes on from the net of another run, with other data of as many pixels and classes.

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses

import jax

from dbn_jax import data, dbn, label_units, rbm, recognition, training, units
from dbn_jax.learning import greedy
from experiments.common import data_settings, pretrained, pretraining, runs, yardsticks
from experiments.common.data_settings import DataSettings
from experiments.common.rbm_settings import LayerSettings, MemorySettings
from experiments.common.settings import Given, about, group, setting
from experiments.pictures import dbn as pictures

_WIDTH, _PER_PIXEL = 500, 3
_ACTIVITIES = ("samples", "probabilities")


def _layers(least: str, number: int) -> Given:
    return Given(
        "hidden_sizes",
        lambda beside: beside.hidden_sizes is None or len(beside.hidden_sizes) >= number,
        f" of {least} at least",
    )


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings)
    learning: LayerSettings = group(
        LayerSettings,
        given=_layers("two layers", 2),
        grows=pretraining.BELOW,
        learning_rate_decay="linear",
    )
    top: MemorySettings = group(MemorySettings, prefix="top_", learning_rate_decay="linear")
    pretrained: str | None = setting(
        None,
        "Workdir of another run of this command, or the folder where it is published, whose layers "
        "these start from; by default weights are random. The data are those of the flags.",
        folder=True,
    )
    hidden_sizes: tuple[int, ...] | None = setting(
        None,
        "Number of units of each hidden layer.",
        unset=f"those of the pretrained net, or {_WIDTH},{_WIDTH},{4 * _WIDTH}; for few pixels two "
        f"layers, of {_PER_PIXEL} and of {4 * _PER_PIXEL} times as many units",
        at_least=1,
    )
    layer_data: str = setting(
        "probabilities",
        "Training data of the layers between the first and the top: sampled states of the layer "
        "below, or its probabilities.",
        choices=_ACTIVITIES,
        given=_layers("three layers", 3),
    )
    top_data: str = setting(
        "samples",
        "Training data of the top RBM: sampled states of the layer below, or its probabilities.",
        choices=_ACTIVITIES,
        given=_layers("two layers", 2),
    )
    top_start: str = setting(
        "random",
        "Initial weights of the top RBM: small random ones, or the transposed weights of the layer "
        "below (upside_down).",
        choices=("random", "upside_down"),
        given=Given("pretrained", lambda beside: beside.pretrained is None, " left out"),
    )
    labels: bool = setting(True, "Let the top RBM see labels beside the features.")
    sample_steps: int = setting(
        1000,
        "Number of Gibbs steps in the top RBM before a digit is shown.",
        at_least=1,
        at_most=100_000,
    )
    takes_own_models = True

    def __post_init__(self):
        super().__post_init__()
        if self.top.learner is None:  # what a run was made with is written down
            top = dataclasses.replace(self.top, learner="labelled_pcd" if self.labels else "pcd")
            object.__setattr__(self, "top", top)
        if flag := self.data.made_real:
            raise ValueError(f"{flag}: the pixels of the net are binary units, in [0, 1]")
        if self.top.learner == "labelled_pcd" and not self.labels:
            raise ValueError(
                "--top_learner=labelled_pcd keeps the labels of its chains, and --nolabels leaves "
                "none; choose another, such as pcd"
            )
        labelled = self.top.learner == "labelled_pcd" and self.top.label_cost
        if self.top.centring == "enhanced" and labelled:
            raise ValueError(
                "--top_centring=enhanced takes the model's means from the gradient, and in that of "
                "--top_learner=labelled_pcd the label cost has a part; choose "
                "--top_centring=centred, or --top_label_cost=0"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Trains the net in a workdir, or resumes there, and draws its pictures."""
    dataset, to_pixels = settings.data.load()
    start = _pretrained(settings, dataset)
    settings = _suited(settings, dataset, to_pixels, start)
    _check(settings, dataset)  # before a folder holds the mistake
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    _, held_out = dataset.held_out
    stack = pretraining.train_stack(
        run,
        settings.learning,
        start[:-1] or settings.hidden_sizes[:-1],
        greedy.Stack(to_pixels, redrawn=settings.data.redrawn(dataset)),
        dataset.train.images,
        held_out.images,
        samples=settings.layer_data == "samples",
    )
    top = _train_top(run, stack, start[-1:], dataset, held_out)
    net = stack.net(top.params)
    run.save_model(net)
    picture_key, answer_key = jax.random.split(run.key)
    results, drawn = pictures.draw(
        picture_key,
        net,
        dataset,
        to_pixels,
        chains=settings.top.make_learner().hidden_chains(top.chains),
        keep_labels=settings.top.learner == "labelled_pcd",
        num_steps=settings.sample_steps,
    )
    run.save_figures(drawn | pretraining.layer_curves(run, len(net.layers)))
    if settings.labels:
        rates = recognition.error_rates(answer_key, net, held_out, to_pixels)
        yardsticks.warn(rates, dataset, held_out)
        results |= rates
    return run.finish(results)


def _pretrained(settings: Settings, dataset: data.Dataset) -> tuple[rbm.RBM, ...]:
    """The layers to start from, if any."""
    if settings.pretrained is None:
        return ()
    net, _ = pretrained.load(settings.pretrained, (pretrained.DBN,))
    num_labels = dbn.num_labels(net)
    if settings.labels != bool(num_labels):
        raise ValueError(
            f"--{'' if settings.labels else 'no'}labels, but the net of "
            f"--pretrained={settings.pretrained} has {num_labels or 'no'} label units; give "
            f"--{'no' if settings.labels else ''}labels"
        )
    with about(f"--pretrained={settings.pretrained}"):
        sizes = dbn.num_pixels(net), num_labels
        pretrained.check_data(dataset, *sizes, remedy=pretrained.OTHER_DATA)
    sizes = _sizes(net.layers)
    if settings.hidden_sizes not in (None, sizes):
        raise ValueError(
            f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}, but the net of "
            f"--pretrained={settings.pretrained} has layers of {', '.join(map(str, sizes))} units; "
            "leave the flag out"
        )
    return net.layers


def _sizes(layers: tuple[rbm.RBM, ...]) -> tuple[int, ...]:
    return tuple(layer.weights.shape[1] for layer in layers)


def _suited(
    settings: Settings,
    dataset: data.Dataset,
    to_pixels: data.Transform,
    start: tuple[rbm.RBM, ...] = (),
) -> Settings:
    """The settings with numbers and names where the defaults depend on the data or the start."""
    num_images, num_pixels = dataset.train.images.shape
    width = _PER_PIXEL * num_pixels
    sizes = (_WIDTH, _WIDTH, 4 * _WIDTH) if width >= _WIDTH else (width, 4 * width)
    sizes = _sizes(start) or sizes
    found = {"hidden_sizes": settings.hidden_sizes or sizes}
    grey = data_settings.is_grey(dataset, to_pixels)
    found["top"] = settings.top.suited(num_images, num_pixels, grey=grey)
    if len(found["hidden_sizes"]) > 1:
        found["learning"] = settings.learning.suited(num_images, num_pixels, grey=grey)
    return dataclasses.replace(settings, **found)


def _train_top(
    run: runs.Run,
    stack: greedy.Stack,
    start: tuple[rbm.RBM, ...],
    dataset: data.Dataset,
    held_out: data.Split,
) -> rbm.State:
    """Trains the top RBM, on features and labels if it has label units."""
    settings, number = run.settings, len(stack.layers)
    examples, unseen = (stack.rows(split.images) for split in (dataset.train, held_out))
    num_labels = dataset.num_classes if settings.labels else 0
    if settings.labels:
        examples = {"features": examples, "labels": dataset.train.labels}
        unseen = {"features": unseen, "labels": held_out.labels}
    return pretraining.train_layer(
        run,
        f"layer_{number + 1}",
        settings.top,
        examples,
        unseen,
        start[0] if start else settings.hidden_sizes[-1],
        view=stack.view(samples=settings.top_data == "samples", num_labels=num_labels),
        visible=_visible_units(settings, dataset),
        below=stack.layers[-1] if settings.top_start == "upside_down" else None,
        seed=training.seed_of_phase(settings.seed, number),
    )


def _visible_units(settings: Settings, dataset: data.Dataset) -> units.Units:
    """The visible units of the top RBM."""
    if not settings.labels:
        return units.Bernoulli()
    num_features = (dataset.train.images.shape[1], *settings.hidden_sizes)[-2]
    return label_units.visible_units(num_features, dataset.num_classes)


def _check(settings: Settings, dataset: data.Dataset) -> None:
    """Raises the errors that training of any layer would raise."""
    num_images, num_pixels = dataset.train.images.shape
    sizes = (num_pixels, *settings.hidden_sizes)
    if len(settings.hidden_sizes) > 1:
        data_settings.check_updates(settings.learning, num_images)
    data_settings.check_updates(settings.top, num_images, "top_")
    flags = f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}"
    if settings.top_start == "upside_down" and (len(sizes) < 3 or sizes[-1] < sizes[-3]):
        raise ValueError(
            f"--top_start=upside_down: the transposed weights of the layer below need a top RBM of "
            f"at least as many hidden units as that has visible ones, but "
            f"{flags} over {num_pixels} pixels has "
            + ("no layer below" if len(sizes) < 3 else f"{sizes[-1]} and {sizes[-3]}")
        )
    pretraining.check_layers(settings.learning, sizes[:-1], flags)
    if settings.labels:
        data_settings.check_classes(dataset, ", or train the net without (--nolabels)")
    num_labels = dataset.num_classes if settings.labels else 0
    visible = _visible_units(settings, dataset)
    num_visible = sizes[-2] + num_labels
    pretraining.check(
        settings.top, num_visible, sizes[-1], flags=flags, prefix="top_", visible=visible
    )


if __name__ == "__main__":
    runs.main(run, Settings)
