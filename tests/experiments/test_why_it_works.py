"""The argument's pictures: what is left on disk, and that the numbers say what is claimed."""

import json
import re

import numpy as np
import pytest

from experiments import why_it_works
from experiments.why_it_works import Settings

QUICK = Settings(num_chains=200, num_sweeps=20, num_updates=1_000)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("why")
    why_it_works.run(QUICK, str(path))
    return path


@pytest.fixture
def found(path):
    return json.loads((path / "summary.json").read_text())["results"]


def test_all_pictures_are_drawn_and_described(path, found, monkeypatch):
    described = set(re.findall(r"^- (\w+)\.png", why_it_works.__doc__, re.MULTILINE))
    assert {file.stem for file in (path / "figures").iterdir()} == described
    monkeypatch.setattr(why_it_works.tied_nets, "bars_and_stripes", None)
    assert why_it_works.run(QUICK, str(path))["results"] == found


def test_explaining_away_is_as_derived_by_hand(found):
    """The ratios 1/cosh 10 : 1 : 1 : 1/cosh 10, and what follows for the truck."""
    ratios = np.array([1 / np.cosh(10), 1, 1, 1 / np.cosh(10)])
    part = found["explaining_away"]
    np.testing.assert_allclose(part["exact"], ratios / ratios.sum(), rtol=1e-10)
    truck = [1 / (1 + np.exp(10)), 0.5, 1 / (1 + np.cosh(10)), 1 / (1 + 1 / np.cosh(10))]
    np.testing.assert_allclose(found["truck"]["exact"], truck, rtol=1e-10)
    # Five standard errors: of a million draws, and of the 45 or so in which the house jumps.
    error = np.sqrt(np.array(truck) * (1 - np.array(truck)) / np.array([1e6, 45, 1e6, 1e6]))
    assert (np.abs(np.array(found["truck"]["sampled"]) - truck) < 5 * error + 1e-9).all()
    # Both wrong answers cost one bit, in their own divergence.
    for name in ("divergence_product_of_marginals", "divergence_best_factorial"):
        assert part[name] == pytest.approx(np.log(2), abs=2e-3)
    np.testing.assert_allclose(part["product_of_marginals"], 0.25, atol=1e-4)
    assert max(part["best_factorial"]) > 0.999


def test_what_a_layer_learns_depends_on_its_prior(found):
    part = found["priors"]
    before = {name: p["correlation_before"] for name, p in part.items()}
    after = {name: p["correlation_after"] for name, p in part.items()}
    assert before["independent"] == pytest.approx(0, abs=1e-10)
    assert after["independent"] < -0.5
    assert before["one causes both"] > 0.7
    assert before["one or the other"] < -0.8
    assert before["complementary"] > 0.3
    assert after["complementary"] == pytest.approx(0, abs=1e-10)
    rules = [p["delta_rule_of_the_truck"] for p in part.values()]
    assert min(np.diff(np.sort(rules))) > 0.005


def test_recognition_explains_away_only_with_a_weight_between_the_causes(found):
    part = found["recognition"]
    assert part["divergence_connected"] < 0.02
    assert part["divergence_layer"] > 10 * part["divergence_connected"]
    learnt = found["wake_sleep"]
    bounds = (learnt["bound_wake_sleep"], learnt["log_likelihood_wake_sleep"])
    assert bounds[0] < bounds[1] < learnt["best_possible"]
    assert bounds[1] > 9 * np.log(0.5)  # fair coins


def test_tied_nets_do_as_the_theory_says(found):
    rates = [part["second_eigenvalue"] for part in found["convergence"].values()]
    assert rates == sorted(rates)
    for part in found["convergence"].values():
        assert part["measured_rate"] == pytest.approx(part["second_eigenvalue"], rel=0.05)
    likelihood, prior, posterior = found["complementary_prior"]["couplings"].values()
    assert likelihood == pytest.approx(-prior, abs=1e-10)
    assert likelihood < -0.5
    assert posterior == pytest.approx(0, abs=1e-10)
    part = found["complementary_prior"]
    np.testing.assert_allclose(part["posterior"], part["one_step_up"], atol=1e-10)
    neglected = [part["neglected_by_cd"] for part in found["learning_rule"].values()]
    for shares in neglected:
        assert (np.diff(np.maximum(shares, 1e-12)) <= 0).all()
    first = [shares[0] for shares in neglected]
    assert first == sorted(first)  # the stronger the weights, the more CD-1 leaves out
    assert first[-1] > 0.3


def test_the_bound_starts_tight_and_its_slack_stays_below_the_gain(found):
    part = found["untied"]
    assert part["bound_at_start"] == pytest.approx(part["rbm_alone"], abs=1e-10)
    assert part["bound"] > part["rbm_alone"] + 0.1
    assert part["log_likelihood"] > part["bound"] + 0.001
    assert part["least_gain_less_slack"] > -1e-10


def test_grey_levels(found):
    part = found["grey_levels"]
    assert part["logistic_at_most"] == pytest.approx(0.0241, abs=1e-4)
    np.testing.assert_allclose(list(part["gaussian"].values()), [0.5, 2, 50 / 9])
