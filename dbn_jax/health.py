"""Plain words about what goes wrong in practice: data out of range, dead and saturated units.

Each function returns a list of sentences, empty when all is well; the caller decides where they go.
They look at concrete arrays, so call them outside compiled code.

Reference: Hinton's practical guide (2010), sections 5 to 8 and 15.
"""

import numpy as np

from dbn_jax import rbm, units
from dbn_jax.typing import Array, Float

# A unit whose mean stays within this share of its range over all examples says nothing of them.
_CONSTANT = 0.01
# Of data that were rescaled in single precision.
_ROUNDING = 1e-5
# A few idle units are normal, above all in wide layers.
_TOLERATED = 0.5


def check_data(visible: units.Units, data: Float[np.ndarray | Array, "examples V"]) -> list[str]:
    """Says whether data fit the visible units' type.

    Args:
      visible: the units, with or without parameters.
      data: (examples, V) as the learner will see them.

    Returns:
      Sentences, each naming the value and a remedy.
    """
    if isinstance(visible, units.Concat):
        shares = np.split(np.asarray(data), np.cumsum(visible.sizes)[:-1], axis=-1)
        parts = zip(visible.parts, shares, strict=True)
        return [warning for part, share in parts for warning in check_data(part, share)]
    data = np.asarray(data)
    if not data.size:
        return ["there is no example to look at"]
    name = type(visible).__name__
    warnings = []
    finite = np.isfinite(data).all(axis=-1)
    if not finite.all():
        bad = int((~finite).sum())
        warnings.append(
            f"{bad} of {len(data)} examples hold NaN or infinity; remove or impute them"
        )
        data = data[finite]  # of the others, nothing true can be said
        if not data.size:
            return warnings
    low, high = visible.support
    smallest, largest = float(data.min()), float(data.max())
    if smallest < low - _ROUNDING or largest > high + _ROUNDING:
        warnings.append(
            f"the data lie in [{smallest:.4g}, {largest:.4g}], but {name} units take values in "
            f"[{low:g}, {high:g}]; rescale the data, or choose another type of visible units"
        )
    if isinstance(visible, units.Softmax):
        sums = data.reshape(*data.shape[:-1], -1, visible.num_classes).sum(-1)
        if not np.allclose(sums, 1, atol=1e-3):
            warnings.append(
                f"the groups of {visible.num_classes} softmax units sum to between "
                f"{sums.min():.4g} and {sums.max():.4g}; each must sum to 1 (one-hot)"
            )
    if isinstance(visible, units.Gaussian) and data.shape[0] > 1:
        spread = data.std(axis=0)
        if not visible.learn_sigma:
            typical = float(np.median(spread))
            if not visible.sigma / 5 < typical < visible.sigma * 5:
                warnings.append(
                    f"the Gaussian units have a fixed sigma of {visible.sigma:g}, but the data's "
                    f"standard deviation is {typical:.4g} (median over units); standardise the "
                    "data, or learn sigma"
                )
        constant = int((spread < 1e-6).sum())
        if constant:
            warnings.append(
                f"{constant} of {spread.size} Gaussian visible units never vary in the data; "
                "leave them out: their likelihood has no maximum"
            )
    return warnings


def check_hidden(params: rbm.RBM, v: Float[Array, "examples V"]) -> list[str]:
    """Says whether most hidden units have stopped to tell the examples apart.

    Args:
      params: the RBM.
      v: (examples, V) a sample of the data, some hundreds.

    Returns:
      Sentences about dead units (always at their lowest) and saturated ones (at their highest).
    """
    means = np.asarray(rbm.hidden_mean(params, v))
    dead = saturated = 0
    start = 0
    for part in params.hidden.elements():
        low, high = part.support
        share = means[..., start : start + part.num_units].reshape(-1, part.num_units)
        start += part.num_units
        margin = _CONSTANT * (high - low if np.isfinite(high - low) else 1.0)
        if isinstance(part, units.Softmax):  # whose mean is 1/2 for two classes
            margin *= 2 / part.num_classes
        dead += int((share.max(axis=0) < low + margin).sum())
        saturated += int((share.min(axis=0) > high - margin).sum())
    warnings = []
    bad = int((~np.isfinite(means)).reshape(-1, start).any(axis=0).sum())
    if bad:
        warnings.append(
            f"{bad} of {start} hidden units have no finite mean: learning has diverged; lower the "
            "learning rate"
        )
    if dead > _TOLERATED * start:
        warnings.append(
            f"{dead} of {start} hidden units are dead (off for every example): lower the learning "
            "rate, start from smaller weights, or use fewer hidden units"
        )
    if saturated > _TOLERATED * start:
        warnings.append(
            f"{saturated} of {start} hidden units are saturated (on for every example): scale the "
            "input to [0, 1], lower the learning rate, or start from smaller weights"
        )
    return warnings
