"""Memory of this process and machine; imports nothing but the standard library."""

import math
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def peak_rss() -> int | None:
    """Largest resident memory of this process so far, in bytes; None if unknown."""
    # Where there is VmHWM: it starts anew at exec, while ru_maxrss keeps a larger parent's peak.
    status = _STATUS.read_text() if _STATUS.exists() else ""
    if told := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
        return int(told[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def check(needed: int, what: str, remedy: str) -> None:
    """Raises a ValueError if something takes so many bytes, and this machine has fewer."""
    if needed > (there := physical() or needed):
        raise ValueError(
            f"{what} takes at least {needed / 1e9:,.0f} GB, and this machine has "
            f"{there / 1e9:,.0f} GB; {remedy}"
        )


def of(arrays: Iterable[Any]) -> int:
    """Bytes of arrays, or of what has their shapes and types."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)


def physical() -> int | None:
    """Memory of this machine, in bytes; None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows, or a system that does not tell
        return None
