"""Draws maps of the codes of a deep autoencoder and of PCA, by UNI-SNE.

    python -m experiments.train_autoencoder --workdir=runs/autoencoder
    python -m experiments.embed_codes --workdir=runs/map --pretrained=runs/autoencoder

takes the workdir of an autoencoder, or a folder that `publish` made of it (with --data_dir). It
encodes the held-out images by the autoencoder, and by as many principal components of its training
images, and lays both out in two dimensions. figures/maps.png shows the maps side by side,
thumbnails.png the digits on the map of the codes, curves.png how the objective fell; maps.npz holds
the positions. The labels are used for the colours only, and for the error of classifying each
image by its nearest neighbour (among pixels, codes and map points).

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
from matplotlib.figure import Figure

from dbn_jax import data, figures
from dbn_jax.embedding import affinities, pairwise, pca, sne
from experiments.common import memory, pretrained, runs
from experiments.common.settings import about, setting

_EPOCH = 50  # updates between two measurements of the objective
_NAMES = {"sne": "SNE", "unisne": "UNI-SNE", "tsne": "t-SNE"}


class Settings(runs.ResumedSettings, pretrained.Pretrained):
    """Everything that decides the result."""

    num_images: int | None = setting(
        None, "Number of held-out images on the maps; by default all.", at_least=1
    )
    method: str = setting(
        "unisne",
        "Method of the maps: symmetric SNE, UNI-SNE or t-SNE.",
        choices=tuple(sne.METHODS),
    )
    perplexity: float = setting(30.0, "Perplexity: the smooth number of neighbours of a point.")
    num_steps: int = setting(
        1000,
        f"Number of updates of each map, a multiple of {_EPOCH}.",
        at_least=_EPOCH,
        at_most=1_000_000,
    )
    start: str = setting(
        "random",
        "Initial map: a random cloud, or the first two principal components.",
        choices=tuple(sne.STARTS),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.num_steps % _EPOCH:
            raise ValueError(
                f"--num_steps={self.num_steps}: it must be a multiple of {_EPOCH}, after each of "
                "which the objective is looked at"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Makes the maps in a workdir, or resumes there."""
    model, source = settings.load(("train_autoencoder",))
    dataset, transform = source.load()
    pretrained.check_data(dataset, model.layers()[0].shape[0])
    part, held_out = dataset.held_out
    if settings.num_images is not None:
        if settings.num_images > len(held_out.labels):
            raise ValueError(
                f"--num_images={settings.num_images}, but there are {len(held_out.labels)} {part} "
                "images"
            )
        held_out = held_out.spread(settings.num_images)
    with about(f"--perplexity={settings.perplexity}"):
        affinities.check_perplexity(settings.perplexity, len(held_out.labels))
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    key, train_key, held_out_key = jax.random.split(run.key, 3)
    pixels = data.apply(transform, held_out_key, jnp.asarray(held_out.images))
    encode = jax.jit(lambda _, v: model.encode(v))
    codes = jnp.asarray(data.in_blocks(encode, key, pixels))
    train = data.apply(transform, train_key, jnp.asarray(dataset.train.images))
    spaces = {"codes": codes, "pca": pca.encode(pca.fit(train, codes.shape[1]), pixels)}
    results = {
        "split": part,
        "num_images": len(held_out.labels),
        "num_components": codes.shape[1],
        "neighbour_error_pixels": pairwise.leave_one_out_error(pixels, held_out.labels),
    }
    maps = {}
    for i, (name, points) in enumerate(spaces.items()):
        maps[name] = _train_map(run, jax.random.fold_in(key, i), name, points)
        table = run.metrics(name)
        results |= {
            f"neighbour_error_{name}": pairwise.leave_one_out_error(points, held_out.labels),
            f"neighbour_error_map_{name}": pairwise.leave_one_out_error(
                jnp.asarray(maps[name]), held_out.labels
            ),
            f"objective_{name}": table["eval_objective"][-1],
            f"seconds_{name}": table["seconds"][-1],
        }
    results["peak_memory_bytes"] = memory.peak_rss()
    run.save_arrays("maps", labels=held_out.labels, **maps)
    run.save_figures(_draw(run, dataset, held_out, maps, results))
    return run.finish(results)


def _train_map(run: runs.Run, key: jax.Array, name: str, points: jax.Array) -> np.ndarray:
    """Trains a map of points: (N, D) -> (N, 2); an update looks at all of them."""
    settings = run.settings
    method = _method(settings)
    p = affinities.joint_probabilities(points, settings.perplexity)
    state = run.train(
        name,
        functools.partial(_step, p=p, method=method),
        sne.init_state(key, points, start=settings.start),
        None,
        updates_per_epoch=_EPOCH,
        epochs=settings.num_steps // _EPOCH,
        evaluate=lambda state: {"objective": sne.state_objective(state, p, method=method)},
    )
    return np.asarray(state.positions)


def _method(settings):
    return dataclasses.replace(sne.METHODS[settings.method], num_steps=settings.num_steps)


def _step(key, state, batch, *, p, method):
    del key, batch
    return sne.step(state, p, method=method)


def _draw(run, dataset, held_out, maps, results) -> dict[str, Figure]:
    settings = run.settings
    size = results["num_components"]
    kinds = {"codes": f"{size}-D codes of the autoencoder", "pca": f"{size}-D codes of PCA"}
    titles = {
        name: f"{kind}: 1-NN error {results[f'neighbour_error_map_{name}']:.2%}"
        for name, kind in kinds.items()
    }
    how = f"{_NAMES[settings.method]}, perplexity {settings.perplexity:g}"
    made = (
        f"{how}; {len(held_out.labels):,} {results['split']} images; labels give the colours only"
    )
    pictures = {}
    pictures["maps"] = figures.map_of_points(
        {titles[name]: positions for name, positions in maps.items()},
        held_out.labels,
        title="Maps of the codes in two dimensions",
        subtitle=made,
        names=dataset.class_names,
    )
    if len(dataset.image_shape) == 2:
        pictures["thumbnails"] = figures.map_of_points(
            {titles["codes"]: maps["codes"]},
            held_out.labels,
            title="Images on the map of their codes",
            subtitle=made,
            thumbnails=np.clip(dataset.pictures(held_out.images), 0, 1),
            image_shape=dataset.image_shape,
        )
    tables = {name: run.metrics(name) for name in maps}
    lines = {kinds[name]: (t["step"], t["eval_objective"]) for name, t in tables.items()}
    method = _method(settings)
    if method.background:
        first, last = (round(share * method.num_steps) for share in method.background_rise)
        how += (
            f"; from update {first} to {last} a uniform background takes over "
            f"{method.background:.0%} of the map's probability, which changes the objective"
        )
    pictures["curves"] = figures.learning_curves(
        {"KL divergence (nats)": lines},
        title="Training of the maps",
        subtitle=how,
        x_label="update",
    )
    return pictures


if __name__ == "__main__":
    runs.main(run, Settings)
