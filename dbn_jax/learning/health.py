"""Warnings for data out of range and for dead or saturated units.

Both functions return sentences, each naming a value and a remedy, by their kind; none when all is
well. The caller decides where they go, and how often each kind is said. They look at concrete
arrays, so call them outside compiled code.

Reference: Hinton's practical guide (2010), sections 5 to 8 and 15.
"""

import numpy as np

from dbn_jax import numerics, rbm, units
from dbn_jax.typing import Array, Float

# A unit whose mean stays within this share of its range over all examples says nothing of them.
_CONSTANT = 0.01
# Of data that were rescaled in single precision.
_ROUNDING = 1e-5
# A few idle units are normal, above all in wide layers.
_TOLERATED = 0.5


def check_data(
    visible: units.Units, data: Float[np.ndarray | Array, "examples V"]
) -> dict[str, str]:
    """Says whether data, as the learner will see them, fit the type of the visible units.

    Returns:
      Sentences by kind: "empty", "nonfinite", "range", "one_hot", "sigma", "constant",
      "narrow"; of `units.Concat` by part and kind, such as "0.range".
    """
    data, warnings = np.asarray(data), {}
    if isinstance(visible, units.Maps):  # what places share is fitted to all of them
        return check_data(visible.each, data.reshape(len(data) * visible.num_places, -1))
    if isinstance(visible, units.Concat):
        shares = np.split(data, np.cumsum(visible.sizes)[:-1], axis=-1)
        for i, (part, share) in enumerate(zip(visible.parts, shares, strict=True)):
            warnings |= {f"{i}.{kind}": said for kind, said in check_data(part, share).items()}
        return warnings
    if not data.size:
        return {"empty": "there is no example to look at"}
    if fault := numerics.non_finite(data):
        warnings["nonfinite"] = fault
        data = data[np.isfinite(data).all(axis=-1)]  # of the others, nothing true can be said
        if not data.size:
            return warnings
    low, high = visible.support
    smallest, largest = float(data.min()), float(data.max())
    if smallest < low - _ROUNDING or largest > high + _ROUNDING:
        warnings["range"] = (
            f"the data lie in [{smallest:.4g}, {largest:.4g}], but {type(visible).__name__} units "
            f"take values in [{low:g}, {high:g}]; rescale the data, or choose another type of "
            "visible units"
        )
    if isinstance(visible, units.Softmax):
        sums = data.reshape(len(data), -1, visible.num_classes).sum(-1)
        if not np.allclose(sums, 1, atol=1e-3):
            warnings["one_hot"] = (
                f"the groups of {visible.num_classes} softmax units sum to between "
                f"{sums.min():.4g} and {sums.max():.4g}; each must sum to 1 (one-hot)"
            )
    if isinstance(visible, units.Gaussian) and len(data) > 1:
        spread, reach = data.std(axis=0), np.ptp(data, axis=0)
        typical, constant = float(np.median(spread)), int(np.sum(reach == 0))
        smallest = visible.min_share * float(np.sqrt(np.mean(spread**2)))
        narrow = int(np.sum((reach > 0) & (reach < smallest)))
        if not visible.learn_sigma and not visible.sigma / 5 < typical < visible.sigma * 5:
            warnings["sigma"] = (
                f"the Gaussian units have a fixed sigma of {visible.sigma:g}, but the data's "
                f"standard deviation is {typical:.4g} (median over units); standardise the data, "
                "or learn sigma"
            )
        if constant:
            warnings["constant"] = (
                f"{constant} of {spread.size} Gaussian visible units never vary in the data; leave "
                "them out: their likelihood has no maximum"
            )
        if visible.learn_sigma and narrow:
            warnings["narrow"] = (
                f"all values of {narrow} of {spread.size} Gaussian visible units lie within less "
                f"than {smallest:.4g}, the smallest sigma that the units can learn beside the "
                "others; rescale them or leave them out"
            )
    return warnings


def check_hidden(params: rbm.RBM, v: Float[Array, "examples V"]) -> dict[str, str]:
    """Says whether most hidden units have ceased to tell examples, some hundreds of them, apart.

    Returns:
      Sentences by kind: "nonfinite" (units without a finite mean), "dead" (always at their lowest)
      and "saturated" (always at their highest).
    """
    means = np.asarray(rbm.hidden_mean(params, v))
    dead = saturated = start = 0
    for part in params.hidden.elements():
        low, high = part.support
        share = means[:, start : start + part.num_units]
        start += part.num_units
        margin = _CONSTANT * (high - low if np.isfinite(high - low) else 1.0)
        if isinstance(part, units.Softmax):  # whose mean is 1/2 for two classes
            margin *= 2 / part.num_classes
        dead += int(np.sum(share.max(axis=0) < low + margin))
        saturated += int(np.sum(share.min(axis=0) > high - margin))
    nonfinite = int(np.sum(~np.isfinite(means).all(axis=0)))
    of, warnings = f"of {start} hidden units", {}
    if nonfinite:
        warnings["nonfinite"] = (
            f"{nonfinite} {of} have no finite mean: learning has diverged; lower the learning rate"
        )
    if dead > _TOLERATED * start:
        warnings["dead"] = (
            f"{dead} {of} are dead (off for every example): lower the learning rate, start from "
            "smaller weights, or use fewer hidden units"
        )
    if saturated > _TOLERATED * start:
        warnings["saturated"] = (
            f"{saturated} {of} are saturated (on for every example): scale the input to [0, 1], "
            "lower the learning rate, or start from smaller weights"
        )
    return warnings
