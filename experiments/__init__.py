"""Experiment binaries: ``python -m experiments.NAME --workdir=…``."""

import signal
import sys

# While `python -m` imports a command, Ctrl-C ends it as it ends any program, without a traceback;
# `common.exits` takes over then.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
