"""Parts of optimizers that the experiments share."""

import optax


def decaying(rate: float, num_updates: int) -> optax.Schedule:
    """A learning rate that is constant for the first half, then falls linearly to a hundredth."""
    half = num_updates // 2
    return optax.linear_schedule(rate, 0.01 * rate, num_updates - half, half)
