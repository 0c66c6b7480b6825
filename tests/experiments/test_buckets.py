"""Runs whose data, workdir and model lie in a bucket end like those on this machine's disks."""

import json
import signal
import time

import numpy as np

from dbn_jax import files, training
from experiments import publish
from tests import binaries, buckets
from tests.data import test_idx


def test_a_run_in_a_bucket_is_killed_resumed_and_evaluated(bucket, tmp_path):
    test_idx.write(tmp_path, test_idx.ARRAYS)
    buckets.upload(tmp_path, bucket / "data")
    learning = ("--num_hidden=6", "--batch_size=4", "--epochs=20")

    def train(place):
        return "experiments.train_rbm", "--dataset=strokes", *learning, *place

    in_bucket = train((f"--data_dir={bucket / 'data'}", f"--workdir={bucket / 'run'}"))
    process = binaries.start(*in_bucket, "--checkpoint_seconds=0")
    deadline = time.monotonic() + 120
    while not any((bucket / "run/checkpoints/rbm").glob("*/commit_success.txt")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (bucket / "run/model.npz").exists()
    changed = binaries.run(*in_bucket, "--seed=1")
    assert changed.returncode == 1
    assert "holds a run with other settings:\n  --seed: was 0, now 1\n" in changed.stderr

    for place in (in_bucket, train((f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}"))):
        done = binaries.run(*place)
        assert done.returncode == 0, done.stderr
        assert "done in " in done.stdout
    assert (bucket / "run/model.npz").read_bytes() == (tmp_path / "run/model.npz").read_bytes()
    ours, theirs = (
        training.read_metrics(place / "metrics_rbm.csv")
        for place in (bucket / "run", tmp_path / "run")
    )
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"seconds", "images_per_second"}:
        np.testing.assert_array_equal(ours[name], theirs[name])
    names = {
        place: {str(file.relative_to(place)) for file in place.glob("*")}
        | {str(file.relative_to(place)) for file in place.glob("figures/*")}
        for place in (bucket / "run", tmp_path / "run")
    }
    assert names[bucket / "run"] == names[tmp_path / "run"] - {".lock"}
    assert {"flags.txt", "summary.json", "figures/features.png"} < names[bucket / "run"]
    again = binaries.run(*in_bucket)
    assert again.stdout.endswith(f"done already: see {bucket / 'run'}\n"), again.stderr
    longer = binaries.run(*in_bucket, "--epochs=21")
    assert "done in " in longer.stdout, longer.stderr
    summary = json.loads(files.read_text(bucket / "run/summary.json"))
    assert summary["settings"]["learning"]["epochs"] == 21
    assert "rbm, epoch 21 of 21" in longer.stderr

    flags = ("--split=test", "--ais_steps=20", "--ais_chains=10")
    done = binaries.run(
        "experiments.evaluate",
        f"--workdir={bucket / 'evaluated'}",
        f"--pretrained={bucket / 'run'}",
        *flags,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(files.read_text(bucket / "evaluated/summary.json"))
    assert np.isfinite(summary["results"]["log_likelihood"])
    publish.publish(str(bucket / "run"), tmp_path / "published")
    assert (tmp_path / "published/model.npz").exists()


def test_a_bucket_that_is_not_there_is_said_before_any_work(bucket):
    commands = (
        ("train_rbm", "--workdir=gs://elsewhere/x", "--dataset=digits"),
        ("train_rbm", f"--workdir={bucket}", "--dataset=mnist", "--data_dir=gs://elsewhere/x"),
        ("evaluate", f"--workdir={bucket}", "--pretrained=gs://elsewhere/x"),
    )
    for command, *flags in commands:
        done = binaries.run(f"experiments.{command}", *flags)
        assert done.returncode == 1
        assert done.stderr == (
            "cannot use gs://elsewhere: there is no such bucket; name another, or make it: gcloud "
            "storage buckets create gs://elsewhere\n(--verbosity=1 shows where)\n"
        )
