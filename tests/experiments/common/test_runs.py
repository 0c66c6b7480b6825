"""The frame of a run, by an experiment of some fifty lines (`toy_experiment`)."""

import collections
import functools
import inspect
import json
import re

import jax
import numpy as np
import pytest

from dbn_jax import model_file, precision, training
from experiments.common import runs
from experiments.common.data_settings import DataSettings
from tests import binaries, resumption, rounded_products
from tests.data import test_idx
from tests.experiments.common import toy_experiment
from tests.experiments.common.toy_experiment import Settings, run

TOY = "tests.experiments.common.toy_experiment"


def test_an_experiment_is_short():
    assert len(inspect.getsource(toy_experiment).splitlines()) < 60


def test_a_command_line_leaves_a_finished_workdir(tmp_path, capsys):
    done = binaries.run(TOY, f"--workdir={tmp_path}", "--num_hidden=6")
    assert done.returncode == 0, done.stderr
    assert "done in" in done.stdout
    assert "reconstruction_error: " in done.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"flags.txt", "summary.json", "metrics_rbm.csv", "model.npz", "figures"}
    assert (tmp_path / "figures" / "features.png").stat().st_size > 1000
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["program"] == TOY
    settings = Settings.from_json(summary["settings"])
    assert settings == Settings(num_hidden=6)
    # Finished: the same command, or its flagfile, reports at once.
    again = binaries.run(TOY, f"--workdir={tmp_path}", f"--flagfile={tmp_path}/flags.txt")
    assert "done already" in again.stdout
    assert "reconstruction_error: " in again.stdout
    assert run(settings, str(tmp_path)) == summary


def test_other_settings_are_refused_by_name(tmp_path):
    run(Settings(epochs=1), str(tmp_path))
    with pytest.raises(ValueError, match=r"other settings:\n  --epochs: was 1, now 2\n"):
        run(Settings(epochs=2), str(tmp_path))
    # What decides no result may change.
    assert run(Settings(epochs=1, checkpoint_seconds=7.0), str(tmp_path))["seed"] == 0


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_a_run_does_not_go_on_with_other_data(tmp_path, part):
    """Of the same shapes: IDX files that were replaced between the stop and the resumption."""
    arrays = {name: np.concatenate(10 * [array]) for name, array in test_idx.ARRAYS.items()}
    changed = {name: array.copy() for name, array in arrays.items()}
    (images,) = (x for name, x in changed.items() if name.startswith(part) and x.ndim == 3)
    images[0, 0, 0] ^= 1
    test_idx.write(tmp_path, arrays)
    source = DataSettings(dataset="mnist", data_dir=str(tmp_path))
    settings, workdir = Settings(data=source), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "save_model", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            run(settings, str(workdir))
    test_idx.write(tmp_path, changed)
    what = {"train": "training data", "t10k": r"held-out data\['images'\]"}[part]
    with pytest.raises(ValueError, match=rf"checkpoint of step .* was made with other {what}[;,] "):
        run(settings, str(workdir))
    test_idx.write(tmp_path, arrays)
    run(settings, str(workdir))  # put back, it goes on


def test_a_finished_run_vouches_for_its_model(tmp_path):
    run(Settings(epochs=1), str(tmp_path))
    model = tmp_path / "model.npz"
    whole = model.read_bytes()
    for left in (whole[:-1], None):
        model.unlink()
        if left is not None:
            model.write_bytes(left)
        with pytest.raises(
            ValueError, match=r"model.npz .*; put it back, or delete .*summary.json"
        ):
            run(Settings(epochs=1), str(tmp_path))
    (tmp_path / "summary.json").unlink()
    run(Settings(epochs=1), str(tmp_path))
    assert model.read_bytes() == whole


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path):
    resumption.broken_and_resumed(tmp_path, toy_experiment, Settings())


def test_updates_are_profiled_in_every_phase(tmp_path):
    run(Settings(epochs=1, profile_updates=2), str(tmp_path))
    assert len(list((tmp_path / "profile/rbm/plugins/profile").glob("*/*.xplane.pb"))) == 1
    run(Settings(epochs=1), str(tmp_path))  # it may change
    with pytest.raises(ValueError, match=r"^rbm has 14 updates to make, .* of 1,000 "):
        run(Settings(epochs=1, profile_updates=1000), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="expected a whole number of at least 0 and at most 1,000"):
        Settings(profile_updates=1001)


def _count_programs(path):
    """Has this process, a user's, note of each program whether it was compiled or found."""
    jax.config.update("jax_compilation_cache_dir", None)  # that of the tests
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)

    def note(event, **_):
        if event.startswith("/jax/compilation_cache/cache_"):
            with path.open("a") as file:
                file.write(event.removeprefix("/jax/compilation_cache/cache_") + "\n")

    jax.monitoring.register_event_listener(note)


def test_a_second_start_finds_its_programs(tmp_path, bucket):
    """Here in a bucket; on a disk the tests keep their own."""
    counts, cache = [], f"--compilation_cache={bucket}/cache"
    for start in ("first", "second"):
        path, flags = tmp_path / f"{start}.txt", [f"--workdir={tmp_path / start}", "--epochs=1"]
        process = binaries.start(
            TOY, cache, *flags, prepare=functools.partial(_count_programs, path)
        )
        process.join()
        assert process.exitcode == 0
        counts.append(collections.Counter(path.read_text().split()))
    first, second = counts
    assert first["misses"] > 20
    assert second == {"hits": first.total()}
    flags = (tmp_path / "second/flags.txt").read_text()
    assert "compilation_cache" not in flags  # no setting of the result


def test_a_cache_that_cannot_be_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    done = binaries.run(TOY, f"--workdir={tmp_path}/run", f"--compilation_cache={tmp_path}/file")
    assert (
        f"cannot keep compiled programs in {tmp_path}/file: File exists; move the file away that "
        "has a folder's name\n"
    ) in done.stderr
    assert not (tmp_path / "run").exists()


def test_learning_takes_a_precision_and_results_say_which(tmp_path, undrawn):
    def weights(name, setting, run=run):
        """Of the toy, learnt in a folder of this name; and the precision that it says."""
        summary = run(Settings(precision=setting), str(tmp_path / name))
        model = model_file.load(tmp_path / name / "model.npz")
        return np.asarray(model.weights), summary["learning_precision"]

    exact, said = weights("exact", "default")
    assert said == "float32"
    with rounded_products.rounded():
        learnt, said = weights("full", "float32")
        assert said == "float32"
        np.testing.assert_array_equal(learnt, exact)
        learnt, said = weights("rounded", "bfloat16")
        assert said == "bfloat16"
        assert np.abs(learnt - exact).max() > 1e-5
        # A command as a whole is full, but for its learning.
        default, said = weights("default", "default", precision.full(run))
        assert said == "bfloat16"
        np.testing.assert_array_equal(default, learnt)


def test_a_precision_that_the_device_does_not_have_is_refused(tmp_path):
    message = (
        "--precision=bfloat16, but on this device (cpu) factors are float32; leave the flag out, "
        "or choose float32"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run(Settings(precision="bfloat16"), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_a_command_tells_is_computed_in_full(monkeypatch):
    found = []

    def command(settings, workdir):
        found.append((settings, workdir, jax.config.jax_default_matmul_precision))

    def call(command, *declared, **options):
        command(runs.Folder(workdir="here"), "settings")

    monkeypatch.setattr(runs.command_line, "main", call)
    monkeypatch.setattr(runs.parallel, "start", lambda: None)
    runs.main(command, Settings)
    assert found == [("settings", "here", "highest")]


def test_failures_end_in_a_sentence(tmp_path):
    done = binaries.run(TOY, f"--workdir={tmp_path}", "--dataset=mnits")
    assert done.returncode == 1
    assert done.stderr.startswith("no data set is called 'mnits'")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_keys_of_a_run_are_those_of_no_update_and_no_start():
    def words(keys):
        return set(map(tuple, np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()))

    key, start = runs.Run(Settings(seed=3), None).key, training.spare_key(3)
    updates = jax.vmap(lambda t: jax.random.fold_in(jax.random.key(3), t))(np.arange(1000))
    others = words(updates) | words(start) | words(jax.random.split(start, 1000))
    assert not others & (words(key) | words(jax.random.split(key, 10)))
