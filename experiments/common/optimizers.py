"""Parts of optimizers that the experiments share."""

import optax

from experiments.common.settings import Growth

# Epochs of a run whose learning rate is always `decaying`.
FIXED = Growth(lambda settings: False, "the learning rate falls over the second half of the epochs")
# Those of a run whose learning rate falls if its settings say so.
UNLESS_IT_FALLS = Growth(lambda settings: settings.learning_rate_decay == "none", FIXED.otherwise)


def decaying(rate: float, num_updates: int) -> optax.Schedule:
    """A learning rate that is constant for the first half, then falls linearly to a hundredth."""
    half = num_updates // 2
    return optax.linear_schedule(rate, 0.01 * rate, num_updates - half, half)
