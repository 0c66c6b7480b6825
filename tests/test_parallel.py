"""Meshes of devices: who shares what; several processes are in tests/experiments/test_hosts.py."""

import jax
import numpy as np
import pytest

from dbn_jax import data, parallel


def test_devices_share_members_first_and_then_rows():
    def shares(count, members):
        with parallel.devices(count, members=members):
            mesh = parallel.mesh_of(())
            return mesh and dict(mesh.shape)

    assert shares(1, 4) is None  # one device needs no mesh
    assert shares(8, 1) == {"members": 1, "rows": 8}
    assert shares(None, 4) == {"members": 4, "rows": 2}
    assert shares(8, 6) == {"members": 2, "rows": 4}
    assert shares(2, 8) == {"members": 2, "rows": 1}
    assert parallel.num_devices() == 1


def test_more_devices_than_there_are():
    words = r"^9 devices are asked for, but JAX finds 8 here: ask for fewer$"
    with pytest.raises(ValueError, match=words), parallel.devices(9):
        pass


def test_devices_share_blocks_of_rows_evenly_or_not():
    """The results are those of one device, in their order, for numbers of rows that 8 divides."""
    lengths = []

    @jax.jit
    def double(key, rows):
        jax.debug.inspect_array_sharding(
            rows, callback=lambda where: lengths.append(where.shard_shape(rows.shape)[0])
        )
        return 2 * rows + jax.random.uniform(key, rows.shape)

    rows = np.arange(1103 * 2, dtype=np.float32).reshape(1103, 2)
    expected = data.in_blocks(double, jax.random.key(0), rows)
    lengths.clear()
    with parallel.devices(8):
        found = data.in_blocks(double, jax.random.key(0), rows)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == rows.shape
    assert sorted(lengths) == [13, 125]  # of 104 and of 1000 rows


def test_a_cluster_that_cannot_be_joined(monkeypatch):
    def initialize(**given):
        raise RuntimeError("Kubernetes API Error: 403 - Forbidden\nread this")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    words = (
        r"^cannot join the other processes of a cluster \(Kubernetes API Error: 403 - Forbidden\); "
        "JAX_NUM_PROCESSES=1 runs this one alone$"
    )
    with pytest.raises(OSError, match=words):
        parallel.start()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    parallel.start()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "^JAX_NUM_PROCESSES=two; it must be a whole number$"),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            r"^coordinator_address should be defined\. Set all of JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES, JAX_PROCESS_ID, or none$",
        ),
    ],
)
def test_variables_that_do_not_tell_of_a_cluster(monkeypatch, variables, words):
    def initialize(**given):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        parallel.start()
