"""Learning: gradients of RBMs by many learners, and fine-tuning of whole nets.

The learners of an RBM are here: `CD`, `PCD`, `FastPCD`, `ParallelTempering`, `Exact`,
`LabelledPCD`, and around any of them `Centred`, `Sparse` and `Incomplete` (missing values);
`init_state` and `step` learn with each. Whole nets learn in the modules `updown`, `bound_gradient`
and `backprop` (which alone needs Flax).
"""

from dbn_jax.learning.labelled_pcd import LabelledChains, LabelledPCD
from dbn_jax.learning.learners import (
    CD,
    PCD,
    Exact,
    FastChains,
    FastPCD,
    Learner,
    init_state,
    step,
)
from dbn_jax.learning.tempering import ParallelTempering
from dbn_jax.learning.wrappers import Activity, Centred, Incomplete, Offsets, Sparse

__all__ = [
    "CD",
    "PCD",
    "Activity",
    "Centred",
    "Exact",
    "FastChains",
    "FastPCD",
    "Incomplete",
    "LabelledChains",
    "LabelledPCD",
    "Learner",
    "Offsets",
    "ParallelTempering",
    "Sparse",
    "init_state",
    "step",
]
