"""Events for TensorBoard: the rows of metrics.csv, as curves over the updates."""

import importlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from dbn_jax import files


class EventFile:
    """Appends rows to an event file; in a bucket, they may wait for two seconds or for `flush`."""

    def __init__(self, metrics_path: str | os.PathLike, phase: str, *, first_step: int = 0):
        """Begins a file; of the files before it, TensorBoard forgets this step and later ones.

        Args:
          metrics_path: of metrics.csv: the file lies in tensorboard/metrics beside it.
          phase: stands before the names of metrics.
          first_step: of what a run writes that goes on.
        """
        # Not with this module: tensorboardX imports torch and clients of clouds, if they are there.
        self._proto: Any = importlib.import_module("tensorboardX.proto.event_pb2")
        self._phase = phase
        table = files.absolute(metrics_path)
        # As everywhere, but that names are in the order of time, in which TensorBoard reads them.
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds}.{socket.gethostname()}.{rest:09d}"
        self._file = files.Growing(
            table.parent / "tensorboard" / table.stem / name,
            self._record(file_version="brain.Event:2")
            + self._record(step=first_step, session_log={"status": self._proto.SessionLog.START}),
        )

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Adds what a row of metrics.csv tells of its step."""
        values = [
            {"tag": f"{self._phase}/{name}", "simple_value": value}
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        self._file.append(self._record(step=row["step"], summary={"value": values}))

    def flush(self) -> None:
        """Writes the rows that wait."""
        self._file.flush()

    def _record(self, **fields: Any) -> bytes:
        """An event as it stands in the file: its length and itself, each before its checksum."""
        from tensorboardX.record_writer import masked_crc32c

        event = self._proto.Event(wall_time=time.time(), **fields).SerializeToString()
        parts = struct.pack("<Q", len(event)), event
        return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)
