"""`dbn_jax.rbm` as a library inside someone else's program."""

import importlib.metadata
import importlib.resources
import os
import re
import subprocess
import sys
import textwrap

import pytest

import dbn_jax

BARE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import jax, jax.numpy as jnp, optax
before = set(sys.modules)
import dbn_jax.rbm as rbm
ours = {{name.split(".")[0] for name in set(sys.modules) - before}}
optimizer = optax.sgd(0.1)
state = rbm.init_state(rbm.init_params(jax.random.key(0), 6, 4), optimizer)
state, metrics = rbm.cd_step(jax.random.key(1), state, jnp.zeros((5, 6)), optimizer=optimizer)
assert int(state.step) == 1
heavy = {heavy}
print("loaded:", sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
print("ours:", sorted(ours - set(sys.stdlib_module_names)))
"""
HEAVY = {"tensorflow", "tensorflow_datasets", "orbax", "flax", "matplotlib"}


def test_the_package_tells_its_version_and_that_it_is_typed():
    assert dbn_jax.__version__ == importlib.metadata.version("dbn_jax")
    assert not hasattr(dbn_jax, "version")
    assert importlib.resources.files(dbn_jax).joinpath("py.typed").is_file()


@pytest.mark.parametrize("blocked", [{"jaxtyping", "beartype"}, HEAVY | {"numba"}])
def test_import_needs_jax_and_optax_only(blocked):
    program = textwrap.dedent(BARE).format(blocked=blocked, heavy=HEAVY)
    environment = {
        name: value for name, value in os.environ.items() if not re.match("XLA|PYTEST", name)
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout
    allowed = r"ours: \['dbn_jax'(, 'jax')?(, 'jaxtyping')?(, 'numpy')?(, '\w*wadler\w*')?\]"
    assert re.search(allowed, done.stdout), done.stdout
