"""The page's engine, run by Node on jobs that tests name."""

import json
import pathlib
import shutil
import subprocess

import pytest

WEB = pathlib.Path("experiments/web").absolute()
MODEL = "experiments/results/digit_model/model.npz"
_ENGINE = pathlib.Path(__file__).parent / "page_engine.mjs"


def run(folder, *jobs, modules=WEB, model=MODEL):
    """Answers to jobs, a dict each whose "way" is one of those in page_engine.mjs."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: apt-get install nodejs")
    path = folder / "jobs.json"
    path.write_text(json.dumps({"model": model, "jobs": jobs}))
    command = ["node", str(_ENGINE), str(modules), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
