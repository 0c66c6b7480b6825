"""How commands end."""

import pytest
from absl import logging

from experiments.common import exits


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("--size=3: too small"), "--size=3: too small"),
        (OSError(28, "No space left"), "[Errno 28] No space left"),
        (MemoryError("cannot allocate 3 TiB"), "out of memory: make the layers, the batch or the "
         "number of chains or images smaller (cannot allocate 3 TiB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore"), "out of "
         "memory: make the layers, the batch or the number of chains or images smaller "
         "(RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.)"),
        (RuntimeError("INTERNAL: Error: Out of memory allocating 8 bytes."), "out of memory: make "
         "the layers, the batch or the number of chains or images smaller (INTERNAL: Error: Out of "
         "memory allocating 8 bytes.)"),
    ],
)  # fmt: skip
def test_what_users_can_mend_ends_in_a_sentence(error, words):
    with pytest.raises(SystemExit, match="shows where") as end, exits.sentences():
        raise error
    assert end.value.code == f"{words}\n(--verbosity=1 shows where)"


@pytest.mark.parametrize("error", [RuntimeError("a fault"), AssertionError("a fault")])
def test_faults_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error), match=r"^a fault$"), exits.sentences():
        raise error


def test_verbosity_shows_where(monkeypatch):
    monkeypatch.setattr(logging, "get_verbosity", lambda: logging.DEBUG)
    with pytest.raises(MemoryError), exits.sentences():
        raise MemoryError
