"""Data sets as arrays: images that packages ship, IDX folders, TFDS, and patches of photographs."""

from dbn_jax.data.blocks import apply, in_blocks, spread
from dbn_jax.data.datasets import Dataset, Split, Standardisation, binarise, load, standardise
from dbn_jax.data.sequences import SequenceSet, load_sequences
from dbn_jax.data.transforms import BINARISATIONS, Transform
