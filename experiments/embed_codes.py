"""Maps of a deep autoencoder's codes and of PCA's, by UNI-SNE: do the classes part by themselves?

    python -m experiments.train_autoencoder --workdir=runs/autoencoder
    python -m experiments.embed_codes --workdir=runs/map --pretrained=runs/autoencoder

takes the workdir of an autoencoder, or a folder that `publish` made of it (with --data_dir). It
encodes the images that the autoencoder has not seen, by it and by as many principal components of
its training images, and lays both out in two dimensions. figures/maps.png shows the maps side by
side, thumbnails.png the digits on the map of the codes, curves.png how the objective fell;
maps.npz holds the positions. The labels serve the colours, and the error of classifying every
image by its nearest other one (in pixels, codes and maps), nothing else.

With 10,000 points the probabilities of all pairs take 400 MB, and each of a map's 1,000 updates
takes one core 0.12 s without a background and 0.19 s with one.

References: Hinton, "To recognize shapes, first learn to generate images" (2007); and those of
`dbn_jax.embedding.sne`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from dbn_jax import data, figures, training
from dbn_jax.embedding import affinities, pairwise, pca, sne
from dbn_jax.training import checkpoints, workdir
from experiments.benchmarks import memory
from experiments.common import models, shared

_BLOCK = 1000  # images encoded at a time
_EPOCH = 50  # updates between two looks at the objective
_NAMES = {"sne": "SNE", "unisne": "UNI-SNE", "tsne": "t-SNE"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the autoencoder, or the folder where it is published.
      data_dir: where its data are; None: where they were when it learnt.
      num_images: the first so many of the held-out images; None: all.
      method: one of `unisne.METHODS`.
      perplexity: see `affinities.joint_probabilities`.
      num_steps: updates of each map, a multiple of 50.
      start: see `unisne.init_state`.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    num_images: int | None = None
    method: str = "unisne"
    perplexity: float = 30.0
    num_steps: int = 1000
    start: str = "random"
    seed: int = 0

    def __post_init__(self):
        if self.num_steps < _EPOCH or self.num_steps % _EPOCH:
            raise ValueError(
                f"--num_steps={self.num_steps}: it must be a multiple of {_EPOCH}, after each of "
                "which the objective is looked at"
            )


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Makes the maps in a workdir, or goes on there.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      FileNotFoundError: there is no finished run, or its data are elsewhere.
      ValueError: it is none of an autoencoder, or there are too few images for the perplexity.
    """
    model, data_settings = models.load(settings.pretrained, "train_autoencoder", settings.data_dir)
    dataset, transform = data_settings.load()
    models.check_data(dataset, model.layers()[0].kernel.shape[0])
    part = "test" if dataset.validation is None else "validation"
    held_out = _first(dataset.splits()[part], settings.num_images, part)
    affinities.check_perplexity(settings.perplexity, len(held_out))
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.embed_codes",
        needed_bytes=50_000_000,
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.path}")
        return run_dir.summary()
    key, train_key, held_out_key = jax.random.split(jax.random.key(settings.seed), 3)
    pixels = shared.transformed(transform, held_out_key, jnp.asarray(held_out.images))
    learnt = codes(model, pixels)
    components = pca.fit(
        shared.transformed(transform, train_key, jnp.asarray(dataset.train.images)),
        learnt.shape[1],
    )
    spaces = {"codes": learnt, "pca": pca.encode(components, pixels)}
    results = {
        "split": part,
        "num_images": len(held_out),
        "num_components": learnt.shape[1],
        "neighbour_error_pixels": pairwise.leave_one_out_error(pixels, held_out.labels),
    }
    maps = {}
    for i, (name, points) in enumerate(spaces.items()):
        maps[name], found = _learn_map(
            jax.random.fold_in(key, i), name, points, settings, run_dir, checkpoint_seconds
        )
        results[f"neighbour_error_{name}"] = pairwise.leave_one_out_error(points, held_out.labels)
        results[f"neighbour_error_map_{name}"] = pairwise.leave_one_out_error(
            jnp.asarray(maps[name]), held_out.labels
        )
        results |= {f"{figure}_{name}": value for figure, value in found.items()}
    results["peak_memory_bytes"] = memory.peak_rss()
    np.savez(run_dir.path / "maps.npz", labels=held_out.labels, **maps)
    _draw(run_dir, dataset, held_out, maps, results, settings)
    for name, value in results.items():
        print(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary


def codes(model, pixels: jax.Array) -> jax.Array:
    """The codes of images, in blocks: (N, pixels) -> (N, C)."""
    blocks = range(0, len(pixels), _BLOCK)
    return jnp.concatenate([_encode(model, pixels[i : i + _BLOCK]) for i in blocks])


@jax.jit
def _encode(model, pixels):
    return model.encode(pixels)


def _first(split: data.Split, count: int | None, part: str) -> data.Split:
    if count is None:
        return split
    if not 1 <= count <= len(split):
        raise ValueError(f"--num_images={count}, but there are {len(split)} {part} images")
    return data.Split(split.images[:count], split.labels[:count])


def _learn_map(key, name, points, settings, run_dir, checkpoint_seconds):
    """Returns the positions (N, 2), and the figures of how they were found."""
    method = _method(settings)
    state = sne.init_state(key, points, start=settings.start)
    p = affinities.joint_probabilities(points, settings.perplexity)

    def watch(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    # An update looks at all points, and at no batch of them: the rows only count the updates.
    rows = np.zeros(_EPOCH * len(points), np.uint8)
    with checkpoints.Checkpoints(run_dir.checkpoints(name)) as saved:
        state = training.train(
            functools.partial(_step, p=p, method=method),
            state,
            rows,
            settings=training.Settings(
                seed=settings.seed,
                batch_size=len(points),
                num_epochs=settings.num_steps // _EPOCH,
                phase=f"map of {name}",
                checkpoint_seconds=checkpoint_seconds,
            ),
            evaluate=lambda state: {"objective": sne.state_objective(state, p, method=method)},
            callback=watch,
            checkpoints=saved,
            metrics_path=_metrics(run_dir, name),
        )
    table = figures.read_metrics(_metrics(run_dir, name))
    found = {"objective": table["eval_objective"][-1], "seconds": table["seconds"][-1]}
    return np.asarray(state.positions), {k: float(value) for k, value in found.items()}


def _method(settings):
    return dataclasses.replace(sne.METHODS[settings.method], num_steps=settings.num_steps)


def _step(key, state, batch, *, p, method):
    del key, batch
    return sne.step(state, p, method=method)


def _metrics(run_dir, name):
    return run_dir.path / f"metrics_{name}.csv"


def _draw(run_dir, dataset, held_out, maps, results, settings):
    size = results["num_components"]
    kinds = {"codes": f"{size}-D codes of the autoencoder", "pca": f"{size}-D codes of PCA"}
    titles = {
        name: f"{kind}: 1-NN error {results[f'neighbour_error_map_{name}']:.2%}"
        for name, kind in kinds.items()
    }
    how = f"{_NAMES[settings.method]}, perplexity {settings.perplexity:g}"
    made = f"{how}; {len(held_out):,} {results['split']} images; only the colours know labels"
    picture = figures.map_of_points(
        {titles[name]: positions for name, positions in maps.items()},
        held_out.labels,
        title="Codes laid out in two dimensions",
        subtitle=made,
    )
    figures.save(picture, run_dir.figures / "maps.png")
    if len(dataset.image_shape) == 2:
        picture = figures.map_of_points(
            {titles["codes"]: maps["codes"]},
            held_out.labels,
            title="Digits on the map of their codes",
            subtitle=made,
            thumbnails=np.clip(dataset.pictures(held_out.images), 0, 1),
            image_shape=dataset.image_shape,
        )
        figures.save(picture, run_dir.figures / "thumbnails.png")
    tables = {name: figures.read_metrics(_metrics(run_dir, name)) for name in maps}
    lines = {kinds[name]: (t["step"], t["eval_objective"]) for name, t in tables.items()}
    method = _method(settings)
    if method.background:
        first, last = (round(share * method.num_steps) for share in method.background_rise)
        how += (
            f"; from update {first} to {last} a uniform background takes over {method.background:g}"
            " of the map's probability, which changes what is measured"
        )
    picture = figures.learning_curves(
        {"KL divergence (nats)": lines},
        title="Learning of the maps",
        subtitle=how,
        x_label="update",
    )
    figures.save(picture, run_dir.figures / "curves.png")


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags()
    models.define_pretrained_flags("the autoencoder")
    flags.DEFINE_integer("num_images", None, "Of the held-out images, if not all.", lower_bound=1)
    flags.DEFINE_enum("method", default.method, list(sne.METHODS), "How maps are made.")
    flags.DEFINE_float("perplexity", default.perplexity, "Smooth number of neighbours.")
    flags.DEFINE_integer(
        "num_steps", default.num_steps, f"Updates of each map, a multiple of {_EPOCH}."
    )
    flags.DEFINE_enum("start", default.start, sne.STARTS, "What maps begin with.")


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
