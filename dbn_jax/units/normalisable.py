"""Which RBMs have a joint density that can be normalised.

A layer of real-valued or unbounded units may push the other without end. The energy then has no
lower bound and Z is infinite, though every conditional is well defined, samples can be drawn, and
annealing gives a plausible number.
"""

from typing import Any

import jax
import numpy as np

from dbn_jax import linear, units


def check_types(visible: units.Units, hidden: units.Units) -> None:
    """Raises ValueError for a pair of unit types that has no finite Z at any positive weights."""
    for part in visible.elements():
        for other in hidden.elements():
            tails = {part.tail, other.tail}
            if "factorial" in tails and "bounded" not in tails:
                raise ValueError(
                    f"{type(part).__name__} visible units and {type(other).__name__} hidden units "
                    "have no normalisable joint density; beside Poisson units use a type with "
                    "finitely many values, such as Bernoulli or Binomial"
                )


def check(params: Any) -> None:
    """Raises ValueError unless the joint density of an RBM can be shown to be normalisable.

    A side with finitely many values always can. Gaussian and rectified linear units on both sides
    can while the largest singular value of the weights between them is below 1 (for Gaussian
    units that is also necessary; weights between rectified units count only where positive).
    Poisson units need finitely many values on the other side. Call it on concrete parameters: it
    cannot look into traced ones, and learning can leave the allowed region.
    """
    check_types(params.visible, params.hidden)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params.weights)):
        raise ValueError(
            "the weights hold NaN or infinity, and there is no density: learning has diverged; use "
            "a smaller learning rate"
        )
    sides = (params.visible.elements(), params.hidden.elements())
    quadratic = [
        np.concatenate([np.full(part.num_units, part.tail == "quadratic") for part in side])
        for side in sides
    ]
    if not all(side.any() for side in quadratic):
        return
    weights = np.asarray(linear.matrix(params.weights), np.float64)[np.ix_(*quadratic)]
    if all(part.support[0] == 0 for side in sides for part in side if part.tail == "quadratic"):
        weights = np.maximum(weights, 0)
    norm = np.linalg.norm(weights, 2)
    if not norm < 1:
        raise ValueError(
            f"the joint density is not normalisable: the largest singular value of the weights "
            f"between the real-valued units is {norm:.4g}, and must be below 1; use a smaller "
            "learning rate, more weight decay, or binary hidden units"
        )
