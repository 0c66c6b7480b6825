"""How commands end: with one sentence for errors that users can mend, by the signal if one came."""

import contextlib
import logging as stdlib_logging
import signal
import sys
import traceback
from collections.abc import Iterator

import jax
from absl import logging

from dbn_jax import parallel, training

STOPPED = "stopped by Ctrl-C"
# What JAX's runtime says when the connection to another process has broken.
_LOST = ("Gloo", "Connection closed by peer", "coordination service")


@contextlib.contextmanager
def sentences(*, stopped: str = STOPPED) -> Iterator[None]:
    """A context in which errors that users can mend end the program with one sentence.

    `stopped` is printed at a Ctrl-C.
    """
    # The package makes Ctrl-C end imports without a word.
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # JAX tells at this level which accelerators it did not find.
    stdlib_logging.getLogger("jax").setLevel(stdlib_logging.WARNING)
    try:
        with _unraised_ctrl_c(stopped):
            yield
    except training.Interrupted as e:
        parallel.stop()  # it stops all of them
        _die_of(e.signal, str(e))
    except KeyboardInterrupt:  # outside the loop of updates, or a second time
        _die_of(signal.SIGINT, stopped)
    except (ValueError, OSError, ImportError, training.Diverged) as e:
        if logging.get_verbosity() >= logging.DEBUG:
            raise
        message = str(e) or type(e).__name__
        if isinstance(e, training.Diverged):
            message += "\nOther settings need another --workdir: this one keeps its own"
        sys.exit(f"{message}\n(--verbosity=1 shows where)")
    except (MemoryError, RuntimeError, AssertionError) as e:
        remedy = _remedy(e)
        if remedy is None or logging.get_verbosity() >= logging.DEBUG:
            raise
        words = str(e).partition("\n")[0] or type(e).__name__
        sys.exit(f"{remedy} ({words})\n(--verbosity=1 shows where)")


@contextlib.contextmanager
def waiting_for_nobody() -> Iterator[None]:
    """A context whose failure ends this process at once, if it is one of several."""
    try:
        yield
    except BaseException as e:
        if not jax.distributed.is_initialized():
            raise
        if isinstance(e, SystemExit):
            print(e, file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        parallel.leave(1)


def _remedy(error: Exception) -> str | None:
    """What users can do about an error that the machine is the cause of; None for any other."""
    words = ("RESOURCE_EXHAUSTED", "Out of memory")  # XLA says the one, the other, or both
    if isinstance(error, MemoryError) or any(word in str(error) for word in words):
        return "out of memory: make the layers, the batch or the number of chains or images smaller"
    if any(word in str(error) for word in _LOST):
        return (
            "another process of this run has ended, whose own output says why: start all of them "
            "again, and the same command goes on from its last checkpoint"
        )
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # the latter for a GPU that is not there
        return (
            f"JAX_PLATFORMS={jax.config.jax_platforms}: JAX finds no such device on this machine; "
            "leave the variable unset to take what there is, or set it to cpu"
        )
    return None


@contextlib.contextmanager
def _unraised_ctrl_c(stopped: str) -> Iterator[None]:
    """A context in which a Ctrl-C also ends the program where Python only prints the exception.

    Python does so in callbacks, such as JAX's callback of the garbage collector: while programs are
    traced and compiled, one Ctrl-C in six fell there.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _die_of(signal.SIGINT, stopped)
        before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _die_of(number: int, message: str) -> None:
    """Ends the program by the signal, so that a shell's loop over commands stops as well.

    The interpreter is not shut down: a Ctrl-C can leave a compilation running in a thread of XLA,
    which would crash when shutting down destroys its backend.
    """
    signal.signal(number, signal.SIG_DFL)
    for write in (sys.stdout.flush, lambda: print(message, file=sys.stderr, flush=True)):
        # Whoever read them may be stopped too; or this is in the middle of a print.
        with contextlib.suppress(OSError, RuntimeError):
            write()
    signal.raise_signal(number)
