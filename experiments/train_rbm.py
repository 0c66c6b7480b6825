"""One restricted Boltzmann machine, on any images, with any unit types and learner.

The tutorial's first demonstration, 50 binary features learnt from 16×16 images of the digit 2 by
CD-1; their weights as they develop from a random start, and reconstructions of unseen 2s and of
other digits, which the network tries to see as 2s (under a minute on 2 cores):

    python -m experiments.train_rbm --workdir=runs/twos \
        --flagfile=experiments/flagfiles/features_of_twos.flags

500 features of full MNIST by persistent contrastive divergence (some 3 minutes on 2 cores):

    python -m experiments.train_rbm --workdir=runs/pcd --dataset=mnist --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/rbm_500_pcd.flags

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

Reference: Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses

import jax
import numpy as np
from absl import app, flags, logging

from dbn_jax import data, figures, model_file, rbm
from dbn_jax.training import workdir
from experiments.common import pretraining, shared

_NUM_SHOWN = 24
_NUM_UNITS_SHOWN = 50
# The chains are shown at about every half power of ten of their steps.
_CHAIN_DIVISORS = (1000, 333, 100, 33, 10, 3, 1)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result."""

    data: shared.DataSettings = dataclasses.field(default_factory=shared.DataSettings)
    learning: shared.LearningSettings = dataclasses.field(default_factory=shared.LearningSettings)
    visible: str = "bernoulli"
    hidden: str = "bernoulli"
    num_hidden: int = 500
    sample_steps: int = 1000
    seed: int = 0


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Learns the RBM in a workdir, or goes on there, and draws its pictures.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    dataset, transform = settings.data.load()
    held_out = dataset.validation or dataset.test
    unfamiliar = settings.data.left_out(dataset)
    pixels = shared.Pixels(transform, settings.visible)
    num_images, num_visible = dataset.train.images.shape
    shared.check_batch_size("batch_size", settings.learning.batch_size, num_images)
    learner = settings.learning.make_learner()
    visible, hidden = (shared.UNITS[name] for name in (settings.visible, settings.hidden))
    pretraining.check(learner, visible, hidden, num_visible, settings.num_hidden)
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.train_rbm",
        needed_bytes=pretraining.needed_bytes((num_visible, settings.num_hidden)),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()
    snapshots = Snapshots(run_dir, settings.learning.epochs)
    state = pretraining.learn(
        settings.learning,
        learner,
        pretraining.Layer("rbm", visible, hidden, settings.num_hidden, pixels),
        dataset.train.images,
        held_out.images,
        seed=settings.seed,
        run=run_dir,
        checkpoint_seconds=checkpoint_seconds,
        callback=snapshots.take,
    )
    model_file.save(run_dir.path / "model.npz", state.params)
    snapshots.draw(dataset.image_shape)
    draw(run_dir, settings, dataset, unfamiliar, pixels, state)
    table = figures.read_metrics(pretraining.metrics_path(run_dir, "rbm"))
    summary = run_dir.write_summary(
        {name: values[-1] for name, values in table.items() if name.startswith("eval_")},
        seed=settings.seed,
    )
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


class Snapshots:
    """The weights at the start, at the end, and after 1, 2, 4, … epochs between; kept on disk."""

    def __init__(self, run_dir: workdir.Workdir, num_epochs: int):
        """Plans the epochs to keep."""
        self._run_dir = run_dir
        self._path = run_dir.path / "snapshots"
        doubling = [2**i for i in range(num_epochs.bit_length()) if 2**i < num_epochs]
        self._epochs = [0, *doubling[-6:], num_epochs]
        self._path.mkdir(exist_ok=True)

    def take(self, epoch: int, state: rbm.State) -> None:
        """Saves the weights if this epoch is wanted."""
        if epoch in self._epochs:
            model_file = np.asarray(state.params.weights[:, :_NUM_UNITS_SHOWN])
            np.save(self._path / f"epoch_{epoch}.npy", model_file)

    def draw(self, image_shape: tuple[int, ...]) -> None:
        """Draws how the weight images develop, as far as they are there."""
        paths = {epoch: self._path / f"epoch_{epoch}.npy" for epoch in self._epochs}
        model_file = {epoch: np.load(path) for epoch, path in paths.items() if path.exists()}
        missing = sorted(paths.keys() - model_file.keys())
        if missing:
            logging.warning("%s has lost the weights of epochs %s", self._path, missing)
        if not model_file:
            return
        picture = figures.development(
            np.stack(list(model_file.values())),
            image_shape=image_shape,
            labels=[f"epoch {epoch}" for epoch in model_file],
            title="Features develop from a random start",
        )
        figures.save(picture, self._run_dir.figures / "development.png")


def draw(
    run_dir: workdir.Workdir,
    settings: Settings,
    dataset: data.Dataset,
    unfamiliar: data.Split | None,
    pixels: shared.Pixels,
    state: rbm.State,
) -> None:
    """Draws the pictures of a learnt RBM; `unfamiliar`: images of other classes."""
    params, shape = state.params, dataset.image_shape
    data_key, start_key, sample_key, chain_key = jax.random.split(
        jax.random.key(settings.seed + 1), 4
    )
    held_out = dataset.validation or dataset.test

    def look(images):
        return shared.transformed(pixels, data_key, images)

    def grey(v):
        return np.clip(dataset.pictures(np.asarray(pixels.grey(v), np.float32)), 0, 1)

    def save(picture, name):
        figures.save(picture, run_dir.figures / f"{name}.png")

    def draw_reconstructions(images, title, name):
        v = look(images)
        both = grey(v), grey(rbm.reconstruct(params, v))
        save(figures.reconstructions(*both, image_shape=shape, title=title), name)

    what = f"{settings.num_hidden} {settings.hidden} features"
    save(
        figures.receptive_fields(params.weights, image_shape=shape, title=f"Weights of {what}"),
        "features",
    )
    draw_reconstructions(
        _spread(held_out.images), "Unseen images and their reconstructions", "reconstructions"
    )
    if unfamiliar is not None:
        draw_reconstructions(
            _spread(unfamiliar.images),
            f"Unfamiliar digits, seen as {_listed(settings.data.classes)}",
            "unfamiliar",
        )
    start = rbm.init_chains(start_key, params, 8)
    steps = settings.sample_steps
    chain_steps = (0, *sorted({max(1, steps // divisor) for divisor in _CHAIN_DIVISORS}))
    save(
        figures.chains(
            grey(_chain(chain_key, params, start, chain_steps)),
            image_shape=shape,
            steps=chain_steps,
            title="Gibbs sampling from random hidden states",
            subtitle="means of the visible units",
        ),
        "chains",
    )
    start = pretraining.persistent_hidden(state.chains)
    from_where = f"{steps} Gibbs steps on from the persistent chains of learning"
    if start is None:
        start = rbm.sample_hidden(start_key, params, look(held_out.images))
        from_where = f"{steps} Gibbs steps from unseen images"
    frames = _chain(sample_key, params, start[:60], (steps,))
    save(
        figures.image_sheet(
            grey(frames[-1]),
            image_shape=shape,
            columns=12,
            title="Samples",
            subtitle=f"{from_where}; means of the visible units",
        ),
        "samples",
    )
    means = rbm.hidden_mean(params, look(held_out.images[:200]))
    low, high = params.hidden.support
    if np.isfinite(high - low):
        save(
            figures.hidden_activities(
                means, title="Hidden units on unseen images", value_range=(low, high)
            ),
            "hidden",
        )
    save(
        figures.histograms(
            {
                "weights": params.weights,
                "visible biases": params.visible.bias,
                "hidden biases": params.hidden.bias,
            },
            title="Parameters",
        ),
        "histograms",
    )
    pretraining.draw_curves(run_dir, "rbm", "Learning")


def _chain(key, params, h, steps):
    """The visible means of chains after each of some numbers of Gibbs steps: (T, chains, V)."""
    frames, done = [], 0
    for step in steps:
        h, mean = _advance(jax.random.fold_in(key, step), params, h, step - done)
        frames.append(mean)
        done = step
    return np.stack(frames)


@jax.jit
def _advance(key, params, h, num_steps):
    """Hidden states after that many Gibbs steps (traced: one program for all), visible means."""

    def step(t, h):
        down_key, up_key = jax.random.split(jax.random.fold_in(key, t))
        return rbm.sample_hidden(up_key, params, rbm.sample_visible(down_key, params, h))

    h = jax.lax.fori_loop(0, num_steps, step, h)
    return h, rbm.visible_mean(params, h)


def _spread(images: np.ndarray) -> np.ndarray:
    """Some images from all over a data set."""
    return images[np.linspace(0, len(images) - 1, min(_NUM_SHOWN, len(images))).astype(int)]


def _listed(classes: tuple[int, ...]) -> str:
    return " or ".join(f"{c}s" for c in dict.fromkeys(classes))


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    shared.define_run_flags()
    shared.define_data_flags()
    shared.define_learning_flags()
    flags.DEFINE_enum("visible", "bernoulli", shared.PIXEL_UNITS, "Type of the visible units.")
    flags.DEFINE_enum("hidden", "bernoulli", tuple(shared.UNITS), "Type of the hidden units.")
    flags.DEFINE_integer("num_hidden", 500, "Number of hidden units.", lower_bound=1)
    flags.DEFINE_integer("sample_steps", 1000, "Gibbs steps before a sample.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(
        argv,
        run,
        lambda: shared.from_flags(
            Settings, data=shared.data_settings(), learning=shared.learning_settings()
        ),
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
