"""finetune_updown: its stages, and resumption."""

import dataclasses
import re

import jax.numpy as jnp
import optax
import pytest

from dbn_jax import recognition, train_state
from experiments import finetune_updown
from experiments.common import finetuning
from tests import finished_runs
from tests.resumption import broken_and_resumed

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def test_stages_of_updown_are_functions_of_the_update():
    seen = []

    def gradient(key, net, v, labels, *, num_gibbs_steps, **keywords):
        assert keywords == {"label_cost": 2.0, "adversarial_radius": 3.0}
        seen.append(int(num_gibbs_steps))
        return net, {}

    optimizer = optax.sgd(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune_updown.updown, "gradient", gradient)
        for update in range(9):
            state = train_state.init_state(jnp.zeros(1), optimizer)
            state = dataclasses.replace(state, step=jnp.int32(update))
            finetune_updown._step(
                None,
                state,
                (None, None),
                optimizer=optimizer,
                gibbs_steps=(3, 6, 10),
                num_updates=9,
                label_cost=2.0,
                adversarial_radius=3.0,
            )
    assert seen == [3, 3, 3, 6, 6, 6, 10, 10, 10]


@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    # Weights are large, or chains that started elsewhere would soon meet.
    net = finished_runs.random_net(tmp_path / "net", (10, 12, 14), weight_scale=1.0)
    changes = {"gibbs_steps": (1, 2), "label_cost": 1.0, "adversarial_radius": 0.5}
    settings = finetune_updown.Settings(pretrained=net, epochs=4, batch_size=50, **changes)
    broken_and_resumed(tmp_path, finetune_updown, settings)


@pytest.mark.usefixtures("undrawn")
def test_it_shows_what_improves(tmp_path, capsys, monkeypatch):
    """The page tells the error before and after: all curves may rise while it falls."""
    drawn = []
    draw = finetuning.learning_curves
    monkeypatch.setattr(
        finetuning, "learning_curves", lambda *args: drawn.append(args) or draw(*args)
    )
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    settings = finetune_updown.Settings(pretrained=net, epochs=1)
    results = finetune_updown.run(settings, str(tmp_path / "run"))["results"]
    rates = {way: results[f"error_rate_{way}"] for way in recognition.WAYS}
    before = {way: results[f"error_rate_{way}_before"] for way in recognition.WAYS}
    assert before != rates
    words = ", ".join(
        f"{way.replace('_', ' ')} {before[way]:.2%} → {rate:.2%}" for way, rate in rates.items()
    )
    subtitle = drawn[0][-1]
    assert re.sub(r"[\d,]+ test", "N test", subtitle) == (
        f"wrong of N test images, before → after: {words}"
    )
    said = capsys.readouterr().out
    for name in ("wake_loss", "sleep_loss"):
        assert f"{name}: {results[name]:.6g}\n" in said
    assert f"error_rate_mean_field_before: {before['mean_field']:.2%}\n" in said


@pytest.mark.usefixtures("undrawn")
def test_a_net_without_labels_has_a_result_too(tmp_path, capsys):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), labels=False)
    settings = finetune_updown.Settings(pretrained=net, epochs=1)
    results = finetune_updown.run(settings, str(tmp_path / "run"))["results"]
    assert results.keys() == {"wake_loss", "sleep_loss"}
    assert f"wake_loss: {results['wake_loss']:.6g}\n" in capsys.readouterr().out
