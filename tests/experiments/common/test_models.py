"""What --pretrained names, and where its data are."""

import json

import jax
import pytest

from dbn_jax import dbn, model_file, rbm
from experiments.common import models


def finished(path, program, **flags):
    """A workdir or published folder as a run leaves it."""
    path.mkdir()
    net = dbn.stack((rbm.init_params(jax.random.key(0), 4, 3),))
    model_file.save(path / "model.npz", net)
    flags = {"dataset": "mnist", "num_validation": "7", "binarisation": "none"} | flags
    flags.setdefault("standardise", "false")
    summary = {"figures": {}, "program": f"experiments.{program}", "flags": flags}
    (path / "summary.json").write_text(json.dumps(summary))
    return str(path)


def test_data_are_those_of_the_first_run(tmp_path):
    first = finished(tmp_path / "first", "train_dbn", data_dir="/old")
    second = finished(tmp_path / "second", "finetune_updown", pretrained=first, dataset="none")
    _, found = models.load(second, models.NETS)
    assert (found.dataset, found.data_dir, found.num_validation) == ("mnist", "/old", 7)


def test_data_may_have_moved(tmp_path):
    """The latest folder that a run of the chain was given counts, and the caller's above all."""
    published = finished(tmp_path / "first", "train_dbn")
    second = finished(
        tmp_path / "second", "finetune_updown", pretrained=published, data_dir="/moved"
    )
    third = finished(tmp_path / "third", "finetune_memory", pretrained=second)
    assert models.load(published, models.NETS)[1].data_dir is None
    assert models.load(third, models.NETS)[1].data_dir == "/moved"
    assert models.load(third, models.NETS, "/again")[1].data_dir == "/again"


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        models.load(str(tmp_path), models.NETS)
    made = finished(tmp_path / "run", "benchmark")
    with pytest.raises(ValueError, match="was made by benchmark; expected train_dbn,"):
        models.load(made, models.NETS)
    for text in ('{"figures": {}, "fla', "[]", '{"figures": {}}'):
        (tmp_path / "run/summary.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"run/summary.json is not the summary of a run .*anew"
        ):
            models.load(made, models.NETS)
