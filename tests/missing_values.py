"""Examples some of whose values are missing."""

import numpy as np

# What is known of five examples of four units: all, nothing, and parts.
KNOWN = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]], bool)


def completions(model, row, known):
    """The states that agree with what is known, and their probabilities given that."""
    states = model.visible.states
    fits = np.all(states[:, known] == row[known], axis=1)
    p = np.exp(model.log_likelihood(states[fits]))
    return states[fits], p / p.sum()
