import threading

import jax
import numpy as np
import pytest

from dbn_jax.training import batches

KEY = jax.random.key(1)


def gathered(source, first, last, batch_size):
    """Gathers what updates first … last − 1 would see."""
    seen = []
    for t in range(first, last):
        window = source.window(t)
        rows = window.order[window.position * batch_size : (window.position + 1) * batch_size]
        assert window.remaining >= 1
        seen.append(jax.tree.map(lambda x, rows=rows: np.asarray(x[rows]), window.data))
    source.close()
    return seen


def data():
    rng = np.random.default_rng(0)
    return {"image": rng.integers(0, 256, (23, 3)).astype(np.uint8), "label": np.arange(23)}


@pytest.mark.parametrize("window_bytes", [1, 100, 10**6])
@pytest.mark.parametrize("first", [0, 2, 7])
def test_streams_the_resident_batches(window_bytes, first):
    """From any update on, in windows of one batch, of two, and of an epoch."""
    host = {**data(), "label": np.arange(23, dtype=np.int32)}
    resident = batches.Resident(host, KEY, 5)
    streamed = batches.Streamed(host, KEY, 5, num_epochs=3, window_bytes=window_bytes)
    for one, other in zip(
        gathered(resident, first, 12, 5), gathered(streamed, first, 12, 5), strict=True
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)
        np.testing.assert_array_equal(one["image"], host["image"][one["label"]])


def test_gathers_ahead_in_a_thread(monkeypatch):
    """The next window is ready before it is asked for, across the end of an epoch too."""
    host = {"x": np.arange(20, dtype=np.int32)}
    gathered, threads = [], set()
    original = batches.Streamed._gather

    def gather(self, epoch, number):
        result = original(self, epoch, number)
        threads.add(threading.current_thread())
        gathered.append((epoch, number))
        return result

    monkeypatch.setattr(batches.Streamed, "_gather", gather)
    source = batches.Streamed(host, KEY, 5, num_epochs=2, window_bytes=40)
    source.window(2)
    source.close()
    assert gathered in ([(0, 1)], [(0, 1), (1, 0)])
    assert threading.current_thread() not in threads

    gathered.clear()
    source = batches.Streamed(host, KEY, 5, num_epochs=2, window_bytes=40)
    for t in range(8):
        source.window(t)
    source.close()
    assert gathered == [(0, 0), (0, 1), (1, 0), (1, 1)]  # each once, none beyond the last epoch


def test_choice():
    host = {"x": np.zeros((100, 10), np.float32)}  # 4000 bytes

    def kind(data, stream, limit):
        source = batches.open_source(
            data, KEY, batch_size=10, num_epochs=1, stream=stream, max_resident_bytes=limit
        )
        source.close()
        return type(source)

    assert kind(host, None, 4000) is batches.Resident
    assert kind(host, None, 3999) is batches.Streamed
    assert kind(host, False, 10) is batches.Resident
    assert kind(host, True, 4000) is batches.Streamed
    assert kind(jax.device_put(host), None, 10) is batches.Resident  # it lies there already


def test_device_data_are_not_copied():
    on_device = jax.numpy.arange(20)
    window = batches.Resident(on_device, KEY, 5).window(0)
    assert window.data is on_device


@pytest.mark.parametrize("bad", [{}, {"a": np.zeros(3), "b": np.float32(1)}])
def test_no_common_axis(bad):
    with pytest.raises(ValueError, match=r"no array|common leading axis"):
        batches.num_examples(bad)
