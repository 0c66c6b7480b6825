"""A small learner for the tests of the training loop, and a program that trains it.

Run as ``python -m tests.toy_learning DIRECTORY OUTPUT``: trains with checkpoints and metrics in
DIRECTORY, then writes the final state's bytes to OUTPUT.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

# Of the program: enough that it can be killed twice before it ends.
NUM_UPDATES = 12 * 200
NUM_EXAMPLES, NUM_PIXELS, NUM_HIDDEN = 103, 12, 7


def images(num_examples=NUM_EXAMPLES):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_examples, NUM_PIXELS)).astype(np.uint8)


def initial_state():
    weights = 0.1 * jax.random.normal(jax.random.key(99), (NUM_PIXELS, NUM_HIDDEN))
    return {
        "weights": weights,
        "velocity": jnp.zeros_like(weights),
        "count": jnp.int32(0),
        "chains": None,
    }


def scale(key, batch):
    """Bytes to [0, 1], then a fresh binarisation."""
    return jax.random.bernoulli(key, batch.astype(jnp.float32) / 255).astype(jnp.float32)


def cd_step(key, state, batch):
    """One-step contrastive divergence without biases, with momentum."""
    up_key, down_key = jax.random.split(key)
    weights = state["weights"]
    on = jax.nn.sigmoid(batch @ weights)
    hidden = jax.random.bernoulli(up_key, on).astype(jnp.float32)
    reconstruction = jax.nn.sigmoid(hidden @ weights.T)
    visible = jax.random.bernoulli(down_key, reconstruction).astype(jnp.float32)
    gradient = (visible.T @ jax.nn.sigmoid(visible @ weights) - batch.T @ on) / len(batch)
    velocity = 0.9 * state["velocity"] - 0.05 * gradient
    state = {
        "weights": weights + velocity,
        "velocity": velocity,
        "count": state["count"] + 1,
        "chains": None,
    }
    error = jnp.mean(jnp.sum((batch - reconstruction) ** 2, axis=-1))
    return state, {"error": error, "on": jnp.mean(on)}


def state_bytes(state):
    return b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))


def main(directory, output):
    from dbn_jax import training
    from dbn_jax.training import checkpoints

    def evaluate(state):
        return {"norm": jnp.linalg.norm(state["weights"])}

    with checkpoints.Checkpoints(pathlib.Path(directory) / "checkpoints") as saved:
        state = training.train(
            cd_step,
            initial_state(),
            images(2000),
            settings=training.Settings(
                seed=5,
                batch_size=10,
                num_epochs=NUM_UPDATES // 200,
                checkpoint_seconds=0.0,
                chunk_seconds=0.02,
                show_progress=False,
            ),
            transform=scale,
            evaluate=evaluate,
            checkpoints=saved,
            metrics_path=pathlib.Path(directory) / "metrics.csv",
        )
    pathlib.Path(output).write_bytes(state_bytes(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
