"""How commands end: with one sentence for errors that users can mend, by the signal if one came."""

import contextlib
import logging as stdlib_logging
import signal
import sys
from collections.abc import Iterator

from absl import app, logging

from dbn_jax import training


@contextlib.contextmanager
def sentences(argv: list[str], *, stopped: str = "stopped by Ctrl-C") -> Iterator[None]:
    """A context in which errors that users can mend end the program with one sentence.

    `argv` is what absl has left of the command line; `stopped` is printed at a Ctrl-C.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    # JAX tells at this level which accelerators it did not find.
    stdlib_logging.getLogger("jax").setLevel(stdlib_logging.WARNING)
    try:
        with _unraised_ctrl_c(stopped):
            yield
    except training.Interrupted as e:
        _die_of(e.signal, str(e))
    except KeyboardInterrupt:  # outside the loop of updates, or a second time
        _die_of(signal.SIGINT, stopped)
    except (ValueError, OSError, ImportError, training.Diverged) as e:
        if logging.get_verbosity() >= logging.DEBUG:
            raise
        message = f"{type(e).__name__}: {e}"
        if isinstance(e, training.Diverged):
            message += "\nOther settings need another --workdir: this one keeps its own"
        sys.exit(f"{message}\n(--verbosity=1 shows where)")


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
