r"""Draws maps of the codes of a deep autoencoder and of PCA, by UNI-SNE.

    python -m experiments.train_autoencoder --workdir=runs/autoencoder
    python -m experiments.embed_codes --workdir=runs/map --pretrained=runs/autoencoder

takes the workdir of an autoencoder, or a folder that `publish` made of it (with --data_dir). It
encodes the held-out images by the autoencoder, and by as many principal components of its training
images, and lays both out in two dimensions. figures/maps.png shows the maps side by side,
thumbnails.png (of more than 10,000 images atlas.png) the digits on the map of the codes, curves.png
how the objective fell; maps.npz holds the positions. The labels are used for the colours only, and
for the error of classifying each image by its nearest neighbour (among pixels, codes, map points).

    python -m experiments.embed_codes --workdir=runs/map --images=all --pixels \
        --pretrained=experiments/results/autoencoder --data_dir=<IDX folder>

maps all 70,000 digits of MNIST, and their pixels, too. With --images=train the held-out images are
put into the finished maps, where they move and the others do not.

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

_MANY = 10_000  # images, too many for dots
_EPOCH = 50  # updates between two measurements of the objective
_NAMES = {"sne": "SNE", "unisne": "UNI-SNE", "tsne": "t-SNE"}


class Settings(runs.ResumedSettings, pretrained.Pretrained):
    """Everything that decides the result."""

    images: str = setting(
        "held_out",
        "Images on the maps: held-out ones; those for training, and then the held-out ones put "
        "into their finished maps; or all of both from the start.",
        choices=("held_out", "train", "all"),
    )
    num_images: int | None = setting(
        None, "Number of images on the maps, spread over them.", unset="all", at_least=1
    )
    pixels: bool = setting(False, "Makes a map of the pixels, too.")
    method: str = setting(
        "unisne",
        "Method of the maps: symmetric SNE, UNI-SNE or t-SNE.",
        choices=tuple(sne.METHODS),
    )
    forces: str | None = setting(
        None,
        "Forces between the points: exact, in a time that grows with the square of their number; "
        "or fast, by near neighbours and a grid.",
        unset=f"exact for up to {sne.EXACT_UP_TO:,} points",
        choices=sne.FORCES,
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
    part, shown, new = _chosen(settings, dataset)
    with about(f"--perplexity={settings.perplexity}"):
        affinities.check_perplexity(settings.perplexity, len(shown))
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    key, train_key, shown_key = jax.random.split(run.key, 3)
    train = data.apply(transform, train_key, jnp.asarray(dataset.train.images))
    encode = jax.jit(lambda _, v: model.encode(v))
    num_components = model.encode(train[:1]).shape[1]
    components = pca.fit(train, num_components)

    def spaces(key, split):
        pixels = data.apply(transform, key, jnp.asarray(split.images))
        codes = jnp.asarray(data.in_blocks(encode, key, pixels))
        return {"codes": codes, "pca": pca.encode(components, pixels), "pixels": pixels}

    results = {
        "split": part,
        "num_images": len(shown),
        "num_components": num_components,
    }
    placed = spaces(jax.random.fold_in(shown_key, 1), new) if new else {}
    maps, arrays = {}, {"labels": shown.labels}
    for i, (name, points) in enumerate(spaces(shown_key, shown).items()):
        results[f"neighbour_error_{name}"] = pairwise.leave_one_out_error(points, shown.labels)
        if name == "pixels" and not settings.pixels:
            continue
        positions = _train_map(run, jax.random.fold_in(key, i), name, points)
        maps[name] = arrays[name] = np.asarray(positions)
        results |= {
            f"neighbour_error_map_{name}": pairwise.leave_one_out_error(positions, shown.labels),
            f"objective_{name}": run.metrics(name)["eval_objective"][-1],
            f"seconds_{name}": run.metrics(name)["seconds"][-1],
        }
        if new:
            found = sne.place(
                placed[name], points, positions,
                perplexity=settings.perplexity, method=_method(settings),
            )  # fmt: skip
            arrays[f"{name}_placed"] = np.asarray(found)
            results |= {
                f"neighbour_error_{name}_placed": _error(points, shown, placed[name], new),
                f"neighbour_error_map_{name}_placed": _error(positions, shown, found, new),
            }
    results["peak_memory_bytes"] = memory.peak_rss()
    run.save_arrays("maps", **arrays)
    run.save_figures(_draw(run, dataset, shown, maps, results))
    return run.finish(results)


def _chosen(settings: Settings, dataset: data.Dataset) -> tuple[str, data.Split, data.Split | None]:
    """What the images on the maps are called, they themselves, and those put in afterwards."""
    part, held_out = dataset.held_out
    new = None
    match settings.images:
        case "held_out":
            shown = held_out
        case "train":
            part, shown, new = "training", dataset.train, held_out
        case "all":
            part = "training and held-out"
            both = zip(dataset.train.arrays().values(), held_out.arrays().values(), strict=True)
            shown = data.Split(*(np.concatenate(pair) for pair in both))
    if settings.num_images is None:
        return part, shown, new
    if settings.num_images > len(shown):
        raise ValueError(
            f"--num_images={settings.num_images}, but there are {len(shown)} {part} images"
        )
    return part, shown.spread(settings.num_images), new


def _error(points: jax.Array, own: data.Split, queries: jax.Array, new: data.Split) -> float:
    """Share of new images whose nearest point has another label."""
    return pairwise.classification_error(points, own.labels, queries, new.labels, num_neighbours=1)


def _train_map(run: runs.Run, key: jax.Array, name: str, points: jax.Array) -> jax.Array:
    """Trains a map of points: (N, D) -> (N, 2); an update looks at all of them."""
    settings = run.settings
    method = _method(settings)
    p = sne.probabilities(points, settings.perplexity, settings.forces)
    state = run.train(
        name,
        functools.partial(_step, p=p, method=method),
        sne.init_state(key, points, start=settings.start),
        None,
        updates_per_epoch=_EPOCH,
        epochs=settings.num_steps // _EPOCH,
        evaluate=lambda state: {"objective": sne.state_objective(state, p, method=method)},
    )
    return state.positions


def _method(settings):
    return dataclasses.replace(sne.METHODS[settings.method], num_steps=settings.num_steps)


def _step(key, state, batch, *, p, method):
    del key, batch
    return sne.step(state, p, method=method)


def _draw(run, dataset, shown, maps, results) -> dict[str, Figure]:
    settings = run.settings
    size = results["num_components"]
    kinds = {
        "codes": f"{size}-D codes of the autoencoder",
        "pca": f"{size}-D codes of PCA",
        "pixels": "pixels",
    }
    titles = {
        name: f"{kinds[name]}: 1-NN error {results[f'neighbour_error_map_{name}']:.2%}"
        for name in maps
    }
    how = f"{_NAMES[settings.method]}, perplexity {settings.perplexity:g}"
    made = f"{how}; {len(shown.labels):,} {results['split']} images; labels give the colours only"
    pictures = {}
    pictures["maps"] = figures.map_of_points(
        {titles[name]: positions for name, positions in maps.items()},
        shown.labels,
        title="Maps of the codes in two dimensions",
        subtitle=made,
        names=dataset.class_names,
    )
    thumbnails = {
        "thumbnails": np.clip(dataset.pictures(shown.images), 0, 1),
        "image_shape": dataset.image_shape,
    }
    if len(dataset.image_shape) == 2 and len(shown) > _MANY:
        pictures["atlas"] = figures.atlas(
            maps["codes"],
            shown.labels,
            title=f"Map of {len(shown):,} images by their codes",
            subtitle=made,
            names=dataset.class_names,
            **thumbnails,
        )
    elif len(dataset.image_shape) == 2:
        pictures["thumbnails"] = figures.map_of_points(
            {titles["codes"]: maps["codes"]},
            shown.labels,
            title="Images on the map of their codes",
            subtitle=made,
            **thumbnails,
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
