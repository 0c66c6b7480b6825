"""Data read from files: the bits of data in memory, in a memory that does not hold them."""

import dataclasses
import re
import subprocess
import sys
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax import training
from dbn_jax.training import batches, streaming
from tests import toy_learning

KEY = jax.random.key(1)
SETTINGS = training.Settings(
    seed=5, batch_size=10, num_epochs=7, chunk_seconds=0.01, show_progress=False
)
IMAGES = toy_learning.images()
LABELS = np.arange(len(IMAGES), dtype=np.int64) % 10


@dataclasses.dataclass(frozen=True)
class Records:
    """A data source that counts its reads, and whose rows are what a function makes of a number."""

    row: object
    reads: list = dataclasses.field(default_factory=list)

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, number):
        self.reads.append(number)
        return self.row(number)


class Together(Records):
    """One that can read many rows in a call."""

    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


def mapped(folder, array, name="rows"):
    """The array in a file, not in memory."""
    path = folder / f"{name}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.fixture(params=["six batches a window", "one"])
def window(request, monkeypatch):
    """Windows of 6 of the epoch's 10 batches, in 3 parts, lie across the ends of epochs."""
    size = {"six batches a window": 8 * 120, "one": 1}[request.param]
    monkeypatch.setattr(streaming, "_WINDOW_BYTES", size)
    monkeypatch.setattr(streaming, "_NUM_THREADS", 3)


CASES = {
    "memmap": (lambda folder: mapped(folder, IMAGES), IMAGES),
    "big-endian": (lambda folder: mapped(folder, IMAGES.astype(">i2")), IMAGES.astype(np.int16)),
    "memmap and labels": (
        lambda folder: {"images": mapped(folder, IMAGES), "labels": LABELS},
        {"images": IMAGES, "labels": LABELS},
    ),
    "source": (lambda folder: Records(lambda i: IMAGES[i]), IMAGES),
    "source of dicts": (
        lambda folder: Together(lambda i: {"images": IMAGES[i], "labels": int(LABELS[i])}),
        {"images": IMAGES, "labels": LABELS},
    ),
    "Grain": (
        lambda folder: grain.MapDataset.source(IMAGES).map(lambda x: (x, x[:1])),
        (IMAGES, IMAGES[:, :1]),
    ),
}


def scale(key, batch):
    leaves = jax.tree.leaves(batch)
    rows = leaves[0].astype(jnp.uint8)
    for labels in leaves[1:]:
        rows = rows ^ labels.reshape(-1, 1).astype(jnp.uint8)
    return toy_learning.scale(key, rows)


def train(data, **options):
    return training.train(
        toy_learning.cd_step,
        toy_learning.initial_state(),
        data,
        transform=scale,
        **{"settings": SETTINGS, **options},
    )


def same(a, b):
    assert toy_learning.state_bytes(a) == toy_learning.state_bytes(b)


@pytest.mark.parametrize("case", CASES)
def test_read_or_in_memory_the_bits_are_the_same(tmp_path, case, window):
    make, in_memory = CASES[case]
    paths = [tmp_path / "read.csv", tmp_path / "resident.csv"]
    states = [
        train(data, metrics_path=path)
        for data, path in zip((make(tmp_path), in_memory), paths, strict=True)
    ]
    same(*states)
    tables = [training.read_metrics(path) for path in paths]
    for name in ("step", "error", "on"):
        np.testing.assert_array_equal(*(table[name] for table in tables))


def test_a_run_goes_on_to_the_same_bits(tmp_path, window):
    """From checkpoints within a window; with other data it does not."""
    data = mapped(tmp_path, IMAGES)

    def stop(epoch, step, state):
        if epoch == 4:
            raise KeyboardInterrupt

    def go_on(data, **options):
        with training.Checkpoints(tmp_path / "saved") as saved:
            settings = dataclasses.replace(SETTINGS, checkpoint_seconds=0.0, chunk_seconds=0.0)
            return train(data, settings=settings, checkpoints=saved, **options)

    with pytest.raises(KeyboardInterrupt):
        go_on(data, callback=stop)
    other = IMAGES.copy()
    other[:, 0] ^= 1
    with pytest.raises(ValueError, match="was made with other training data; put back"):
        go_on(mapped(tmp_path, other, "other"))
    with pytest.raises(ValueError, match=re.escape("num_examples 103 (now 102)")):
        go_on(mapped(tmp_path, IMAGES[:102], "fewer"))
    same(go_on(data), train(IMAGES))


def test_devices_share_a_batch_and_read_no_row_twice(window):
    """On the axis "rows"; the axis "members" has copies. A batch of 9 cannot be shared."""
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((2, 4), ("members", "rows"), axis_types=auto)
    for batch_size, spec, share in ((12, (None, "rows"), 3), (9, (), 9)):
        source = streaming.Streamed(
            Records(lambda i: IMAGES[i]), KEY, batch_size, None, mesh, num_epochs=2
        )
        resident = batches.Batches(IMAGES, KEY, batch_size, None)
        for update in range(2 * source.updates_per_epoch):
            data, order, position = source.at(update)
            assert data.sharding == NamedSharding(mesh, PartitionSpec(*spec))
            assert data.addressable_shards[0].data.shape[1] == share
            batch = batches.gather(data, order, position, batch_size)
            assert batch.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(*spec[1:])), 2)
            data, order, position = resident.at(update)
            expected = batches.gather(data, order, position, batch_size)
            np.testing.assert_array_equal(batch, expected)


def test_the_columns_of_a_host(monkeypatch):
    """Each of two hosts reads half of each batch, and never the other's rows."""

    class Sharding:
        def addressable_devices_indices_map(self, shape):
            assert shape == (1, 12)
            return {"a": (slice(None), slice(9, 12)), "b": (slice(None), slice(3, 6))}

    columns = streaming._columns(Sharding(), 12)
    np.testing.assert_array_equal(columns, [3, 4, 5, 9, 10, 11])
    records = Records(lambda i: IMAGES[i])
    order = np.random.default_rng(0).permutation(len(IMAGES))
    read = streaming._Reader(records, lambda epoch: order, 12, 8, 16, columns)
    part = read(2, 3)
    expected = order[36:60].reshape(2, 12)[:, columns]
    np.testing.assert_array_equal(part, IMAGES[expected])
    assert sorted(records.reads[1:]) == sorted(expected.ravel())


def test_reading_ahead_is_bounded_and_ends_with_the_run(monkeypatch):
    """Three windows are on their way at most: in use, on the device, and in Grain's threads."""
    monkeypatch.setattr(streaming, "_WINDOW_BYTES", 2 * 120)
    records = Records(lambda i: IMAGES[i])
    source = streaming.Streamed(records, KEY, 10, None, num_epochs=2)
    source.at(0)
    source.read_ahead()
    source.read_ahead()
    time.sleep(0.2)
    assert len(records.reads) == 2 + 3 * 2 * 10  # and row 0, for the shapes
    for update in range(20):
        source.at(update)
        source.read_ahead()
    assert len(records.reads) == 2 + 20 * 10


def row_17(good, bad):
    return lambda i: bad() if i == 17 else good


def fail():
    raise OSError("the disk is gone")


@pytest.mark.parametrize("kind", [Records, Together])
@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            np.zeros(12, np.uint8),
            fail,
            "row 17 of the data source cannot be read (OSError: the disk is gone): mend it, or "
            "leave it out",
        ),
        (
            {"x": np.zeros(12, np.uint8), "y": 1},
            lambda: {"x": np.zeros((4, 3), np.uint8), "y": 1},
            "row 17 of the data source holds uint8[4, 3] at ['x'], int64[] at ['y'], but row 0 "
            "uint8[12] at ['x'], int64[] at ['y']: make all rows alike, by "
            "grain.MapDataset.source(source).map(function)",
        ),
        (
            np.zeros(12, np.float32),
            lambda: np.zeros(12),
            "row 17 of the data source holds float64[12], but row 0 float32[12]: make all rows "
            "alike, by grain.MapDataset.source(source).map(function)",
        ),
        (
            np.zeros(12, np.float32),
            lambda: None,
            "row 17 of the data source holds nothing, but row 0 float32[12]: make all rows alike, "
            "by grain.MapDataset.source(source).map(function)",
        ),
        (
            {"x": np.zeros(12, np.float32)},
            lambda: {"x": np.float32([0] * 11 + [np.nan])},
            "data['x']: row 17 holds NaN or infinity; leave such rows out, or fill the gaps",
        ),
    ],
)
def test_a_bad_row_is_named_in_one_sentence(kind, good, bad, words):
    """Before it is learnt from, and wherever in the epoch it comes."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  Grain adds a note, which `match` sees
        train(kind(row_17(good, bad)))
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": b"seven", "x": 1}, "|S5[] at ['id'], int64[] at ['x']"),
        ("seven", "<U5[]"),
        (None, "nothing"),
    ],
)
def test_rows_are_numbers(row, words):
    words = (
        f"row 0 of the data source holds {words}; rows are arrays and numbers: convert what is "
        "none, or leave it out, by grain.MapDataset.source(source).map(function)"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        train(Records(lambda i: row))


MEMORY = """
import os, resource, sys
import jax, jax.numpy as jnp, numpy as np
from dbn_jax import training

def step(key, state, batch):
    return state + jnp.sum(batch.astype(jnp.float32)), {}

def train(data):
    settings = training.Settings(seed=0, batch_size=1000, num_epochs=1, show_progress=False)
    return training.train(step, jnp.float32(0), data, settings=settings)

path, rows = sys.argv[1], int(sys.argv[2])
train(np.zeros((4000, 1000), np.uint8))  # what JAX itself needs is there
held = int(next(line for line in open("/proc/self/status") if "VmData" in line).split()[1])
resource.setrlimit(resource.RLIMIT_DATA, (held * 1024 + (700 << 20),) * 2)
if sys.argv[3] == "read":
    print(float(train(np.load(path, mmap_mode="r"))))
else:
    try:
        train(np.load(path))
    except MemoryError:
        print("no memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_file_larger_than_the_memory_that_is_left(tmp_path):
    """1.2 GB, by a process that may have 0.7 more; `np.load` of all of it is refused there."""
    path, rows = tmp_path / "large.npy", 1_200_000
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, 1000))
    file[::1000, 0] = 1  # the rest is a hole of the file: no disk is needed
    file.flush()
    found = [
        subprocess.run(
            [sys.executable, "-c", MEMORY, path, str(rows), how],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        for how in ("read", "in memory")
    ]
    assert [x.stdout.strip() for x in found] == ["1200.0", "no memory"], found[0].stderr[-2000:]
