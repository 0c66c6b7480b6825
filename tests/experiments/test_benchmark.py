"""The benchmark as a whole: what it measures, writes and prints."""

import dataclasses
import json

import jax
import pytest

from experiments import benchmark
from experiments.benchmarks import (
    ahead_of_time,
    convolutional_updates,
    memory,
    net_updates,
    other_libraries,
    rbm_updates,
    streamed_updates,
    temporal_updates,
    timing,
)
from experiments.benchmarks import table as tables

FIVE = {"6x8": 2, "6x12": 1, "8x12": 2}  # products of 12x8x6
COMPILED = ["floor", "cd", "cd_metrics", "cd_decay", "cd_means", "pcd", "pcd_metrics"]
OTHERS = ["cd_dispatched", "sklearn"]
SMALL = ahead_of_time.Size(
    rbm=(12, 8),
    batch_sizes=(6,),
    net=net_updates.Net(sizes=(24, 12, 10, 32), num_labels=3, batch_size=8),
    classifier=(24, 12, 10, 3),
    images=(convolutional_updates.Size((6, 5, 1), 3, filter_size=3, block=1, batch_size=2),),
    num_images=200,
)
SETTINGS = benchmark.Settings(
    quick=True,
    cases=("12x8x6",),
    rounds=2,
    peers=("sklearn", "learnergy", "torch_rnn_rbm", "learnergy_conv"),
    memory=False,
)


@pytest.fixture(scope="module", autouse=True)
def _all_small():
    """Sizes and times; one of the other libraries is missing, one is replaced."""
    absent = [
        dataclasses.replace(peer, package="no-such-package") if peer.name == "learnergy" else peer
        for peer in other_libraries.PEERS
    ]
    (torch,) = other_libraries.SEQUENCE_PEERS
    stand_in = dataclasses.replace(torch, package="numpy", make=lambda *_: lambda: None)
    (learnergy,) = other_libraries.IMAGE_PEERS
    conv_stand_in = dataclasses.replace(learnergy, package="numpy", make=lambda *_: lambda: None)
    values = {"batch": (2,), "hidden units": (8,), "Gibbs steps": (1, 5, 2)}
    net = net_updates.Net(sizes=(24, 12, 10, 32), num_labels=3, batch_size=8)
    music = temporal_updates.Size(9, 8, 7, num_gibbs_steps=2, num_sequences=3, num_frames=4)
    images = convolutional_updates.Size((5, 4, 1), 3, filter_size=2, block=1, batch_size=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other_libraries, "PEERS", absent)
        patch.setattr(other_libraries, "SEQUENCE_PEERS", [stand_in])
        patch.setattr(other_libraries, "IMAGE_PEERS", [conv_stand_in])
        patch.setattr(timing, "_WARM_UP", 0)
        patch.setattr(benchmark, "_SCALING", values | {"models under vmap": (3,)})
        patch.setattr(benchmark, "_NET", net)
        patch.setattr(benchmark, "_SEQUENCES", {"music": music, "balls": None})
        patch.setattr(benchmark, "_IMAGES", {"images": images, "more": None})
        patch.setattr(benchmark, "_SECONDS", 1e-4)
        patch.setattr(benchmark, "_STREAMED", (3, 5))
        patch.setattr(streamed_updates, "_MAX_BYTES", 100)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a run."""
    folder = tmp_path_factory.mktemp("benchmark")
    benchmark.run(SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "summary.json").read_text())["results"]


@pytest.fixture(scope="module")
def table(finished):
    return (finished / "table.txt").read_text()


def test_every_program_is_timed_and_its_products_counted(results, table):
    assert "memory" not in results
    found = results["cases"]["12x8x6"]
    counted = {name: result["products"] for name, result in found.items()}
    assert counted == {**dict.fromkeys(COMPILED, FIVE), **dict.fromkeys(OTHERS)}
    assert "by result: 1 of 6x12, 2 of 6x8, 2 of 8x12" in table
    assert found["cd"]["compile_seconds"] > 0
    for name, result in found.items():
        assert len(result["milliseconds"]) == 2
        assert min(result["milliseconds"]) > 0
        assert f"\n{name} " in table


def test_whole_nets_are_timed_beside_their_floors(results, table):
    assert [r["gibbs_steps"] for r in results["updown"]] == [3, 10]
    assert [r["gibbs_steps"] for r in results["bound"]] == [3]
    for result in (*results["updown"], *results["bound"]):
        assert min(result["milliseconds"] + result["floor_milliseconds"]) > 0
        assert len(result["milliseconds"]) == len(result["floor_milliseconds"]) == 2
    assert "Up-down, 24-12-10-32 with 3 labels, batch 8" in table
    assert "Ascent of the bound, 2 paths, 24-12-10-32 with 3 labels, batch 8" in table


def test_models_of_sequences_are_timed_beside_their_floor(results, table):
    """One of two sizes if quick."""
    assert results["temporal"].keys() == {"music"}
    found = results["temporal"]["music"]
    assert list(found) == ["floor", "update", "torch_rnn_rbm"]
    for result in found.values():
        assert len(result["milliseconds"]) == 2
        assert min(result["milliseconds"]) > 0
    assert "9 visible, 8 hidden, 7 recurrent units, CD-2, 3 sequences of 4 frames" in table


def test_convolutional_rbms_are_timed_beside_their_floor(results, table):
    """One of two sizes if quick."""
    assert results["convolutional"].keys() == {"images"}
    found = results["convolutional"]["images"]
    assert list(found) == ["floor", "update", "unpooled", "dense", "learnergy_conv"]
    for result in found.values():
        assert len(result["milliseconds"]) == 2
        assert min(result["milliseconds"]) > 0
    assert "\n5×4×1, 3 maps of 2×2 " in table


def test_rows_from_a_file_are_timed_beside_resident_ones(results, table):
    """One of two batch sizes if quick; 8 rows make epochs of 2 updates."""
    assert results["streamed"].keys() == {"12x8x3"}
    for name in ("resident", "streamed"):
        assert len(results["streamed"]["12x8x3"][name]["milliseconds"]) == 2
        assert min(results["streamed"]["12x8x3"][name]["milliseconds"]) > 0
    assert "streamed beside resident data\n" in table


def test_scaling_goes_through_every_other_value_if_quick(results, table):
    values = {name: [p["value"] for p in points] for name, points in results["scaling"].items()}
    assert list(values.values()) == [[2], [8], [1, 2], [3]]
    second = results["scaling"]["Gibbs steps"][1]
    assert second["learner"] == "CD-2"
    # CD-2 makes seven products, each of 2·12·8·6 operations.
    assert second["flops"] == 7 * 1152
    assert results["scaling"]["models under vmap"][0]["flops"] == 3 * 5 * 1152
    assert "the others as in 12x8x6" in table


def test_it_says_where_it_ran_and_what_is_missing(results, table):
    assert f"jax {jax.__version__}" in table
    assert results["machine"]["processor"] in table
    assert "device: cpu × 8" in table
    assert results["peers"]["learnergy"] is None
    assert results["peers"]["sklearn"]
    assert "not timed: no-such-package. To install: pip install -e '.[peers]'" in table


def test_a_finished_run_is_not_measured_again(finished, results, monkeypatch, capsys):
    monkeypatch.setattr(rbm_updates, "compare", None)
    assert benchmark.run(SETTINGS, finished)["results"] == results
    assert "done already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "cases", "rounds", "processes"),
    [
        ({}, ("784x500x100", "784x2000x100", "784x500x1000", "500x500x100"), 11, 3),
        ({"quick": True}, ("784x500x100",), 5, 1),
        ({"quick": True, "cases": ("2x3x4", "5x6x7"), "rounds": 2}, ("2x3x4", "5x6x7"), 2, 1),
    ],
    ids=["all", "quick", "given"],
)
def test_sizes_and_rounds(monkeypatch, tmp_path, given, cases, rounds, processes):
    """Where nothing else is measured."""
    asked = []
    monkeypatch.setattr(memory, "measure", lambda *asked_for: asked.append(asked_for))
    monkeypatch.setattr(tables, "memory", lambda *_: "")
    monkeypatch.setattr(tables, "comparison", lambda *_: "")

    def compare(case, peers, rounds, seconds):
        asked.append((str(case), len(peers), rounds))

    monkeypatch.setattr(rbm_updates, "compare", compare)
    others = {"scaling": False, "updown": False, "bound": False, "temporal": False}
    others |= {"streamed": False, "convolutional": False}
    settings = benchmark.Settings(**given, **others, peers=("none",))
    summary = benchmark.run(settings, tmp_path)
    assert summary["results"].keys() == {"machine", "memory", "peers", "cases"}
    assert asked == [*((case, processes) for case in cases), *((case, 0, rounds) for case in cases)]


def test_updates_for_tpus_are_compiled_and_nothing_is_timed(monkeypatch, tmp_path):
    """Here for two virtual devices, with an estimate of libtpu's made up."""
    measure = ahead_of_time.measure

    def with_cycles(size, devices):
        return [{**result, "cycles": 1_503_000} for result in measure(size, devices)]

    monkeypatch.setattr(rbm_updates, "compare", None)
    monkeypatch.setattr(ahead_of_time, "devices", lambda topology: jax.devices()[:2])
    monkeypatch.setattr(ahead_of_time, "measure", with_cycles)
    monkeypatch.setattr(benchmark, "_AHEAD_OF_TIME", SMALL)
    summary = benchmark.run(benchmark.Settings(tpu="v5e:2x2"), tmp_path)
    assert summary["results"].keys() == {"machine", "tpu"}
    assert len(summary["results"]["tpu"]) == 2 * 8
    table = (tmp_path / "table.txt").read_text()
    assert "Updates compiled for v5e:2x2, nothing run" in table
    (row,) = (line.split() for line in table.splitlines() if line.startswith("PCD-1, 6 "))
    # One chip; its products, bytes and kernels; a millisecond, and so 6,000 images in a second.
    assert row[2] == "1"
    assert row[6:8] == ["1,503,000", "1000.0"]
    assert row[-2:] == ["6,000", "–"]


def test_what_is_timed_does_nothing_beside_tpus():
    expected = "^--rounds=3 does nothing with --tpu=v5e:2x2, where nothing is timed; leave it out$"
    with pytest.raises(ValueError, match=expected):
        benchmark.Settings(tpu="v5e:2x2", rounds=3)


@pytest.mark.parametrize("text", ["784x500", "784,500,100", "0x5x5", "ax5x5"])
def test_bad_cases_are_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is not a case: write VISIBLExHIDDENxBATCH"):
        benchmark.Settings(cases=("784x500x100", text))
