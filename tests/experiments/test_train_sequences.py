"""The binary that learns sequences: what it leaves, what it learns from, and how it resumes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import mido
import numpy as np
import PIL.Image
import pytest

from dbn_jax import model_file, temporal
from experiments import evaluate, generate, train_sequences
from experiments.common import sequence_data, sequence_results
from experiments.pictures import sequences as pictures
from tests import resumption
from tests.small_sequences import few_films, settings, write_cmu35, write_music, write_npz

pytestmark = pytest.mark.usefixtures("implicit_promotion", "few_films")
__all__ = ["few_films"]  # a fixture
WRITERS = {"jsb": write_music, "cmu35": write_cmu35, "npz": write_npz}
KINDS = ["balls", "jsb", "cmu35", "npz"]
FIGURES = {
    "balls": {"curves.png", "features.png", "film.webp", "film.png", "errors_ahead.png"},
    "jsb": {"curves.png", "piano_rolls.png"}
    | {f"{roll}.{end}" for roll in ("real", "goes_on", "from_nothing") for end in ("mid", "wav")},
    "cmu35": {f"{name}.png" for name in ("curves", "errors_ahead_run", "errors_ahead_walk")}
    | {f"{name}.{end}" for name in ("film", "dream") for end in ("webp", "png")},
    "npz": {f"{name}.png" for name in ("curves", "film", "errors_ahead", "recurrent_weights")},
}
DREAMS = {
    "balls": {"dreams.webp", "dreams.png"},
    "jsb": {"dreams.png"}
    | {
        f"from_{start}.{end}"
        for start in ("sequence_1", "sequence_2", "nothing")
        for end in ("mid", "wav")
    },
    "cmu35": {"dreams.webp", "dreams.png"},
    "npz": {"dreams.png"},
}
CHANGES = {
    "balls": {"num_frames": 42, "epochs": 1},
    "jsb": {"transpose": True, "window": 5},
    "cmu35": {
        "model": "crbm",
        "order": 2,
        "styles": True,
        "upper_hidden": 3,
        "recurrent_size": 300,
    },
    "npz": {"model": "rtrbm", "visible": "gaussian_learnt", "recurrent_size": 300, "window": 8},
}


@pytest.fixture
def folder(tmp_path):
    """Files of each kind of data."""
    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    return tmp_path


def figures(path):
    return {p.name for p in (path / "figures").iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_results_pictures_and_a_model_to_evaluate_and_to_dream(
    tmp_path, folder, kind, capsys, monkeypatch
):
    monkeypatch.setattr(pictures, "_DREAM_SECONDS", 0.2)
    made = settings(kind, folder / kind, **CHANGES[kind])
    summary = train_sequences.run(made, str(tmp_path / "run"))
    assert figures(tmp_path / "run") == FIGURES[kind]
    results = summary["results"]
    table = (tmp_path / "run/table.txt").read_text()
    assert table in capsys.readouterr().out
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary
    part, number = {"jsb": ("validation", 2), "balls": ("validation", 3)}.get(kind, ("test", 0))
    number = number or {"cmu35": 2, "npz": 1}[kind]
    assert table.startswith(f"{number} {part} sequences of {kind}\n")
    assert results["split"] == part
    name = {"cmu35": "conditional RBM", "npz": "RTRBM"}.get(kind, "RNN-RBM")
    if kind == "cmu35":  # a walk and a run, each of which is one sequence
        for label in ("run", "walk"):
            assert results[f"squared_errors_{label}"][f"{name}, mean field"][1] is None
            assert results[f"log_likelihood_standard_error_{label}"] is None
        assert set(results["filled_in"]) == {"the model", "nearest neighbour"}
    elif kind != "jsb":
        rows = list(results["squared_errors"])
        assert rows[:3] == ["mean frame", "last frame", "linear, order 1"]
        assert rows[-2:] == [f"{name}, Gibbs sampling", f"{name}, mean field"]
        assert results["squared_error"] == results["squared_errors"][rows[-1]][0]
        assert len(results["errors_ahead"]["model"]) == sequence_results.NUM_AHEAD
    if kind == "jsb":
        assert list(results["log_likelihoods"]) == [
            "independent units", "each unit after its own last state", name,
            f"{name}, conservative",
        ]  # fmt: skip
        heard = mido.MidiFile(tmp_path / "run/figures/real.mid")
        assert any(message.type == "note_on" for message in heard)
    # A finished run only reports.
    assert train_sequences.run(made, str(tmp_path / "run")) == summary

    # Evaluated, the baselines and what needs no draw are the same numbers.
    shared = {} if kind == "balls" else {"ais_steps": 3, "ais_chains": 2}
    again = evaluate.run(
        evaluate.Settings(pretrained=str(tmp_path / "run"), split=part, **shared),
        str(tmp_path / "evaluated"),
    )["results"]
    assert again["split"] == part
    for key in ("squared_errors", "log_likelihoods", "squared_errors_walk", "errors_ahead"):
        for row, values in results.get(key, {}).items():
            other = row.replace(name, "the model")
            if row not in (f"{name}, Gibbs sampling", name, f"{name}, conservative", "model"):
                assert again[key][other] == values
    assert set(again) == set(results)

    # And it dreams.
    made = generate.Settings(pretrained=str(tmp_path / "run"), frames=12)
    dreamt = generate.run(made, str(tmp_path / "dreams"))
    assert dreamt["results"] == {"split": part, "frames": 12}
    assert figures(tmp_path / "dreams") == DREAMS[kind]
    for path in (tmp_path / "dreams/figures").glob("*.webp"):
        with PIL.Image.open(path) as film:
            assert film.n_frames == 12
    assert generate.run(made, str(tmp_path / "dreams")) == dreamt


def test_dreams_begin_with_real_frames_and_the_last_with_nothing(folder, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "_show", lambda *args: shown.append(args[1:]))
    made = settings("cmu35", folder / "cmu35", **CHANGES["cmu35"])
    dataset = made.data.load()
    key, train = jax.random.key(0), dataset.train
    visible = train_sequences.UNITS["gaussian"]
    model = train_sequences.start(key, made.model, dataset, train, visible)
    pictures.draw_dreams(key, None, model, dataset, "test", 15)
    ((_, _, dreams, given, title, subtitle),) = shown
    assert list(dreams) == ["from sequence 1", "from sequence 2", "from nothing"]
    assert list(given.values()) == [10, 10, 0]
    for v, dream in zip(dataset.test, dreams.values(), strict=False):
        np.testing.assert_array_equal(dream[:10], v[:10])
        assert dream.shape == (15, 9)
        assert np.abs(dream[10:] - v[10:15]).max() > 0.01
    assert (title, subtitle) == (
        "cmu35: dreams of the model",
        "those from test sequences begin with 10 real frames",
    )


@pytest.mark.parametrize(
    "changes",
    [
        *({"model": name} for name in ("rtrbm", "trbm", "crbm", "rbm")),
        *({"cell": name} for name in ("plain", "lstm")),
    ],
    ids=str,
)
def test_every_model_and_cell_learns(folder, tmp_path, undrawn, monkeypatch, changes):
    monkeypatch.setattr(pictures, "draw", lambda *args: None)
    rest = {"recurrent_size": 300} if "model" in changes else {}
    made = settings("jsb", folder / "jsb", epochs=1, ais_steps=0, **rest, **changes)
    train_sequences.run(made, str(tmp_path / "run"))
    model = model_file.load(tmp_path / "run/model.npz")
    expected = {
        "rtrbm": temporal.RTRBM,
        "trbm": temporal.TRBM,
        "crbm": temporal.ConditionalRBM,
        "rbm": temporal.ConditionalRBM,
    }.get(changes.get("model"), temporal.RNNRBM)
    assert type(model) is expected
    if "model" in changes:
        past = {"crbm": 3, "rbm": 0}.get(changes["model"])
        assert past is None or model.order == past
    assert np.abs(np.asarray(model.rbm.weights)).max() > 0


def test_nothing_but_a_workdir_is_needed():
    """Balls, learnt by an RNN-RBM."""
    made = train_sequences.Settings()
    assert (made.data.dataset, made.data.data_dir, made.model.model) == ("balls", None, "rnn_rbm")
    train_sequences._check_idle(made)


def test_films_that_are_held_out_are_never_learnt():
    """Nor are those of the baselines, of any seed near by; and no update repeats a film."""
    made = settings()
    dataset = made.data.load()
    feed = sequence_data.feed(
        made.data, dataset, window=100, warm_up=0, with_styles=False, batch_size=4
    )
    assert feed.rows is None
    assert (feed.sizes, feed.updates_per_epoch) == ({"updates_per_epoch": 3}, 3)
    learnt = []
    for seed in range(3):
        for t in range(5):
            key = jax.random.fold_in(jax.random.key(seed), t)
            batch = feed.make(jax.random.split(key)[0], None)
            learnt += list(np.asarray(batch.values))
        learnt += list(made.data.training_sequences(dataset, seed))
    films = [x.tobytes() for x in (*learnt, *dataset.validation, *dataset.test)]
    assert len(set(films)) == len(films) == 3 * (5 * 4 + 5) + 3 + 4
    assert batch.learnt.shape == (4, 8)
    assert batch.learnt.all()


def cut(folder, dataset="jsb", **changes):
    made = settings(dataset, folder, **changes)
    loaded = made.data.load()
    feed = sequence_data.feed(
        made.data,
        loaded,
        window=made.learning.window,
        warm_up=made.learning.warm_up,
        with_styles=made.model.styles,
        batch_size=1,
    )
    return loaded, feed


def batches(feed, number):
    """All windows, so many times."""
    make = jax.jit(lambda key: feed.make(key, jax.tree.map(jnp.asarray, feed.rows)))
    return [jax.device_get(make(jax.random.key(i))) for i in range(number)]


def test_windows_reach_every_frame_and_do_not_cross_sequences(tmp_path):
    write_music(tmp_path, train=(23, 6, 1))
    loaded, feed = cut(tmp_path, window=6, warm_up=2)
    assert feed.num_frames == 6
    assert feed.updates_per_epoch == 4 + 1 + 1
    learnt = [np.zeros(len(x), int) for x in loaded.train]
    for batch in batches(feed, 60):
        owners = np.repeat([0, 1, 2], [4, 1, 1])
        for i, values, length, warm_up, mask in zip(
            owners, batch.values, batch.lengths, batch.warm_up, batch.learnt, strict=True
        ):
            whole = loaded.train[i]
            assert length == min(6, len(whole))
            assert not values[length:].any()
            places = [
                s
                for s in range(len(whole) - length + 1)
                if (whole[s : s + length] == values[:length]).all()
            ]
            assert len(places) == 1
            # The memory is filled first, but for the beginning of a sequence, which has no past.
            assert warm_up == (2 if places[0] else 0)
            np.testing.assert_array_equal(mask, (np.arange(6) >= warm_up) & (np.arange(6) < length))
            learnt[i][places[0] : places[0] + 6] += mask[: len(whole) - places[0]]
    assert min(counts.min() for counts in learnt) > 0
    # No frame is much rarer than the others: neither a beginning nor an end.
    long = learnt[0] / 240
    assert long.min() > long.mean() / 2


def test_pieces_are_transposed_within_the_piano_and_twelve_keys(tmp_path):
    for low, high, shifts in (
        (40, 50, range(-5, 7)),
        (2, 50, range(-2, 7)),
        (40, 85, range(-5, 4)),
    ):
        write_music(tmp_path, low=low, high=high)
        loaded, feed = cut(tmp_path, transpose=True)
        found = set()
        for batch in batches(feed, 80):
            for whole, values in zip(loaded.train, batch.values, strict=True):
                values = values[: len(whole)]
                shift = int(np.flatnonzero(values[0])[0]) - low
                found.add(shift)
                # Every note of the piece by the same interval.
                np.testing.assert_array_equal(np.roll(whole, shift, axis=1), values)
        assert found == set(shifts)
    loaded, feed = cut(tmp_path)
    np.testing.assert_array_equal(batches(feed, 1)[0].values[0], loaded.train[0])


def test_a_piece_of_silence_is_not_moved(tmp_path):
    write_music(tmp_path, low=40, high=50)
    loaded, _ = cut(tmp_path)
    silent = dataclasses.replace(loaded, train=(np.zeros((4, 88), np.uint8),))
    made = settings("jsb", tmp_path, transpose=True)
    feed = sequence_data.feed(
        made.data, silent, window=9, warm_up=0, with_styles=False, batch_size=1
    )
    assert {name: int(x[0]) for name, x in feed.rows.items()} == {
        "first": 0, "count": 4, "down": 0, "up": 0
    }  # fmt: skip


def test_styles_reach_the_model(folder):
    loaded, feed = cut(folder / "cmu35", "cmu35", styles=True, model="crbm")
    (batch,) = batches(feed, 1)
    runs = np.arange(18) >= 16
    np.testing.assert_array_equal(batch.styles, np.stack([runs, ~runs], axis=1))
    made = settings("cmu35", folder / "cmu35", **CHANGES["cmu35"])
    visible = train_sequences.UNITS["gaussian"]
    model = train_sequences.start(jax.random.key(0), made.model, loaded, loaded.train, visible)
    assert (model.order, model.style_size) == (2, 2)
    past, _, style = sequence_results.starts(model, loaded, "test")
    assert not past.any()
    np.testing.assert_array_equal(style, [[1, 0], [0, 1]])  # a run and a walk


def test_sequences_are_held_out_with_their_labels(folder):
    plain = settings("cmu35", folder / "cmu35").data.load()
    loaded = settings("cmu35", folder / "cmu35", num_validation=3).data.load()
    assert [len(x) for x in (loaded.train, loaded.validation, loaded.test)] == [15, 3, 2]
    every = {x.tobytes(): label for x, label in
             zip(plain.train, plain.labels["train"], strict=True)}  # fmt: skip
    for part in ("train", "validation"):
        found = zip(loaded.parts()[part], loaded.labels[part], strict=True)
        assert all(every.pop(x.tobytes()) == label for x, label in found)
    assert not every
    assert sequence_data.held_out(loaded)[0] == "validation"


def test_errors_ahead_are_those_of_a_dream_from_the_middle(folder):
    """The model's, of which nothing after the middle is known; and of the last frame again."""
    loaded = settings("cmu35", folder / "cmu35").data.load()
    key = jax.random.key(0)
    model = temporal.init_conditional(key, 9, 4, order=1, visible=train_sequences.UNITS["gaussian"])
    model = dataclasses.replace(model, to_visible=0.5 * jnp.eye(9))
    still = jax.tree.map(lambda x: 0 * x, model.rbm)
    model = dataclasses.replace(model, rbm=still)
    errors = sequence_results.errors_ahead(key, model, loaded.test, None, num_ahead=20)
    expected = {"model": [], "last frame": []}
    for x in loaded.test:
        middle = len(x) // 2
        real, last = x[middle : middle + 20], x[middle - 1]
        halves = last * 0.5 ** np.arange(1, 21)[:, None]
        expected["model"].append(((real - halves) ** 2).sum(axis=1))
        expected["last frame"].append(((real - last) ** 2).sum(axis=1))
    for name, rows in expected.items():
        np.testing.assert_allclose(errors[name], np.mean(rows, axis=0), rtol=1e-4)
    assert sequence_results.errors_ahead(key, model, loaded.train, None) == {}


@pytest.mark.parametrize("kind", ["balls", "jsb"])
def test_a_resumed_run_equals_an_unbroken_one(folder, tmp_path, undrawn, monkeypatch, kind):
    monkeypatch.setattr(pictures, "draw", lambda *args: None)
    hidden = {"input_dropout": 0.2, "memory_dropout": 0.3}
    of_music = {"transpose": True, "window": 5, "warm_up": 1, "ais_steps": 0}
    made = settings(kind, folder / kind, epochs=3, **hidden, **(of_music if kind == "jsb" else {}))
    resumption.broken_and_resumed(tmp_path, train_sequences, made)
