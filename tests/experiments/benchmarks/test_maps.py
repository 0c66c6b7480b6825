"""Maps by the benchmark: of fast and of exact forces, with one objective for both."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import maps


@pytest.mark.parametrize("method", ["sne", "unisne"])
def test_fast_and_exact_maps_are_alike(monkeypatch, method):
    """As long as rounding errors have not grown to other maps."""
    monkeypatch.setattr(maps, "_STEPS", 50)
    points = np.asarray(jax.random.normal(jax.random.key(0), (300, 5)))
    found = [maps.PROGRAMS[name][1](points, 0) for name in (method, f"{method}_exact")]
    np.testing.assert_allclose(*found, atol=1e-3 * np.std(found[0]))
    losses = [maps.kl(name, points, found[0]) for name in (method, f"{method}_exact")]
    assert losses[0] == losses[1]


def test_more_points_than_images_are_refused():
    settings = maps.Settings(sizes=(100, 6000), programs=("tsne",))
    with pytest.raises(ValueError, match=r"^--sizes=6000, but there are 5000 images$"):
        maps.measure(settings)


def test_a_program_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(maps.PROGRAMS, "opentsne", ("no-such-package", maps.open_tsne))
    words = "^--programs=opentsne needs no-such-package: pip install no-such-package$"
    with pytest.raises(ValueError, match=words):
        maps.measure(maps.Settings(programs=("tsne", "opentsne")))
