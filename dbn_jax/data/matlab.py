"""MATLAB files up to version 7, read by SciPy."""

from typing import Any

import numpy as np

from dbn_jax import files


def read(path: files.Path, variables: tuple[str, ...], origin: str) -> dict[str, Any]:
    """The named variables of a file; `origin` tells where the right file comes from."""
    import scipy.io

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {origin}")
    try:
        with path.open("rb") as file:
            found = [name for name, _, _ in scipy.io.whosmat(file)]
        with path.open("rb") as file:
            content = scipy.io.loadmat(file, variable_names=variables)
    except Exception as error:  # each damage has its own
        raise ValueError(
            f"{path} is damaged, or no MATLAB file of version 5 to 7 ({error}): {origin}"
        ) from error
    if missing := [name for name in variables if name not in content]:
        raise ValueError(
            f"{path} holds {', '.join(found) or 'nothing'}, but no {', '.join(missing)}: {origin}"
        )
    return {name: content[name] for name in variables}


def cells(path: files.Path, name: str, value: np.ndarray, origin: str) -> list[np.ndarray]:
    """The arrays of a cell array."""
    if value.dtype != object:
        raise ValueError(
            f"{path} holds {name} as an array of shape {value.shape}, but a cell array with one "
            f"array for each sequence is expected: {origin}"
        )
    return list(value.ravel())
