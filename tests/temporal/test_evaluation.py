"""Whole data sets of sequences: unequal lengths as one by one, log p against enumeration."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import data, temporal
from dbn_jax.temporal import evaluation
from tests.temporal.small_temporal import draw, log_probs, make, start

KEY = jax.random.key(11)
LENGTHS = (5, 1, 9, 3, 4)


def several(seed=0, lengths=LENGTHS):
    return [np.asarray(draw(seed + i, n, dtype=jnp.float32)) for i, n in enumerate(lengths)]


def mean_field(key, model, v, *, memory):
    return temporal.predict(key, model, v, num_steps=5, mean_field=True, memory=memory)


@pytest.mark.parametrize("kind", ["style", "rtrbm", "lstm"])
def test_sequences_of_unequal_lengths_are_each_as_if_alone(kind, monkeypatch):
    """In their own order, whatever is looked at together; each with its own first memory."""
    model, sequences = make(kind, dtype=jnp.float32), several()
    starts = [start(kind, model)] * len(sequences)
    if kind == "style":
        styles = jnp.asarray(np.random.RandomState(0).rand(len(sequences), 2), jnp.float32)
        starts = [model.start(style) for style in styles]
    memories = jax.tree.map(lambda *x: jnp.stack(x), *starts)
    alone = [
        mean_field(KEY, model, jnp.asarray(v), memory=memory)
        for v, memory in zip(sequences, starts, strict=True)
    ]
    for together, frames in ((16, 4096), (2, 4096), (16, 16)):
        monkeypatch.setattr(evaluation, "_TOGETHER", together)
        monkeypatch.setattr(evaluation, "_FRAMES", frames)
        found = evaluation.for_each(mean_field, KEY, model, sequences, memories=memories)
        assert [len(x) for x in found] == list(LENGTHS)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_else_belongs_to_frames_goes_along():
    """And keys differ from sequence to sequence."""
    model, sequences = make("gru", dtype=jnp.float32), several()
    marks = [np.arange(len(x), dtype=np.int32)[:, None] for x in sequences]

    def function(key, model, v, marks, *, memory):
        assert memory is None
        drawn = jnp.full(len(v), jax.random.uniform(key))
        return {"v": v, "marks": marks, "drawn": drawn}

    found = evaluation.for_each(function, KEY, model, sequences, marks)
    for x, mark, tree in zip(sequences, marks, found, strict=True):
        np.testing.assert_array_equal(tree["v"], x)
        np.testing.assert_array_equal(tree["marks"], mark)
    assert len({float(tree["drawn"][0]) for tree in found}) == len(sequences)


def test_log_p_of_a_data_set_against_enumeration():
    model, sequences = make("gru", scale=0.8, dtype=jnp.float32), several()
    each = [log_probs("gru", model, v).sum() for v in sequences]
    found = evaluation.log_likelihood(KEY, model, sequences, num_steps=200, num_chains=50)
    expected = sum(each) / sum(LENGTHS)
    assert 0 < found.annealing_error < 0.02
    assert abs(found.mean - expected) < 4 * found.annealing_error
    assert found.standard_error == pytest.approx(evaluation.per_frame(each, LENGTHS)[1], rel=0.1)
    assert abs(found.conservative - expected) < 0.1
    # Some frames stand for all, and count as sequences of their own.
    some = evaluation.log_likelihood(
        KEY, model, sequences, num_steps=200, num_chains=50, num_frames=12
    )
    every = np.concatenate([log_probs("gru", model, v) for v in sequences])
    chosen = every[data.blocks.spread_numbers(len(every), 12)]
    assert some.mean == pytest.approx(chosen.mean(), abs=4 * some.annealing_error)
    assert some.standard_error == pytest.approx(chosen.std(ddof=1) / math.sqrt(12), rel=0.1)
    few = evaluation.log_likelihood(
        KEY, model, sequences, num_steps=200, num_chains=50, num_frames=99
    )
    assert few == found


def test_a_mean_over_all_frames_has_the_standard_error_of_a_ratio():
    assert evaluation.per_frame([2.0, 10.0], [1, 3]) == (3.0, math.sqrt(2 * (1 + 1)) / 4)
    mean, error = evaluation.per_frame([6.0], [3])
    assert mean == 2
    assert math.isnan(error)
    # Against the scatter of many repetitions, of sequences of different lengths and frames that
    # depend on each other.
    random = np.random.RandomState(0)
    found = []
    for _ in range(2000):
        lengths = random.randint(1, 20, 50)
        found.append(evaluation.per_frame(lengths * random.normal(3, 1, 50), lengths))
    means, errors = np.array(found).T
    # The standard deviation of 2,000 is known to 1/√4000 = 1.6 %.
    assert errors.mean() == pytest.approx(means.std(), rel=0.07)
