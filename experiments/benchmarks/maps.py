"""Maps of digits: time, memory and objective beside exact forces, openTSNE and scikit-learn.

    pip install openTSNE scikit-learn  # or leave them out of --programs
    python -m experiments.benchmarks.maps --dataset=mnist --data_dir=<IDX folder>

Each map is made in a process of its own, of the first 50 principal components, at a perplexity of
30, in 1,000 updates; t-SNE exaggerates the first 250 by 12. Times are of everything, from the
points to the map, compilation too. The objective of a map, KL(P ‖ Q) in nats, is that of its
method, computed by this package for all programs alike, with its P of near neighbours. Programs
with _exact in their names sum the repulsion over all pairs, with the same P.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data
from dbn_jax.embedding import objective, pairwise, pca, sne
from experiments.common import command_line, memory, tables
from experiments.common.data_settings import DataSettings
from experiments.common.settings import Declared, group, setting

_PERPLEXITY = 30.0
_STEPS = 1000
_COMPONENTS = 50


def ours(method: str, points: np.ndarray, seed: int, *, exact: bool = False) -> np.ndarray:
    """A map by this package, from the first principal components."""
    p = sne.probabilities(points, _PERPLEXITY, "fast")
    if exact:
        zeros = jnp.zeros((len(points), len(points)), p.values.dtype)
        p = zeros.at[p.points[:, None], p.neighbours].add(p.values)
    state = sne.init_state(jax.random.key(seed), points, start="pca")
    settings = dataclasses.replace(sne.METHODS[method], num_steps=_STEPS)

    @jax.jit
    def steps(state, p):
        return jax.lax.fori_loop(
            0, 50, lambda _, state: sne.step(state, p, method=settings)[0], state
        )

    for _ in range(_STEPS // 50):
        state = steps(state, p)
    return np.asarray(state.positions)


def open_tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """A map by openTSNE, with its grid."""
    import openTSNE

    made = openTSNE.TSNE(
        perplexity=_PERPLEXITY,
        early_exaggeration_iter=250,
        n_iter=_STEPS - 250,
        negative_gradient_method="fft",
        n_jobs=-1,
        random_state=seed,
    )
    return np.asarray(made.fit(points))


def scikit_learn(points: np.ndarray, seed: int) -> np.ndarray:
    """A map by scikit-learn, with its trees."""
    from sklearn.manifold import TSNE

    made = TSNE(perplexity=_PERPLEXITY, max_iter=_STEPS, n_jobs=-1, random_state=seed)
    return made.fit_transform(points)


PROGRAMS: Mapping[str, tuple[str, Callable[..., np.ndarray]]] = {
    **{name: ("dbn_jax", functools.partial(ours, name)) for name in sne.METHODS},
    **{
        f"{name}_exact": ("dbn_jax", functools.partial(ours, name, exact=True))
        for name in sne.METHODS
    },
    "opentsne": ("openTSNE", open_tsne),
    "sklearn": ("scikit-learn", scikit_learn),
}


class Settings(Declared):
    """What is measured."""

    data: DataSettings = group(DataSettings)
    sizes: tuple[int, ...] = setting((1000, 2000, 4000), "Numbers of points.", at_least=100)
    programs: tuple[str, ...] = setting(tuple(PROGRAMS), "Programs.", choices=tuple(PROGRAMS))
    seeds: tuple[int, ...] = setting((0,), "Seeds of the choice of points and maps.", at_least=0)


def made(name: str, points: np.ndarray, seed: int) -> tuple[np.ndarray, float, float]:
    """A map, the seconds that it took, and the megabytes at the most."""
    start = time.perf_counter()
    positions = PROGRAMS[name][1](points, seed)
    return positions, time.perf_counter() - start, memory.peak_rss() / 1e6


def kl(name: str, points: np.ndarray, positions: np.ndarray) -> float:
    """The objective that a program minimises."""
    method = sne.METHODS.get(name.removesuffix("_exact"), sne.T_SNE)
    p = sne.probabilities(points, _PERPLEXITY, "fast")
    found = jnp.asarray(positions, jnp.float32)
    return float(objective.divergence(found, p, method.background, kernel=method.kernel))


def measure(settings: Settings) -> None:
    """Prints a row for each size and program, as they come."""
    versions = {name: _version(name) for name in settings.programs}
    dataset, transform = settings.data.load()
    images = np.concatenate([dataset.train.images, dataset.held_out[1].images])
    labels = np.concatenate([dataset.train.labels, dataset.held_out[1].labels])
    if max(settings.sizes) > len(images):
        raise ValueError(f"--sizes={max(settings.sizes)}, but there are {len(images)} images")
    pixels = data.apply(transform, jax.random.key(0), jnp.asarray(images))
    points = np.asarray(pca.encode(pca.fit(pixels, _COMPONENTS), pixels))
    rows = [["points", "seed", "program", "seconds", "MB", "KL", "1-NN error"]]
    print(tables.columns(rows), flush=True)
    processes = multiprocessing.get_context("spawn")
    for size, seed, name in itertools.product(settings.sizes, settings.seeds, settings.programs):
        chosen = np.random.default_rng(seed).permutation(len(points))[:size]
        with futures.ProcessPoolExecutor(1, processes) as pool:
            found, seconds, megabytes = pool.submit(made, name, points[chosen], seed).result()
        error = pairwise.leave_one_out_error(jnp.asarray(found, jnp.float32), labels[chosen])
        row = [f"{size:,}", f"{seed}", f"{name} ({versions[name]})", f"{seconds:.1f}"]
        loss = kl(name, points[chosen], found)
        rows.append([*row, f"{megabytes:,.0f}", f"{loss:.4f}", f"{error:.2%}"])
        print(tables.columns(rows).splitlines()[-1], flush=True)


def _version(name):
    package = PROGRAMS[name][0]
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as e:
        raise ValueError(f"--programs={name} needs {package}: pip install {package}") from e


if __name__ == "__main__":
    command_line.main(measure, Settings)
