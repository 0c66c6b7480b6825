"""Data sets as arrays: images (shipped by packages, IDX, TFDS), photographs, and sequences."""

from dbn_jax.data.blocks import apply, in_blocks
from dbn_jax.data.datasets import (
    Dataset,
    Split,
    Standardisation,
    Whitening,
    binarise,
    load,
    standardise,
    whiten,
)
from dbn_jax.data.own import is_path
from dbn_jax.data.sequences import SequenceSet, load_sequences
from dbn_jax.data.transforms import BINARISATIONS, Transform
from dbn_jax.sources import spread
