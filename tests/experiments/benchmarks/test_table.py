"""The benchmark's text, from records made by hand."""

import re

import pytest

from experiments.benchmarks import net_updates, table
from experiments.benchmarks.rbm_updates import Case
from experiments.benchmarks.updown_products import UPDOWN


def result(products, milliseconds=(1.0,)):
    return {
        "learner": "CD-1",
        "images_per_second": None,
        "milliseconds": milliseconds,
        "over_floor": [1.0],
        "over_update": None,
        "what": "",
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
    results = {"floor": result(floor), "cd": result(update), "peer": result(None)}
    assert said in table.comparison(Case(1, 1, 1), results, 1).splitlines()[-1]


def test_spread_is_the_median_and_the_quartiles():
    assert table.spread(range(101)) == "50 (25–75)"


def test_an_epoch_of_a_whole_net_is_in_seconds():
    times = {"milliseconds": [2.0, 3.0, 7.0], "floor_milliseconds": [1.0], "over_floor": [2.5]}
    net = net_updates.Net(batch_size=100)
    text = table.whole_net(UPDOWN, net, [{"gibbs_steps": 4, **times}])
    # 600 updates of 3 ms.
    assert cells(text, "4 ")[-1] == "1.8"


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
    row = cells(table.footprints({"2x3x4": [process]}), "2x3x4")
    assert row == ["2x3x4", "2.00 (2.00–2.00)", "512", "256", "64", "–"]
