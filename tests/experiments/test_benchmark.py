import collections
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import learning, rbm
from dbn_jax.learning import bound_gradient, updown
from experiments import benchmark
from experiments.benchmarks import memory, net_updates, peers, rbm_updates, table, timing
from experiments.benchmarks.bound_products import BOUND
from experiments.benchmarks.rbm_updates import Case
from experiments.benchmarks.updown_products import UPDOWN

# Three sizes that differ, so that the shapes of the products tell them apart.
TINY = Case(12, 8, 6)
FIVE = {"6x8": 2, "6x12": 1, "8x12": 2}

# The same; 8 examples make 16 paths, the top RBM has 13 visible units.
TINY_NET = net_updates.Net(sizes=(24, 12, 10, 32), num_labels=3, batch_size=8)
ABSENT = peers.Peer("nowhere", "no_such_module", "no-such-package", "CD-1", "", lambda *_: None)


def tiny_config(**changes):
    settings = dict(
        cases=(TINY,),
        peers=("sklearn", "nowhere"),
        rounds=2,
        seconds=1e-4,
        scaling_case=TINY,
        scaling_batches=(2,),
        scaling_widths=(8,),
        scaling_gibbs_steps=(1, 2),
        scaling_ensembles=(3,),
        net=TINY_NET,
        updown_gibbs_steps=(1, 3),
        bound_gibbs_steps=(3,),
        footprint_repeats=0,
    )
    return benchmark.Config(**(settings | changes))


@pytest.fixture(scope="module")
def batches():
    return jax.device_put(rbm_updates.make_batches(TINY))


@pytest.fixture(scope="module", autouse=True)
def _absent_peer_and_no_pauses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "PEERS", (*peers.PEERS, ABSENT))
        patch.setattr(timing, "_WARM_UP", 0)
        yield


@pytest.fixture(scope="module")
def logged_report():
    lines = []
    return benchmark.run(tiny_config(), lines.append), "\n".join(lines)


def test_every_further_part_can_be_left_out(monkeypatch):
    """As --noscaling, --noupdown, --nobound and --nofootprint do."""
    monkeypatch.setattr(benchmark, "compare", lambda *_: {})
    monkeypatch.setattr(table, "comparison", lambda *_: "the case")
    nothing = dict.fromkeys(
        [f"scaling_{axis}" for axis in ("batches", "widths", "gibbs_steps", "ensembles")]
        + ["updown_gibbs_steps", "bound_gibbs_steps"],
        (),
    )
    lines = []
    report = benchmark.run(tiny_config(**nothing), lines.append)
    assert (report["updown"], report["bound"], report["scaling"]) == ([], [], {})
    assert lines[-2] == "the case"


def test_report_holds_every_time_and_its_ratios(logged_report):
    report, _ = logged_report
    results = report["cases"]["12x8x6"]
    assert list(results) == [
        *["floor", "cd", "cd_metrics", "cd_decay", "cd_means", "pcd", "pcd_metrics"],
        *["cd_dispatched", "sklearn"],
    ]
    times = {name: np.array(result["milliseconds"]) for name, result in results.items()}
    for name, result in results.items():
        assert times[name].shape == (2,)
        assert np.all(times[name] > 0)
        np.testing.assert_allclose(result["over_floor"], times[name] / times["floor"])
    np.testing.assert_allclose(results["sklearn"]["over_update"], times["sklearn"] / times["pcd"])
    np.testing.assert_allclose(
        results["cd_dispatched"]["over_update"], times["cd_dispatched"] / times["cd"]
    )
    speed = results["cd"]["images_per_second"]
    np.testing.assert_allclose(speed, 6 / (1e-3 * np.median(times["cd"])))
    assert results["cd"]["compile_seconds"] > 0


def test_table_compares_the_fastest_times(logged_report):
    report, text = logged_report
    results = report["cases"]["12x8x6"]
    fastest = {name: min(result["milliseconds"]) for name, result in results.items()}
    header, row = (
        next(line for line in text.splitlines() if line.startswith(start))
        for start in (" ", "cd  ")
    )
    end = header.index("fastest") + len("fastest")
    assert float(row[:end].split()[-1]) == round(fastest["cd"] / fastest["floor"], 2)


def test_report_says_where_it_comes_from(logged_report):
    report, _ = logged_report
    assert report["versions"]["jax"] == jax.__version__
    assert report["device"] == {"platform": "cpu", "kind": "cpu", "count": 8}
    assert report["config"]["cases"] == ["12x8x6"]
    assert {"command", "commit", "machine"} <= set(report)
    assert json.loads(json.dumps(report)) == report


def test_scaling_goes_through_every_value(logged_report):
    report, _ = logged_report
    values = {name: [p["value"] for p in points] for name, points in report["scaling"].items()}
    assert values == {
        "batch": [2],
        "hidden units": [8],
        "Gibbs steps": [1, 2],
        "models under vmap": [3],
    }
    second = report["scaling"]["Gibbs steps"][1]
    assert second["learner"] == "CD-2"
    # CD-2 makes seven products, each of 2·12·8·6 operations.
    np.testing.assert_allclose(second["gflops"], 7 * 1152 / np.median(second["milliseconds"]) / 1e6)


def test_table_shows_every_program_and_the_product_count(logged_report):
    report, table = logged_report
    for name in report["cases"]["12x8x6"]:
        assert f"\n{name} " in table
    assert "by result: 1 of 6x12, 2 of 6x8, 2 of 8x12" in table
    assert "differ in their matrix products" not in table


def test_floor_and_updates_compile_to_the_same_five_products(logged_report):
    report, _ = logged_report
    counted = {name: r["products"] for name, r in report["cases"]["12x8x6"].items()}
    names = ("floor", "cd", "cd_metrics", "cd_decay", "cd_means", "pcd", "pcd_metrics")
    assert counted == {**dict.fromkeys(names, FIVE), "cd_dispatched": None, "sklearn": None}


def test_a_sixth_product_is_counted():
    def seven(w, v):
        h = v @ w
        return (h @ w.T) @ w, v.T @ h, (v + 1).T @ h, (v + 2).T @ h, v @ jnp.ones(12)

    arguments = (jnp.ones((12, 8)), jnp.ones((6, 12)))
    hlo = jax.jit(seven).lower(*arguments).compile().as_text()
    assert rbm_updates.count_products(hlo, (12, 8, 6)) == {"6x8": 2, "6x12": 1, "8x12": 3}


def test_products_are_found_under_the_names_that_accelerators_use():
    hlo = """
      %a = f32[6,8]{1,0:T(8,128)} convolution(%x, %y), dim_labels=bf_io->bf
      ROOT %b = (f32[8,12]{1,0}, s8[4096]{0}) custom-call(%x), custom_call_target="__cublas$gemm"
      %c = f32[6,8]{1,0} custom-call(%x), custom_call_target="TopK"
      %d = f32[1,12]{1,0} dot(%x, %y), lhs_contracting_dims={0}
    """
    assert rbm_updates.count_products(hlo, (12, 8, 6)) == {"6x8": 1, "8x12": 1}


def test_floor_computes_the_five_products(batches):
    # Four updates: the carry holds what the last one, on the fourth batch, gave.
    weights, last_hidden, positive, negative = rbm_updates.floor(TINY, batches, 4).call()
    v = np.asarray(batches[3], np.float64)
    w = np.asarray(weights, np.float64)
    h = v @ w
    v2 = h @ w.T
    close = dict(rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last_hidden, v2 @ w, **close)
    np.testing.assert_allclose(positive, v.T @ h, **close)
    np.testing.assert_allclose(negative, v2.T @ (v2 @ w), **close)


def test_timed_updates_are_those_of_cd_step(batches):
    program = rbm_updates.update(TINY, batches, 3)
    optimizer = rbm_updates.make_optimizer()
    state = rbm.init_state(rbm_updates.init_params(TINY), optimizer)
    for t in range(3):
        key = jax.random.fold_in(jax.random.key(2), t)
        state, _ = rbm.cd_step(key, state, batches[t], optimizer=optimizer)
    (timed, _) = program.call()
    assert timed.step == 3
    np.testing.assert_allclose(timed.params.weights, state.params.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
@pytest.mark.filterwarnings("ignore")  # other people's deprecations
def test_peers_run(peer):
    if peer.version() is None:
        pytest.skip(f"{peer.package} is not installed")
    peer.make(TINY, rbm_updates.make_batches(TINY), 2)()


def test_missing_peers_are_named_with_the_remedy(logged_report):
    report, table = logged_report
    assert report["missing_peers"] == ["no-such-package"]
    assert "nowhere" not in report["cases"]["12x8x6"]
    assert "not timed: no-such-package. To install: pip install -e '.[peers]'" in table


def test_footprint_measures_a_process_of_its_own():
    (result,) = memory.measure(str(TINY), 1)
    assert result["import_jax_optax_seconds"] > 0
    assert result["import_dbn_jax_rbm_seconds"] > 0
    assert result["compile_seconds"] > 0
    assert result["host_peak_bytes"] >= result["host_peak_before_bytes"] > 2**24
    assert result["device_peak_bytes"] is None  # CPUs do not tell


@pytest.mark.parametrize("text", ["784x500", "784,500,100", "0x5x5", "ax5x5"])
def test_bad_cases_are_refused(text):
    with pytest.raises(ValueError, match="case"):
        Case.parse(text)


def test_unknown_and_repeated_peers_and_empty_settings_are_refused():
    with pytest.raises(ValueError, match="no peer thorch: choose from sklearn"):
        tiny_config(peers=("thorch",))
    with pytest.raises(ValueError, match="peer sklearn is given more than once"):
        tiny_config(peers=("sklearn", "torch", "sklearn"))
    with pytest.raises(ValueError, match="rounds=0"):
        tiny_config(rounds=0)


def test_whole_nets_are_timed_beside_their_floors(logged_report):
    report, table = logged_report
    assert [r["gibbs_steps"] for r in report["updown"]] == [1, 3]
    assert [r["products"] for r in report["updown"]] == [17, 21]
    assert [(r["gibbs_steps"], r["products"]) for r in report["bound"]] == [(3, 25)]
    for result in (*report["updown"], *report["bound"]):
        ratio = np.divide(result["milliseconds"], result["floor_milliseconds"])
        np.testing.assert_allclose(result["over_floor"], ratio)
    assert "Up-down, 24-12-10-32 with 3 labels, batch 8" in table
    assert "Ascent of the bound, 2 paths, 24-12-10-32 with 3 labels, batch 8" in table


@functools.cache
def program(make, method, num_gibbs_steps):
    """Of three updates; compiled once for all tests."""
    return make(method, TINY_NET, num_gibbs_steps, 3)


def products(text):
    """Of a compiled program for `TINY_NET`, by shape of the result."""
    sizes = (8, 16, *TINY_NET.sizes, 13)
    return collections.Counter(rbm_updates.count_products(text, sizes))


def products_of(*which):
    return products(program(*which).call.func.as_text())


@pytest.mark.parametrize("method", [UPDOWN, BOUND], ids=lambda method: method.name)
def test_nets_compile_to_the_products_of_their_floors(method):
    """With one Gibbs step, which needs no loop, so that each product stands in the text once."""
    found = products_of(net_updates.update, method, 1)
    assert found == products_of(net_updates.floor, method, 1)
    assert found.total() == method.num_products(2, 1)


# Up-down's last Gibbs step stands outside of the loop, and CD's first as well; the floors loop over
# them all.
@pytest.mark.parametrize(
    ("method", "outside"),
    [(UPDOWN, {"8x13": 1, "8x32": 1}), (BOUND, {"13x16": 2, "16x32": 2})],
    ids=["updown", "bound"],
)
def test_further_gibbs_steps_add_their_own_products_alone(method, outside):
    floor = products_of(net_updates.floor, method, 4)
    assert floor == products_of(net_updates.floor, method, 1)
    found = products_of(net_updates.update, method, 4)
    assert found == floor + collections.Counter(outside)


def test_metrics_of_the_bound_add_no_product():
    optimizer = rbm_updates.make_optimizer()
    state = BOUND.init_state(TINY_NET.init(), optimizer)
    v, labels = TINY_NET.data()
    compiled = bound_gradient.step.lower(
        *(jax.random.key(0), state, v[0], labels[0]), optimizer=optimizer, learner=learning.CD()
    ).compile()
    assert products(compiled.as_text()) == products_of(net_updates.floor, BOUND, 1)


def test_timed_updates_of_nets_are_those_of_the_library():
    v, labels = TINY_NET.data()
    optimizer = rbm_updates.make_optimizer()

    def step(method, key, state, *batch):
        if method is UPDOWN:
            return updown.step(key, state, *batch, optimizer=optimizer, num_gibbs_steps=1)
        return bound_gradient.step(key, state, *batch, optimizer=optimizer, learner=learning.CD(1))

    for method in (UPDOWN, BOUND):
        timed = program(net_updates.update, method, 1).call()
        state = method.init_state(TINY_NET.init(), optimizer)
        for t in range(3):
            key = jax.random.fold_in(jax.random.key(2), t)
            state, _ = step(method, key, state, v[t], labels[t])
        assert timed.step == 3
        for part in ("recognition", "generative"):
            ours, theirs = getattr(timed.params, part)[0], getattr(state.params, part)[0]
            np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            timed.params.top.weights, state.params.top.weights, rtol=1e-4, atol=1e-6
        )


def test_images_per_second_are_those_of_the_median_time(monkeypatch):
    programs = [
        rbm_updates.Program("floor", "", "", 1, None),
        rbm_updates.Program("cd", "", "CD-1", 1, None),
        rbm_updates.Program("pcd", "", "PCD-1", 1, None),
    ]
    times = {"floor": [1.0, 1.0, 1.0], "cd": [1.0, 2.0, 9.0], "pcd": [3.0, 3.0, 3.0]}
    monkeypatch.setattr(rbm_updates, "all_programs", lambda *_: programs)
    monkeypatch.setattr(timing, "num_updates", lambda *_: 1)
    monkeypatch.setattr(timing, "time_in_turn", lambda *_: times)
    results = benchmark.compare(TINY, [], tiny_config())
    # 6 images in 2 ms.
    assert results["cd"]["images_per_second"] == 3000
    assert results["floor"]["images_per_second"] is None
