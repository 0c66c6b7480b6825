"""A deep belief net, learnt layer by layer: the main job.

Each RBM of the stack learns from the activities of the one below; the top one, an associative
memory, sees the images' labels too. Then the net generates digits of each class, by Gibbs sampling
at the top with the label clamped and one pass down to the pixels, and recognises unseen ones.

    python -m experiments.train_dbn --workdir=runs/dbn

learns a 784-500-500-2000 net from 4,000 real digits that ship with a package, and draws what it
learnt, in under 3 minutes on 2 cores; it gets about 4 % of unseen digits wrong. --nolabels leaves
the labels out. On full MNIST:

    python -m experiments.train_dbn --workdir=runs/greedy --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/digit_model_greedy.flags

is the start of the digit model (then: finetune_updown, finetune_memory), wrong on 2.1 % of the test
images.

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses

import jax
from absl import app, flags

from dbn_jax import dbn, label_units, learning, model_file
from dbn_jax.learning import labelled_pcd
from dbn_jax.training import workdir
from experiments.common import pretraining, recognition, shared
from experiments.pictures import dbn as dbn_pictures

TOP_LEARNERS = (*shared.LEARNERS, "labelled_pcd")
_ACTIVITIES = ("samples", "probabilities")
_STARTS = ("random", "upside_down")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      data: what is learnt from.
      learning: how the lower layers learn.
      hidden_sizes: number of units of each hidden layer.
      layer_data: "samples" or "probabilities" of the layer below are the data of the layers between
        the first and the top.
      labels: whether the top RBM sees the images' labels beside the features.
      top_learner: learner of the top RBM, one of `TOP_LEARNERS`.
      top_gibbs_steps: its Gibbs steps in each update.
      top_data: "samples" or "probabilities" of the layer below are the top RBM's data.
      top_learning_rate: its learning rate.
      top_epochs: its epochs.
      top_start: "random" weights, or "upside_down": as the layer below turned upside down
        (`dbn.upside_down`).
      label_cost: see `labelled_pcd.LabelledPCD`; for this learner alone.
      sample_steps: Gibbs steps of the top RBM before a digit is shown.
      seed: of everything random.
    """

    data: shared.DataSettings = dataclasses.field(default_factory=shared.DataSettings)
    learning: shared.LearningSettings = dataclasses.field(default_factory=shared.LearningSettings)
    hidden_sizes: tuple[int, ...] = (500, 500, 2000)
    layer_data: str = "probabilities"
    labels: bool = True
    top_learner: str = "labelled_pcd"
    top_gibbs_steps: int = 1
    top_data: str = "samples"
    top_learning_rate: float = 0.02
    top_epochs: int = 60
    top_start: str = "random"
    label_cost: float = 10.0
    sample_steps: int = 1000
    seed: int = 0

    def __post_init__(self):
        if self.data.standardise:
            raise ValueError("--standardise: the pixels of the net are binary units, in [0, 1]")
        if self.top_learner == "labelled_pcd" and not self.labels:
            raise ValueError(
                "--top_learner=labelled_pcd keeps the labels of its chains, and --nolabels leaves "
                "none; choose another, such as pcd"
            )


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Learns the net in a workdir, or goes on there, and draws its pictures.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    dataset, transform = settings.data.load()
    held_out = dataset.validation or dataset.test
    num_images, num_pixels = dataset.train.images.shape
    shared.check_batch_size("batch_size", settings.learning.batch_size, num_images)
    sizes = (num_pixels, *settings.hidden_sizes)
    upside_down = settings.top_start == "upside_down"
    if upside_down and (len(sizes) < 3 or sizes[-1] < sizes[-3]):
        raise ValueError(
            f"--top_start=upside_down turns the layer below the top RBM, and hidden_sizes "
            f"{settings.hidden_sizes} over {sizes[0]} pixels has "
            + ("none" if len(sizes) < 3 else f"one of {sizes[-3]} visible units: more than the top")
        )
    visible = binary = shared.UNITS["bernoulli"]
    if settings.labels:
        visible = label_units.visible_units(sizes[-2], dataset.num_classes)
    num_labels = dataset.num_classes if settings.labels else 0
    top_learner = _top_learner(settings)
    pretraining.check_below(settings.learning, sizes[:-1])
    pretraining.check(top_learner, visible, binary, sizes[-2] + num_labels, sizes[-1])
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.train_dbn",
        needed_bytes=pretraining.needed_bytes(sizes),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()

    resumable = {"run": run_dir, "checkpoint_seconds": checkpoint_seconds}
    names = [f"layer_{i + 1}" for i in range(len(settings.hidden_sizes))]
    below = pretraining.learn_below(
        settings.learning,
        settings.hidden_sizes[:-1],
        dataset.train.images,
        held_out.images,
        transform,
        redrawn=settings.data.redrawn,
        samples=settings.layer_data == "samples",
        seed=settings.seed,
        **resumable,
    )
    examples, unseen = below.examples, below.held_out
    view = below.view(settings.top_data == "samples")
    if settings.labels:
        examples = {"features": examples, "labels": dataset.train.labels}
        unseen = {"features": unseen, "labels": held_out.labels}
        view = pretraining.Joined(view, dataset.num_classes)
    top = pretraining.learn(
        _top_learning(settings),
        top_learner,
        pretraining.Layer(
            names[-1], visible, binary, sizes[-1], view, below.layers[-1] if upside_down else None
        ),
        examples,
        unseen,
        seed=settings.seed + len(below.layers),
        **resumable,
    )

    net = dbn.stack((*below.layers, top.params))
    model_file.save(run_dir.path / "model.npz", net)
    figures_of_run = dbn_pictures.draw(
        run_dir,
        dataset,
        transform,
        net,
        sample_steps=settings.sample_steps,
        seed=settings.seed + len(sizes) - 1,
        top_chains=top.chains,
    )
    for name in names:
        pretraining.draw_curves(run_dir, name, f"Learning of {name.replace('_', ' ')}")
    if settings.labels:
        rates = recognition.error_rates(jax.random.key(settings.seed), net, held_out, transform)
        figures_of_run |= rates
        part = "validation" if dataset.validation else "test"
        print(
            f"of {len(held_out):,} {part} images it gets wrong: "
            + ", ".join(f"{rate:.2%} ({name.split('_', 2)[-1]})" for name, rate in rates.items())
        )
    summary = run_dir.write_summary(figures_of_run, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


def _top_learning(settings: Settings) -> shared.LearningSettings:
    return dataclasses.replace(
        settings.learning,
        learner=settings.top_learner,
        gibbs_steps=settings.top_gibbs_steps,
        learning_rate=settings.top_learning_rate,
        epochs=settings.top_epochs,
    )


def _top_learner(settings: Settings) -> learning.Learner:
    top = _top_learning(settings)
    if settings.top_learner != "labelled_pcd":
        return top.make_learner()
    learner = labelled_pcd.LabelledPCD(top.num_chains, top.gibbs_steps, settings.label_cost)
    return top.wrapped(learner)


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings()
    shared.define_run_flags()
    shared.define_data_flags()
    shared.define_learning_flags(epochs=60, learning_rate_decay="linear")
    flags.DEFINE_list("hidden_sizes", ["500", "500", "2000"], "Units of each hidden layer.")
    flags.DEFINE_enum(
        "layer_data",
        default.layer_data,
        _ACTIVITIES,
        "What layers between the first and the top learn from: drawn states of the layer below, or "
        "their probabilities.",
    )
    flags.DEFINE_bool("labels", default.labels, "The top RBM sees labels beside the features.")
    flags.DEFINE_enum(
        "top_learner",
        None,
        TOP_LEARNERS,
        "Learner of the top RBM; labelled_pcd unless chosen, and pcd with --nolabels.",
    )
    flags.DEFINE_integer(
        "top_gibbs_steps",
        default.top_gibbs_steps,
        "Gibbs steps of the top RBM in each update.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "top_data", default.top_data, _ACTIVITIES, "What the top RBM learns from, likewise."
    )
    flags.DEFINE_float(
        "top_learning_rate",
        default.top_learning_rate,
        "Learning rate of the top RBM.",
        lower_bound=0,
    )
    flags.DEFINE_integer("top_epochs", default.top_epochs, "Epochs of the top RBM.", lower_bound=1)
    flags.DEFINE_enum(
        "top_start",
        default.top_start,
        _STARTS,
        "The top RBM's first weights: small random ones, or those of the layer below, transposed.",
    )
    flags.DEFINE_float(
        "label_cost",
        default.label_cost,
        "Weight that labelled_pcd gives to telling labels apart.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "sample_steps",
        default.sample_steps,
        "Gibbs steps before a digit is shown.",
        lower_bound=1,
    )


def settings_of_flags() -> Settings:
    """Makes settings of the flags."""
    usual_learner = "labelled_pcd" if flags.FLAGS.labels else "pcd"
    return shared.from_flags(
        Settings,
        data=shared.data_settings(),
        learning=shared.learning_settings(),
        hidden_sizes=shared.whole_numbers("hidden_sizes", flags.FLAGS.hidden_sizes),
        top_learner=flags.FLAGS.top_learner or usual_learner,
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, settings_of_flags)


if __name__ == "__main__":
    define_flags()
    app.run(main)
