"""What can be drawn: arrays that are not are ValueErrors that say which and why."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized

import numpy as np

from dbn_jax.typing import AnyArray, Num, Real


def check_count(name: str, value: int) -> int:
    """Returns the value, which must be at least 1."""
    if value < 1:
        raise ValueError(f"{name}={value}: must be at least 1")
    return value


def check_labels(name: str, labels: Sized | None, count: int, what: str) -> None:
    """Refuses labels of another number than the things they label."""
    if labels is not None and len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} entries for {count} {what}")


def check_equal_lengths(named: Mapping[str, Sized], what: str, things: str) -> int:
    """Returns how many things each has, of which at least one is named."""
    if not named:
        raise ValueError(f"{what} is empty: give at least one name with its {things}")
    counts = {name: len(inside) for name, inside in named.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the {what} have different numbers of {things}: {counts}")
    return max(counts.values())


def check_known(what: str, given: Iterable[str], known: Iterable[str], things: str) -> None:
    """Refuses what is given for a name that nothing has."""
    if unknown := set(given) - set(known):
        raise ValueError(f"{what} for {sorted(unknown)}, but the {things} are {list(known)}")


def check_filled(panels: Mapping[str, Sized], what: str) -> None:
    """Refuses a page without panels, and panels without anything to draw."""
    empty = [panel for panel, inside in panels.items() if not len(inside)]
    if not panels or empty:
        found = f"no {what} in panels {empty}" if empty else "no panel"
        raise ValueError(f"nothing to draw: {found}")


def finite_values(values: Num[AnyArray, "..."], what: str) -> Num[np.ndarray, "..."]:
    """Returns the values in float64, or says which are missing or not finite."""
    values = np.asarray(values).astype(np.float64)
    if values.size == 0:
        raise ValueError(f"{what}: empty, of shape {values.shape}: nothing to draw")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{what}: {bad.sum()} of {values.size} values are NaN or infinite, the first at "
            f"{np.argwhere(bad)[0].tolist()}"
        )
    return values


def as_images(
    values: Num[AnyArray, "images ..."], image_shape: Sequence[int], what: str
) -> Num[np.ndarray, "images ..."]:
    """Returns (N, *image_shape) in float64, or says what does not fit."""
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or min(shape) < 1:
        raise ValueError(f"image_shape={shape}: expected (rows, columns) or (rows, columns, 3)")
    if values.shape[1:] not in ((math.prod(shape),), shape):
        raise ValueError(
            f"{what} of shape {values.shape} do not fit image_shape={shape}: expected "
            f"(N, {math.prod(shape)}) or (N, {', '.join(map(str, shape))})"
        )
    return finite_values(values, what).reshape(len(values), *shape)


def grey_levels(
    values: Num[AnyArray, "images ..."],
    image_shape: Sequence[int],
    value_range: tuple[Real, Real],
    what: str,
) -> Num[np.ndarray, "images ..."]:
    """Returns grey levels 0 to 255 in the shape of the images."""
    low, high = value_range
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"value_range={value_range}: expected (low, high) with low < high")
    images = as_images(values, image_shape, what)
    slack = 1e-4 * (high - low)  # rounding of float32, far below one grey level
    outside = (images < low - slack) | (images > high + slack)
    if outside.any():
        raise ValueError(
            f"{what}: {outside.sum()} of {images.size} values lie outside {low:g} to {high:g} "
            f"(smallest {images.min():g}, largest {images.max():g}): clip them, or pass "
            "value_range=(low, high), the values to show as black and as white"
        )
    levels = (images.clip(low, high) - low) / (high - low)
    return np.round(255 * levels).astype(np.uint8)
