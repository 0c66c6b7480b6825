"""What --pretrained names, and where its data are."""

import json

import jax
import pytest

from dbn_jax import dbn, model_file, rbm
from experiments import publish
from experiments.common import pretrained
from experiments.common.data_settings import DataSettings


def finished(path, program, **settings):
    """A workdir as a run leaves it."""
    path.mkdir()
    model_file.save(path / "model.npz", dbn.stack((rbm.init_params(jax.random.key(0), 4, 3),)))
    summary = {
        "results": {},
        "program": f"experiments.{program}",
        "settings": settings,
        "seed": 0,
        "commit": None,
        "versions": {"jax": "0.10.2"},
        "device": {"platform": "cpu"},
        "wall_seconds": 1.5,
    }
    (path / "summary.json").write_text(json.dumps(summary))
    return str(path)


DATA = {"dataset": "mnist", "classes": [2, 7], "num_validation": 7}


def test_data_are_those_of_the_first_run(tmp_path):
    first = finished(tmp_path / "first", "train_dbn", data=DATA | {"data_dir": "/old"})
    second = finished(tmp_path / "second", "finetune_updown", pretrained=first, data_dir=None)
    _, found = pretrained.load(second, pretrained.NETS)
    assert found == DataSettings(dataset="mnist", data_dir="/old", classes=(2, 7), num_validation=7)


def test_data_of_ones_own_may_have_moved(tmp_path):
    run = finished(tmp_path / "run", "train_dbn", data={"dataset": "/home/me/mine.npz"})
    assert pretrained.load(run, pretrained.NETS)[1].dataset == "/home/me/mine.npz"
    assert pretrained.load(run, pretrained.NETS, "/yours.npz")[1].dataset == "/yours.npz"
    publish.publish(run, tmp_path / "published")
    published = str(tmp_path / "published")
    assert pretrained.load(published, pretrained.NETS)[1].dataset == "./mine.npz"
    assert pretrained.load(published, pretrained.NETS, "/yours.npz")[1].data_dir is None


@pytest.mark.parametrize(
    ("program", "moved"),
    [
        ("finetune_updown", {"data_dir": "/moved"}),
        ("finetune_classifier", {"data": {"data_dir": "/moved"}}),
    ],
)
def test_data_may_have_moved(tmp_path, program, moved):
    """The latest folder that a run of the chain was given counts, and the caller's above all."""
    first = finished(tmp_path / "first", "train_dbn", data=DATA)
    second = finished(tmp_path / "second", program, pretrained=first, **moved)
    third = finished(tmp_path / "third", "finetune_memory", pretrained=second, data_dir=None)
    assert pretrained.load(first, pretrained.NETS)[1].data_dir is None
    assert pretrained.load(third, pretrained.NETS)[1].data_dir == "/moved"
    assert pretrained.load(third, pretrained.NETS, "/again")[1].data_dir == "/again"
    # Published, they lie nowhere in particular.
    publish.publish(third, tmp_path / "published")
    _, found = pretrained.load(str(tmp_path / "published"), pretrained.NETS)
    assert found == DataSettings(dataset="mnist", classes=(2, 7), num_validation=7)


def test_what_a_net_stands_on_is_told_but_brings_no_data(tmp_path):
    """Nor do published models tell of the folder that it was in."""
    low = finished(tmp_path / "low", "train_convolutional", data=DATA | {"data_dir": "/old"})
    cars = {"dataset": "cars", "data_dir": "/cars"}
    high = finished(tmp_path / "high", "train_convolutional", data=cars, below=low)
    for path in (high, tmp_path / "published"):
        _, found = pretrained.load(str(path), (pretrained.CONVOLUTIONAL,))
        assert (found.dataset, found.num_validation) == ("cars", 0)
        below = pretrained.run_summary(path, whole=True)["below"]
        assert below["settings"]["data"]["num_validation"] == 7
        if path == high:
            publish.publish(high, tmp_path / "published")
    published = (tmp_path / "published/summary.json").read_text()
    assert not {"/old", "/cars", low} & set(published.split('"'))
    with pytest.raises(FileNotFoundError, match=r"^--below=/gone: there is no finished run"):
        pretrained.load("/gone", (pretrained.CONVOLUTIONAL,), flag="below")


@pytest.mark.parametrize("program", [pretrained.RBM, "finetune_updown"])
def test_earlier_runs_are_needed_for_their_data_alone(tmp_path, program):
    gone, run = tmp_path / "gone", tmp_path / "run"
    finished(run, program, pretrained=str(gone), data={"dataset": "digits"})
    if program == pretrained.RBM:
        assert pretrained.load(str(run), (program,))[1] == DataSettings(dataset="digits")
    else:
        words = (
            f"the run in {run} started from that in {gone}, which is needed, too, and has no "
            "summary.json: put it back, or finish it"
        )
        with pytest.raises(FileNotFoundError, match=f"^{words}$"):
            pretrained.load(str(run), (program,))


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        pretrained.load(str(tmp_path), pretrained.NETS)
    made = finished(tmp_path / "run", "benchmark")
    with pytest.raises(ValueError, match="was made by benchmark; expected a run of train_dbn,"):
        pretrained.load(made, pretrained.NETS)
    for text in ('{"results": {}, "sett', "[]", '{"results": {}}'):
        (tmp_path / "run/summary.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"run/summary.json is not the summary of a run .*anew"
        ):
            pretrained.load(made, pretrained.NETS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"data": 3},
            "summary.json is damaged: the settings in it are not those of a run; delete it",
        ),
        ({"pretrained": 3}, "summary.json is damaged: the settings in it are not those of a run"),
        (
            {"data": {"dataset": 3}},
            "tells of no data set in its summary.json: --dataset=3: expected",
        ),
        ({"data": {"classes": 3}}, "--classes=3: expected whole numbers of at least 0"),
        ({"data": {"image_size": [10**400]}}, "--image_size=10*: too large"),
        ({"data": {"more": 3}}, "more: no setting of"),
    ],
)
def test_forged_settings(tmp_path, settings, words):
    made = finished(tmp_path / "run", "train_dbn", **settings)
    with pytest.raises(ValueError, match=words):
        pretrained.load(made, pretrained.NETS)


def test_a_run_that_started_from_itself(tmp_path):
    made = finished(tmp_path / "run", "finetune_updown", pretrained=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="damaged: the run started from its own model"):
        pretrained.load(made, pretrained.NETS)
