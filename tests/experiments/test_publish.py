"""Published models: what is in the folder, and that they are evaluated like their runs."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from dbn_jax import dbn, model_file, rbm
from experiments import evaluate, finetune_updown, train_rbm
from experiments.common import pretrained
from experiments.common.data_settings import DataSettings
from experiments.publish import card, publish
from tests import binaries, finished_runs
from tests.data import test_idx


def test_published_models_are_evaluated_like_their_runs(tmp_path, monkeypatch, capsys):
    folder = str(tmp_path)
    test_idx.write(tmp_path, test_idx.ARRAYS)
    source = DataSettings(dataset="mnist", data_dir=folder)
    greedy = finished_runs.random_net(
        tmp_path / "greedy", (4, 5), data=source, num_pixels=20, num_labels=3
    )
    net = dbn.untie(model_file.load(tmp_path / "greedy/model.npz"))
    settings = finetune_updown.Settings(pretrained=greedy, data_dir=folder)
    tuned = finished_runs.save(tmp_path / "tuned", net, settings)
    published = tmp_path / "results/digits"
    publish(tuned, published)
    names = {"README.md", "model.npz", "model.npz.sha256", "summary.json"}
    assert {p.name for p in published.iterdir()} == names
    text = (published / "summary.json").read_text()
    assert str(tmp_path) not in text
    summary = json.loads(text)
    assert summary["program"] == "experiments.finetune_updown"
    assert summary["pretrained"]["program"] == "experiments.train_dbn"
    assert summary["pretrained"]["settings"]["data"]["dataset"] == "mnist"
    assert f"{(published / 'model.npz').stat().st_size:,} bytes" in capsys.readouterr().out
    model = model_file.load(published / "model.npz")
    assert jax.tree.structure(model) == jax.tree.structure(net)
    np.testing.assert_allclose(model.top.weights, net.top.weights, rtol=2**-8)
    assert not (model.top.weights == net.top.weights).all()

    # The runs themselves are not needed any more; where the data are has to be told.
    shutil.rmtree(greedy)
    shutil.rmtree(tuned)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    settings = evaluate.Settings(pretrained=str(published), ais_steps=0)
    with pytest.raises(FileNotFoundError, match=r"IDX files: put .* and give it as data_dir"):
        evaluate.run(settings, str(tmp_path / "out"))
    settings = dataclasses.replace(settings, data=DataSettings(data_dir=folder))
    results = evaluate.run(settings, str(tmp_path / "out"))["results"]
    assert results["split"] == "test"
    assert 0 <= results["error_rate_sampling"] <= 1
    # A publication of a publication is the same.
    publish(published, tmp_path / "again")
    assert (tmp_path / "again/summary.json").read_text() == text
    again = model_file.load(tmp_path / "again/model.npz")
    jax.tree.map(np.testing.assert_array_equal, again, model)


def test_what_cannot_be_published(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        publish(tmp_path / "nowhere", tmp_path / "out")
    path = finished_runs.random_net(tmp_path / "net", (4, 5))
    with pytest.raises(ValueError, match=r"net is the workdir of a run, whose .* be lost"):
        publish(path, tmp_path / "out/../net")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot use --folder=.*file: File exists; move the file aw"):
        publish(path, tmp_path / "file")
    for name in ("", "gs://bucket/model"):
        with pytest.raises(ValueError, match=f"--folder is '{name}'; name a local folder"):
            publish(path, name)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/model.npz").write_text("somebody's")
    with pytest.raises(
        ValueError, match=r"own holds model.npz and no summary.json, so .* empty fol"
    ):
        publish(path, tmp_path / "own")
    assert (tmp_path / "own/model.npz").read_text() == "somebody's"
    line = [f"--pretrained={tmp_path}/none", f"--folder={tmp_path}/published"]
    done = binaries.run("experiments.publish", *line)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no finished run" in done.stderr


def test_a_card_has_ones_own_words_first_then_figures_and_runs(tmp_path):
    path = finished_runs.random_net(tmp_path / "net", (4, 5))
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "about.md").write_text("For digits **only**.\n")
    publish(path, folder)
    lines = (folder / "README.md").read_text().splitlines()
    assert lines[:3] == ["# digits", "", "For digits **only**."]
    assert "| error rate | 50.00 % |" in lines
    commit = json.loads((folder / "summary.json").read_text())["commit"]
    assert lines[-3].startswith(f"| `experiments.train_dbn` | `{commit[:7]}` | 0 | 0 s | cpu |")


def test_a_run_that_has_changed_since_is_left_out_but_for_its_data(tmp_path):
    first = finished_runs.random_net(tmp_path / "first", (4, 5))
    model = dbn.untie(model_file.load(tmp_path / "first/model.npz"))
    tuned = finished_runs.save(
        tmp_path / "tuned", model, finetune_updown.Settings(pretrained=first)
    )
    row = "| `experiments.train_dbn` | has made another model since: left out | | | | |"
    publish(tuned, tmp_path / "same")
    assert row not in (tmp_path / "same/README.md").read_text()
    changed = finished_runs.random_net(tmp_path / "changed", (6, 5))
    for name in ("model.npz", "model.npz.sha256", "summary.json"):
        shutil.copy(f"{changed}/{name}", f"{first}/{name}")
    publish(tuned, tmp_path / "published")
    text = (tmp_path / "published/summary.json").read_text()
    start = json.loads(text)["pretrained"]
    assert start.keys() == {"program", "settings", "has_changed"}
    assert start["settings"].keys() == {"data"}
    assert row in (tmp_path / "published/README.md").read_text().splitlines()
    published = str(tmp_path / "published")
    assert pretrained.load(published, pretrained.NETS)[1] == finished_runs.DIGITS
    publish(published, tmp_path / "again")
    assert (tmp_path / "again/summary.json").read_text() == text


def test_a_card_says_that_figures_are_those_of_an_ensemble(tmp_path):
    settings = train_rbm.Settings(data=finished_runs.DIGITS, ensemble=3)
    model = rbm.init_params(jax.random.key(0), 64, 4)
    path = finished_runs.save(tmp_path / "ensemble", model, settings)
    publish(path, tmp_path / "out")
    lines = (tmp_path / "out/README.md").read_text().splitlines()
    assert "| mean over an ensemble of 3, of which this is the first | |" in lines


@pytest.mark.parametrize(
    "folder", sorted((binaries.ROOT / "experiments/results").glob("*/model.npz")), ids=str
)
def test_the_cards_of_this_repository_are_those_of_their_summaries(folder):
    assert (folder.parent / "README.md").read_text() == card(folder.parent)
