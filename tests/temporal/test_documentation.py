"""The examples in the docstrings run."""

import doctest

import pytest

from dbn_jax.temporal import conditional, recurrent


@pytest.mark.parametrize("module", [conditional, recurrent], ids=lambda module: module.__name__)
def test_examples(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
