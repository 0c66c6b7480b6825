"""The benchmark's text, from records made by hand."""

import dataclasses
import re

import pytest

from experiments.benchmarks import convolutional_updates, net_updates, table, temporal_updates
from experiments.benchmarks.programs import Case
from experiments.benchmarks.updown_products import UPDOWN


def result(milliseconds=(1.0,), learner="CD-1", products=None):
    return {
        "learner": learner,
        "milliseconds": milliseconds,
        "what": "what it does",
        "products": products,
    }


def cells(text, start):
    """Of the row that starts so."""
    row = next(line for line in text.splitlines() if line.startswith(start))
    return re.split(r"  +", row)


@pytest.mark.parametrize(
    ("floor", "update", "said"),
    [
        ({"2x3": 5}, {"2x3": 5}, "matrix products in each compiled program, by result: 5 of 2x3"),
        ({"2x3": 5}, {"2x3": 6}, "differ in their matrix products"),
        ({"2x3": 5}, {}, "differ in their matrix products"),
        ({}, {"2x3": 5}, "differ in their matrix products"),
        ({}, {}, "matrix products in each compiled program: none recognised"),
    ],
)
def test_products_of_floor_and_updates_are_compared(floor, update, said):
    results = {
        "floor": result(learner="", products=floor),
        "cd": result(products=update),
        "peer": result(products=None),
    }
    assert said in table.comparison(Case(1, 1, 1), results, 1).splitlines()[-1]


def test_ratios_are_taken_within_a_round():
    results = {
        "floor": result([1.0, 2.0, 4.0], ""),
        "cd": result([1.5, 4.0, 8.0]),
        "pcd": result([2.0, 4.0, 8.0], "PCD-1"),
        "peer": result([3.0, 4.0, 16.0], "PCD-1"),
    }
    text = table.comparison(Case(1, 1, 6), results, 3)
    assert cells(text, "floor") == [
        *["floor", "–", "2 (1.5–3)", "–", "1.00 (1.00–1.00)", "1.00", "–", "what it does"]
    ]
    # 6 images in 4 ms; 1.5, 2 and 2 times the floor.
    assert cells(text, "cd")[2:7] == [
        *["4 (2.75–6)", "1,500", "2.00 (1.75–2.00)", "1.50", "1.00 (1.00–1.00)"]
    ]
    # 1.5, 1 and 2 times the update by PCD-1.
    assert cells(text, "peer")[5:7] == ["3.00", "1.50 (1.25–1.75)"]


def test_an_epoch_of_a_whole_net_is_in_seconds():
    times = {"milliseconds": [2.0, 3.0, 7.0], "floor_milliseconds": [1.0, 2.0, 1.0]}
    net = net_updates.Net(batch_size=100)
    text = table.whole_net(UPDOWN, net, [{"gibbs_steps": 4, **times}])
    # 600 updates of 3 ms.
    assert cells(text, "4 ")[3:] == ["2.00 (1.75–4.50)", "1.8"]


def test_sequences_are_counted_in_frames():
    results = {
        "floor": result([1.0, 2.0, 4.0], ""),
        "update": result([1.5, 4.0, 8.0], "CD"),
        "peer": result([3.0, 4.0, 16.0], "CD"),
    }
    text = table.sequences(temporal_updates.Size(1, 2, 3, 4, 5, 6), results)
    title = "RNN-RBM, 1 visible, 2 hidden, 3 recurrent units, CD-4, 5 sequences of 6 frames"
    assert text.splitlines()[1] == title
    assert cells(text, "floor")[1:5] == ["2 (1.5–3)", "–", "1.00 (1.00–1.00)", "–"]
    # 30 frames in 4 ms; 1.5, 2 and 2 times the floor; the peer 2, 1 and 2 times the update.
    assert cells(text, "update")[2:5] == ["7,500", "2.00 (1.75–2.00)", "1.00 (1.00–1.00)"]
    assert cells(text, "peer")[3:5] == ["3.00 (2.50–3.50)", "2.00 (1.50–2.00)"]


def test_images_are_timed_by_pixel_and_beside_three_others():
    memory = {"temporary": 3 * 2**20, "arguments": 2**19}
    small = convolutional_updates.Size((4, 5, 2), 3, filter_size=2, block=1, batch_size=50)
    times = {
        "floor": result([1.0, 2.0, 4.0], ""),
        "update": result([2.0, 3.0, 5.0]) | {"memory": memory},
        "unpooled": result([2.0, 2.0, 4.0]),
        "dense": result([4.0, 6.0, 10.0]) | {"memory": {name: 8 * x for name, x in memory.items()}},
        "learnergy_conv": result([6.0, 2.0, 4.0]),
    }
    alone = {name: times[name] for name in ("floor", "update", "unpooled")}
    large = dataclasses.replace(small, image_shape=(40, 50, 2), num_maps=7)
    text = table.images({"a": small, "b": large}, {"a": times, "b": alone})
    # 3 ms for 50 images of 20 pixels.
    ours = ["50", "3 (2.5–4)", "3000", "1.50 (1.38–1.75)", "2.00", "1.00 (1.00–1.50)"]
    assert cells(text, "4×5×2, 3 maps of 2×2")[1:] == [
        *(*ours, "1.00 (1.00–2.00)", "2.00 (2.00–2.00)", "3.0", "0.5", "24.0", "4.0")
    ]
    ours[2] = "30"
    assert cells(text, "40×50×2, 7 maps of 2×2")[1:] == [*ours, "–", "–", "3.0", "0.5", "–", "–"]


def test_scaling_is_relative_to_the_first_value():
    points = [
        {"value": 1, "milliseconds": [1.0, 2.0, 3.0], "flops": 4e6},
        {"value": 10, "milliseconds": [5.0, 5.0, 6.0], "flops": 4e7},
    ]
    text = table.scaling(Case(2, 3, 4), {"batch": points})
    assert "the others as in 2x3x4" in text
    assert cells(text, "1 ") == ["1", "2 (1.5–2.5)", "1.00", "2"]
    assert cells(text, "10 ") == ["10", "5 (5–5.5)", "2.50", "8"]


def test_memory_is_in_mebibytes():
    process = {
        "import_jax_optax_seconds": 1.0,
        "import_dbn_jax_rbm_seconds": 0.5,
        "compile_seconds": 2.0,
        "host_peak_bytes": 512 * 2**20,
        "host_peak_before_bytes": 256 * 2**20,
        "program_temporary_bytes": 64 * 2**20,
        "device_peak_bytes": None,
    }
    row = cells(table.memory({"2x3x4": [process]}), "2x3x4")
    assert row == ["2x3x4", "2.00 (2.00–2.00)", "512", "256", "64", "–"]
