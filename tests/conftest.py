"""Strict settings for every test: shapes and types checked, nothing promoted or warned silently."""

import gc
import os
import signal

# Set before jax starts. Eight virtual devices, so that sharding is tested on any machine; and quick
# compilation, which is what the tests spend their time on: small programs take half as long to
# compile by XLA's older emitters, and lowering is quicker if it notes no lines of the source.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: its threads only wait

import jax
import jaxtyping
import pytest

from tests import buckets

# Every function of the package runs with its shape annotations checked.
jaxtyping.install_import_hook("dbn_jax", "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Keeps compiled programs in pytest's cache: the next run takes two thirds of the time.

    They are found by what they compute, so that changed code never meets an old one;
    `pytest --cache-clear` empties it. Binaries and notebooks, processes of their own, share it.
    """
    if hasattr(config, "cache"):
        folder = str(config.cache.mkdir("programs"))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_sessionstart():
    """Tests interrupt themselves, and a script's background processes ignore that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """The longest first, so that all workers end at about the same time."""
    long = {"test_notebooks.py", "test_train_autoencoder.py", "test_train_patches.py"}
    long |= {"test_why_it_works.py", "test_train_dbn.py", "test_train_rbm.py", "test_hosts.py"}
    long |= {"test_kill.py", "test_docs.py", "test_page_in_browser.py"}
    items.sort(key=lambda item: item.path.name not in long)


def pytest_collection_finish():
    """What the imports made stays: the garbage collector need not look through it for ever."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)


def pytest_runtest_teardown(item, nextitem):
    """Programs go with the last test of their file: else they fill 5 GB, freed only at the end."""
    if nextitem is not None and nextitem.path != item.path:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked_annotations():
    """As in a user's program, where this package's own messages must come."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def implicit_promotion():
    """Optax's schedules mix counts and rates."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def _emulator():
    with buckets.emulated() as variables:
        yield variables


@pytest.fixture
def bucket(_emulator, monkeypatch, tmp_path):
    """A path in an emulated bucket, where nothing is yet."""
    for name, value in _emulator.items():
        monkeypatch.setenv(name, value)
    from dbn_jax import files  # after the import hook

    return files.path(f"gs://{buckets.NAME}{tmp_path}")


@pytest.fixture
def undrawn(monkeypatch):
    """For runs whose numbers are tested: pictures are laid out, but not drawn into their files."""
    monkeypatch.setattr("dbn_jax.figures.files.png", lambda figure, scale: b"")
