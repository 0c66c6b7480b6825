"""--patience of the commands: which epoch they keep, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import training
from dbn_jax.learning import monitor
from experiments import (
    finetune_bound,
    finetune_updown,
    train_autoencoder,
    train_rbm,
    train_sequences,
)
from experiments.common import finetuning
from tests import finished_runs, resumption, small_sequences
from tests.small_jobs import BINARY, DIGITS, load_net, small_rbm
from tests.small_sequences import few_films

pytestmark = pytest.mark.usefixtures("undrawn", "implicit_promotion")
__all__ = ["few_films"]  # a fixture

FEW = dataclasses.replace(BINARY, num_validation=1000)
QUICKLY = train_rbm.LearningSettings(epochs=40, batch_size=50, patience=2)
FEW_DIGITS = dataclasses.replace(DIGITS, num_validation=1000)


@pytest.fixture
def peak(monkeypatch):
    """The weights, which grow, score best where their norm is 1.5."""

    def compare(params, *examples, **options):
        score = -jnp.abs(jnp.linalg.norm(params.weights) - 1.5)
        return monitor_compare(params, *examples, **options) | {"log_pseudo_likelihood": score}

    monitor_compare = monitor.compare
    monkeypatch.setattr(monitor, "compare", compare)


@pytest.mark.usefixtures("peak")
def test_an_rbm_is_that_of_the_best_epoch(tmp_path, capsys):
    """Which is the last one of a run that ends there; its score is the best of its curve."""
    settings = small_rbm(data=FEW, learning=QUICKLY)
    summary = train_rbm.run(settings, str(tmp_path / "stopped"))
    table = training.read_metrics(tmp_path / "stopped/metrics_rbm.csv")
    score = table["eval_log_pseudo_likelihood"]
    kept, last = int(score.argmax()), len(score) - 1
    assert 0 < kept == last - 2 < 38
    stop = {"measure": "log_pseudo_likelihood", "kept_epoch": kept, "last_epoch": last}
    assert summary["early_stopping"] == {"rbm": stop}
    assert summary["results"]["eval_log_pseudo_likelihood"] == score[kept]
    words = f"rbm: training ended with epoch {last}; epoch {kept} is kept, by log_pseudo_likelihood"
    assert words in capsys.readouterr().out
    short = dataclasses.replace(QUICKLY, epochs=kept, patience=None)
    train_rbm.run(small_rbm(data=FEW, learning=short), str(tmp_path / "short"))
    nets = load_net(tmp_path / "stopped"), load_net(tmp_path / "short")
    jax.tree.map(np.testing.assert_array_equal, *nets)
    # More patience goes on from there, and more epochs change nothing.
    longer = dataclasses.replace(settings, learning=dataclasses.replace(QUICKLY, epochs=50))
    again = train_rbm.run(longer, str(tmp_path / "stopped"))
    assert again["results"] == summary["results"]
    patient = dataclasses.replace(longer.learning, patience=3)
    again = train_rbm.run(dataclasses.replace(longer, learning=patient), str(tmp_path / "stopped"))
    assert again["early_stopping"]["rbm"]["last_epoch"] > last


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("last", [2, 4])
def test_a_broken_run_ends_with_the_same_epoch(last, tmp_path):
    resumption.broken_and_resumed(tmp_path, train_rbm, small_rbm(data=FEW, learning=QUICKLY), last)


def test_pixels_of_many_values_have_a_log_likelihood(tmp_path):
    data = dataclasses.replace(FEW, binarisation="none")
    learning = dataclasses.replace(QUICKLY, epochs=3, learning_rate=0.01)
    settings = small_rbm(data=data, learning=learning, visible="gaussian")
    summary = train_rbm.run(settings, str(tmp_path))
    assert summary["settings"]["learning"]["stop_on"] == "log_likelihood"
    table = training.read_metrics(tmp_path / "metrics_rbm.csv")
    kept = int(table["eval_log_likelihood"].argmax())
    assert summary["early_stopping"]["rbm"]["kept_epoch"] == kept


@pytest.mark.parametrize("module", [finetune_updown, finetune_bound])
def test_a_net_is_that_with_the_fewest_errors(module, tmp_path, monkeypatch):
    """Errors are made up: the first epoch is the best."""
    net = finished_runs.random_net(tmp_path / "net", (12, 15), data=FEW_DIGITS)
    rates = iter([0.9, 0.1, 0.5, 0.4, 0.3, 0.2])

    def watch_errors(*arguments, **keywords):
        return lambda model: {"error_rate_train": 0.0, "error_rate": next(rates)}

    monkeypatch.setattr(finetuning, "watch_errors", watch_errors)
    settings = module.Settings(pretrained=net, patience=2)
    summary = module.run(settings, str(tmp_path / "run"))
    (stop,) = summary["early_stopping"].values()
    assert stop == {"measure": "error_rate", "kept_epoch": 1, "last_epoch": 3}


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (
            train_rbm,
            small_rbm(data=BINARY, learning=QUICKLY),
            "--patience=2 looks at validation data, and there are none: the test set must not "
            "decide; hold some out with --num_validation",
        ),
        (
            train_rbm,
            small_rbm(
                data=dataclasses.replace(FEW, binarisation="none"),
                learning=dataclasses.replace(QUICKLY, stop_on="log_pseudo_likelihood"),
            ),
            "--stop_on=log_pseudo_likelihood is for pixels of two values, and these have more; "
            "choose log_likelihood, or --binarisation",
        ),
        (
            train_autoencoder,
            train_autoencoder.Settings(
                data=DIGITS,
                hidden_sizes=(9, 3),
                finetune=train_autoencoder.BackpropagationSettings(patience=4),
            ),
            "--finetune_patience=4 looks at validation data, and there are none: the test set must "
            "not decide; hold some out with --num_validation",
        ),
    ],
)
def test_refusals(module, settings, words, tmp_path):
    with pytest.raises(ValueError, match="--") as caught:
        module.run(settings, str(tmp_path / "run"))
    assert str(caught.value) == words
    assert not (tmp_path / "run").exists()


def test_an_ensemble_is_refused():
    with pytest.raises(ValueError, match=r"^--patience=2 and --ensemble=3 exclude each other: "):
        small_rbm(data=FEW, learning=QUICKLY, ensemble=3)


@pytest.mark.parametrize(
    ("data", "labels", "words"),
    [
        (DIGITS, True, "hold some out with --num_validation, of a pretrained net when it is tr"),
        (
            FEW_DIGITS,
            False,
            "^--patience=2 does nothing with a net without label units, which make",
        ),
    ],
)
def test_nets_that_make_no_errors_to_look_at(data, labels, words, tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (4, 5), data=data, labels=labels)
    settings = finetune_updown.Settings(pretrained=net, patience=2)
    with pytest.raises(ValueError, match=words):
        finetune_updown.run(settings, str(tmp_path / "run"))


@pytest.mark.usefixtures("few_films")
def test_films_stop_by_the_error_of_predictions(tmp_path, monkeypatch):
    rates = iter([5.0, 1.0, 2.0, 3.0, 0.0])
    found = lambda *arguments: {"squared_error": next(rates)}  # noqa: E731
    monkeypatch.setattr(train_sequences.sequence_results, "watch", found)
    settings = small_sequences.settings(epochs=4, patience=2)
    summary = train_sequences.run(settings, str(tmp_path))
    stop = {"measure": "squared_error", "kept_epoch": 1, "last_epoch": 3}
    assert summary["early_stopping"] == {"sequences": stop}
