"""What is peculiar to EMNIST: variants, classes with names, and images that lie on their side.

Its six data sets are called emnist/balanced, byclass, bymerge, letters, digits and mnist. Their
images are published with rows and columns exchanged, and the letters numbered from 1 (Cohen,
Afshar, Tapson, van Schaik, "EMNIST: an extension of MNIST to handwritten letters", 2017).
"""

import string

import numpy as np

_DIGITS, _UPPER = string.digits, string.ascii_uppercase
_MERGED = _DIGITS + _UPPER + "abdefghnqrt"  # the other small letters look like the large ones
_CLASSES = {
    "emnist/balanced": _MERGED,
    "emnist/bymerge": _MERGED,
    "emnist/byclass": _DIGITS + _UPPER + string.ascii_lowercase,
    "emnist/letters": _UPPER,
    "emnist/digits": _DIGITS,
    "emnist/mnist": _DIGITS,
}
NAMES = tuple(_CLASSES)


def file_prefix(name: str) -> str:
    """What the names of a variant's IDX files begin with; nothing for other data sets."""
    return f"{name.replace('/', '-')}-" if name in _CLASSES else ""


def upright(
    name: str, parts: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Images that stand upright, with labels from 0; and the names of the classes."""
    first = int(name == "emnist/letters")
    turned = {part: (x.swapaxes(1, 2), labels - first) for part, (x, labels) in parts.items()}
    return turned, list(_CLASSES[name])
