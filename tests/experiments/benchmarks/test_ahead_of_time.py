"""Figures of programs that are compiled for many devices, and what they predict."""

import importlib.util

import jax
import pytest

from experiments.benchmarks import ahead_of_time, convolutional_updates, net_updates
from experiments.benchmarks.ahead_of_time import Chip

TINY = ahead_of_time.Size(
    rbm=(12, 8),
    batch_sizes=(6,),
    net=net_updates.Net(sizes=(24, 12, 10, 32), num_labels=3, batch_size=8),
    classifier=(24, 12, 10, 3),
    images=(convolutional_updates.Size((6, 5, 1), 3, filter_size=3, block=1, batch_size=2),),
    num_images=200,
)
NAMES = [
    *("AIS, a temperature", "Ascent of the bound, 2 paths", "CD-1", "CD-1, training loop"),
    *("Classifier", "Convolutional CD-1, 6×5", "PCD-1", "Up-down"),
]


@pytest.fixture(scope="module")
def measured():
    """On one and on four virtual devices."""
    return ahead_of_time.measure(TINY, jax.devices()[:4])


def of(results, name):
    """On one device, and on all."""
    return [result for result in results if result["name"] == name]


def test_every_program_is_compiled_for_one_device_and_for_all(measured):
    assert [(x["name"], x["num_devices"]) for x in measured] == [
        (name, number) for name in NAMES for number in (1, 4)
    ]


@pytest.mark.parametrize("name", ["CD-1", "PCD-1", "CD-1, training loop"])
def test_devices_share_the_batch_and_join_the_gradient_once(measured, name):
    one, all_ = of(measured, name)
    assert one["collectives"] == []
    assert [kind for kind, _ in all_["collectives"]] == ["all-reduce"]
    # Five products of 12 × 8 × 6 on every device; and products with vectors, of 6 × 12 at most.
    assert 5 * 2 * 576 <= all_["flops"] == one["flops"] <= 5 * 2 * 576 + 5 * 2 * 72


def test_predictions():
    """A chip of 10⁶ cycles, 2 · 10⁶ operations and 10⁶ bytes a second, and links as fast."""
    chip = Chip(peak=2e6, bandwidth=1e6, port=1e6, flops_per_cycle=2)
    work = {"name": "x", "batch_size": 10, "flops": 100, "main_bytes": 80, "cycles": 300}
    one, four = ahead_of_time.predict(
        [
            {**work, "num_devices": 1, "collectives": []},
            {**work, "num_devices": 4, "collectives": [("all-reduce", 200)]},
        ],
        chip,
    )
    assert one["computing"] == pytest.approx(300e-6)
    assert one["floor"] == pytest.approx(80e-6)  # its products take 50 µs
    assert one["per_second"] == pytest.approx(10 / 300e-6)
    assert four["communicating"] == pytest.approx(2 * 3 / 4 * 200e-6)
    assert four["scaling"] == pytest.approx(300 / 600)


@pytest.mark.parametrize("topology", ["v7:2x2", "v5e", ""])
def test_an_unknown_slice_is_refused(topology):
    expected = f"--tpu={topology}: expected v5e or v6e, a colon, and the shape of a slice, such as"
    with pytest.raises(ValueError, match=f"^{expected} v5e:2x2$"):
        ahead_of_time.devices(topology)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expected = (
        r'^--tpu=v5e:2x2 compiles with libtpu, which is not installed: pip install "jax\[tpu\]"$'
    )
    with pytest.raises(ImportError, match=expected):
        ahead_of_time.devices("v5e:2x2")
