"""How a check says what is wrong."""

from typing import Any, NoReturn

import jax
import numpy as np

Numbers = float | np.generic | np.ndarray | jax.Array
_SHOWN = 8


def fail(under_test: Any, method: str, sentence: str) -> NoReturn:
    """Raises AssertionError: ``MyUnits.method: sentence``."""
    raise AssertionError(f"{type(under_test).__name__}.{method}: {sentence}")


def number(x: Numbers, digits: int = 4) -> str:
    """A number, or a row of numbers in brackets."""
    row = np.ravel(x)
    texts = [
        f"{each + 0.0:,.0f}" if abs(each) < 1e7 and each == round(each) else f"{each:,.{digits}g}"
        for each in row[:_SHOWN].tolist()
    ]
    if np.ndim(x) == 0:
        return texts[0]
    return f"({', '.join(texts + ['…'] * (len(row) > _SHOWN))})"


def apart(found: Numbers, expected: Numbers) -> tuple[str, str]:
    """Both as text, with so many digits that they differ."""
    digits = 4
    while number(found, digits) == number(expected, digits) and digits < 17:
        digits += 1
    return number(found, digits), number(expected, digits)


def worst(found: Numbers, expected: Numbers, tolerance: Numbers = 1e-6) -> tuple[int, ...] | None:
    """Where an array is farthest from what is expected; None if it is near everywhere.

    The tolerance is relative to the expected numbers, and to 1.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    gap = np.abs(found - expected) / (tolerance * (1 + np.abs(expected)))
    gap = np.where(np.isnan(gap), np.inf, gap)  # NaN is far from any number
    if gap.size == 0 or gap.max() <= 1:
        return None
    return tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
