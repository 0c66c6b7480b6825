"""A deep belief net, learnt layer by layer: the main job.

Each RBM of the stack learns from the activities of the one below. Then the net generates: Gibbs
sampling in its top RBM, an associative memory, and one pass down to the pixels. With --labels the
top RBM sees the images' labels too: the net generates digits of each class, its label units
clamped, and recognises unseen ones.

    python -m experiments.train_dbn --workdir=runs/dbn

learns a 784-500-500-2000 net from 4,000 real digits that ship with a package, and draws what it
learnt, in under 3 minutes on 2 cores. On full MNIST:

    python -m experiments.train_dbn --workdir=runs/mnist --dataset=mnist --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/dbn_mnist.flags

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006); Hinton,
"To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from dbn_jax import (
    associative_memory,
    data,
    dbn,
    figures,
    rbm,
    threefry,
    weights,
    workdir,
)
from experiments import layer, recognition, shared

_NUM_SHOWN = 24
_NUM_SAMPLES = 100
_NUM_OF_CLASS = 10
_CHAIN_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)
_BLOCK = 1000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      data: what is learnt from.
      learning: how the lower layers learn.
      hidden_sizes: number of units of each hidden layer.
      layer_data: "samples" or "probabilities" of the layer below are each layer's data.
      labels: whether the top RBM sees the images' labels beside the features.
      top_learner: learner of the top RBM.
      top_learning_rate: its learning rate.
      top_epochs: its epochs.
      sample_steps: Gibbs steps of the top RBM before a digit is shown.
      seed: of everything random.
    """

    data: shared.DataSettings = dataclasses.field(default_factory=shared.DataSettings)
    learning: shared.LearningSettings = dataclasses.field(default_factory=shared.LearningSettings)
    hidden_sizes: tuple[int, ...] = (500, 500, 2000)
    layer_data: str = "samples"
    labels: bool = False
    top_learner: str = "pcd"
    top_learning_rate: float = 0.02
    top_epochs: int = 60
    sample_steps: int = 200
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Activities:
    """What an upper layer sees of the probabilities of the layer below.

    Attributes:
      samples: whether it sees states drawn anew at each presentation.
    """

    samples: bool

    def __call__(self, key, probabilities):
        """(key, (..., H)) -> (..., H); the key is consumed."""
        return threefry.bernoulli(key, probabilities) if self.samples else probabilities


@dataclasses.dataclass(frozen=True)
class Joined:
    """What a top RBM with label units sees: features, and labels one-hot beside them.

    Attributes:
      features: what it sees of the layer below.
      num_labels: L.
    """

    features: Callable[..., jax.Array]
    num_labels: int

    def __call__(self, key, rows):
        """(key, {"features": (..., F), "labels": (...)}) -> (..., F + L); the key is consumed."""
        x = self.features(key, rows["features"])
        one_hot = jax.nn.one_hot(rows["labels"], self.num_labels, dtype=x.dtype)
        return jnp.concatenate([x, one_hot], axis=-1)


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Learns the net in a workdir, or goes on there, and draws its pictures.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    dataset, transform = settings.data.load()
    held_out = dataset.validation or dataset.test
    sizes = (dataset.train.images.shape[1], *settings.hidden_sizes)
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.train_dbn",
        needed_bytes=layer.needed_bytes(sizes),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()

    states = []
    examples, unseen, view = dataset.train.images, held_out.images, transform
    names = [f"layer_{i + 1}" for i in range(len(settings.hidden_sizes))]
    for i, name in enumerate(names):
        is_top = i == len(names) - 1
        visible = shared.UNITS["bernoulli"]
        if is_top and settings.labels:
            visible = associative_memory.visible_units(sizes[i], dataset.num_classes)
            examples = {"features": examples, "labels": dataset.train.labels}
            unseen = {"features": unseen, "labels": held_out.labels}
            view = Joined(view, dataset.num_classes)
        state = layer.learn(
            _top_learning(settings) if is_top else settings.learning,
            layer.Layer(name, visible, shared.UNITS["bernoulli"], sizes[i + 1], view),
            examples,
            unseen,
            seed=settings.seed + i,
            run=run_dir,
            checkpoint_seconds=checkpoint_seconds,
        )
        states.append(state)
        if not is_top:
            # Probabilities go up; grey levels do so as they are, binarised ones as drawn.
            examples = _up(state.params, examples, transform if i == 0 else None)
            unseen = _up(state.params, unseen, transform if i == 0 else None)
            view = Activities(settings.layer_data == "samples")

    net = dbn.stack(tuple(state.params for state in states))
    figures_of_run = draw(run_dir, settings, dataset, transform, net, states[-1].chains)
    for name in names:
        title = f"Learning of {name.replace('_', ' ')}"
        layer.draw_curves(run_dir, name, title)
    weights.save(run_dir.path / "model.npz", net)
    summary = run_dir.write_summary(figures_of_run, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


def _top_learning(settings: Settings) -> shared.LearningSettings:
    return dataclasses.replace(
        settings.learning,
        learner=settings.top_learner,
        learning_rate=settings.top_learning_rate,
        epochs=settings.top_epochs,
    )


def _up(params: rbm.RBM, rows: np.ndarray, transform: data.Transform | None) -> np.ndarray:
    """The hidden probabilities of all rows, in blocks, so that no more than one is on the way."""
    blocks = []
    for i, start in enumerate(range(0, len(rows), _BLOCK)):
        block = jnp.asarray(rows[start : start + _BLOCK])
        if transform is not None:
            block = shared.transformed(transform, jax.random.key(i), block)
        blocks.append(np.asarray(_hidden_mean(params, block)))
    return np.concatenate(blocks)


_hidden_mean = jax.jit(rbm.hidden_mean)


def draw(
    run_dir: workdir.Workdir,
    settings: Settings,
    dataset: data.Dataset,
    transform: data.Transform,
    net: dbn.DBN,
    top_chains: object,
) -> dict[str, float]:
    """Draws the pictures of a learnt net.

    Returns:
      Figures for the summary.
    """
    shape = dataset.image_shape
    held_out = dataset.validation or dataset.test
    data_key, start_key, sample_key, chain_key, recognise_key = jax.random.split(
        jax.random.key(settings.seed + len(net.layers)), 5
    )

    def save(picture, name):
        figures.save(picture, run_dir.figures / f"{name}.png")

    for i, params in enumerate(net.layers):
        count = params.hidden.num_units
        save(
            figures.receptive_fields(
                dbn.feature_images(net, i),
                image_shape=shape,
                title=f"What units of hidden layer {i + 1} stand for",
                subtitle="their weights projected to the pixels",
                scale="common" if i == 0 else "unit",
                max_units=min(count, 100),
            ),
            f"features_{i + 1}",
        )
    v = shared.transformed(transform, data_key, jnp.asarray(held_out.images))
    reconstruction = _reconstruct(net, v)
    error = float(jnp.mean(jnp.sum((v - reconstruction) ** 2, axis=-1)))
    some = np.linspace(0, len(v) - 1, min(_NUM_SHOWN, len(v))).astype(int)
    save(
        figures.reconstructions(
            dataset.pictures(v[some]),
            dataset.pictures(reconstruction[some]),
            image_shape=shape,
            title="Unseen images, and what comes back from the top of the net",
            subtitle=f"mean squared error per image {error:.1f}, summed over the pixels",
        ),
        "reconstructions",
    )

    top = net.layers[-1]
    start = rbm.init_chains(start_key, top, 8)
    save(
        figures.chains(
            dataset.pictures(_chain(chain_key, net, start, _CHAIN_STEPS)),
            image_shape=shape,
            steps=_CHAIN_STEPS,
            title="Gibbs sampling from random states of the top layer",
            subtitle="and one pass down; means of the pixels",
        ),
        "chains",
    )
    figures_of_run = {"reconstruction_error": error}
    if settings.labels:
        labels = np.repeat(np.arange(dataset.num_classes), _NUM_OF_CLASS)
        x = _start_from_labels(start_key, net, labels)
        samples, _ = _imagine(
            sample_key, net, x, associative_memory.labels_mask(net), settings.sample_steps
        )
        by_class = dataset.pictures(samples).reshape(dataset.num_classes, _NUM_OF_CLASS, -1)
        picture = figures.image_rows(
            {str(label): images for label, images in enumerate(by_class)},
            image_shape=shape,
            columns=_NUM_OF_CLASS,
            title="Generated by the net, a class in each row",
            subtitle=f"{settings.sample_steps} Gibbs steps from random features with the label "
            "units clamped, and one pass down",
        )
        for way in recognition.WAYS:
            answers = recognition.log_posteriors(recognise_key, net, held_out, transform, way)
            figures_of_run[f"error_rate_{way}"] = recognition.error_rate(answers, held_out.labels)
    else:
        start = layer.persistent_hidden(top_chains)
        from_where = "the persistent chains of learning"
        if start is None:
            start = _up_pass(net, v)[-1]
            from_where = "unseen images"
        start = start[:_NUM_SAMPLES]
        samples, _ = _generate(sample_key, net, start, settings.sample_steps)
        picture = figures.image_sheet(
            dataset.pictures(samples),
            image_shape=shape,
            columns=10 if len(start) % 10 == 0 else None,
            title="Generated by the net",
            subtitle=f"{settings.sample_steps} Gibbs steps from {from_where}, and one pass down",
        )
    save(picture, "samples")
    return figures_of_run


_up_pass = jax.jit(dbn.up_pass)
_reconstruct = jax.jit(dbn.reconstruct)
_imagine = jax.jit(associative_memory.generate)
_start_from_labels = jax.jit(associative_memory.start_from_labels)
_generate = jax.jit(dbn.generate)  # the number of steps is traced: one program for all
_down_pass = jax.jit(dbn.down_pass)


def _chain(key, net, h, steps):
    """The pixels' means after each of some numbers of Gibbs steps at the top: (T, chains, V)."""
    frames, done = [], 0
    for step in steps:
        if step > done:
            v, h = _generate(jax.random.fold_in(key, step), net, h, step - done)
        else:
            v = _down_pass(net, h)
        done = step
        frames.append(v)
    return np.stack(frames)


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    shared.define_run_flags()
    shared.define_data_flags()
    shared.define_learning_flags(epochs=60, learning_rate_decay="linear")
    flags.DEFINE_list("hidden_sizes", ["500", "500", "2000"], "Units of each hidden layer.")
    flags.DEFINE_enum(
        "layer_data",
        "samples",
        ("samples", "probabilities"),
        "What each layer learns from: drawn states of the layer below, or their probabilities.",
    )
    flags.DEFINE_bool("labels", False, "The top RBM sees labels beside the features.")
    flags.DEFINE_enum("top_learner", "pcd", shared.LEARNERS, "Learner of the top RBM.")
    flags.DEFINE_float("top_learning_rate", 0.02, "Learning rate of the top RBM.", lower_bound=0)
    flags.DEFINE_integer("top_epochs", 60, "Epochs of the top RBM.", lower_bound=1)
    flags.DEFINE_integer("sample_steps", 200, "Gibbs steps before a digit is shown.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""

    def settings():
        sizes = shared.whole_numbers("hidden_sizes", flags.FLAGS.hidden_sizes)
        return shared.from_flags(
            Settings,
            data=shared.data_settings(),
            learning=shared.learning_settings(),
            hidden_sizes=sizes,
        )

    shared.call(argv, run, settings)


if __name__ == "__main__":
    define_flags()
    app.run(main)
