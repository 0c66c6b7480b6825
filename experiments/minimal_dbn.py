"""A deep belief net in one file: data, greedy learning, labels, recognition, samples.

    python -m experiments.minimal_dbn --workdir=runs/minimal

trains a 784-500-500-2000 net on 4,000 real digits that ship with a package in two minutes on
2 cores, prints its error on unseen digits (about 5 %), and draws ten generated digits of each
class. `train_dbn` does the same with progress, checkpoints, more pictures and every option.

Reference: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006).
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from dbn_jax import data, figures, label_units, learning, rbm, units

BATCH_SIZE, EPOCHS = 100, 50
FEATURES, TOP, CLASSES = 500, 2000, 10


@functools.partial(jax.jit, static_argnames=("num_hidden", "learner", "learning_rate", "visible"))
def train(key, rows, num_hidden, *, learner, learning_rate, visible=units.Bernoulli()):
    """Trains an RBM on rows (N, V) of values between 0 and 1."""
    init_key, chain_key, key = jax.random.split(key, 3)
    params = rbm.init_params(init_key, rows.shape[1], num_hidden, visible=visible)
    params = rbm.fit_visible(params, rows)
    num_batches = len(rows) // BATCH_SIZE
    schedule = optax.linear_schedule(learning_rate, 0.0, EPOCHS * num_batches)
    optimizer = optax.chain(
        optax.add_decayed_weights(2e-4, mask=rbm.weight_mask), optax.sgd(schedule, momentum=0.9)
    )

    def epoch(state, key):
        order_key, key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(rows))[: num_batches * BATCH_SIZE]

        def update(state, inputs):
            key, chosen = inputs
            return learning.step(key, state, rows[chosen], learner=learner, optimizer=optimizer)

        batches = jax.random.split(key, num_batches), order.reshape(num_batches, BATCH_SIZE)
        return jax.lax.scan(update, state, batches)

    state = learning.init_state(chain_key, params, learner=learner, optimizer=optimizer)
    state, _ = jax.lax.scan(epoch, state, jax.random.split(key, EPOCHS))
    return state.params


def recognise(layers, top, images):
    """For each image, the label that has the lowest free energy together with its features."""
    features = functools.reduce(lambda x, layer: rbm.hidden_mean(layer, x), layers, images)
    return label_units.free_energies(top, features).argmin(axis=-1)


@functools.partial(jax.jit, static_argnames="num_steps")
def generate(key, layers, top, labels, num_steps):
    """Gibbs sampling in the top RBM with clamped labels, then one pass down to the pixels."""
    start_key, chain_key = jax.random.split(key)
    one_hot = jax.nn.one_hot(labels, CLASSES)

    def gibbs(x, key):
        up_key, down_key = jax.random.split(key)
        x = rbm.sample_visible(down_key, top, rbm.sample_hidden(up_key, top, x))
        return x.at[:, FEATURES:].set(one_hot), None

    start = jax.random.bernoulli(start_key, 0.5, (len(labels), FEATURES)).astype(jnp.float32)
    x = jnp.concatenate([start, one_hot], axis=-1)
    x, _ = jax.lax.scan(gibbs, x, jax.random.split(chain_key, num_steps))
    return functools.reduce(
        lambda x, layer: rbm.visible_mean(layer, x), reversed(layers), x[:, :FEATURES]
    )


def run(workdir):
    """Trains the net, prints how many unseen digits it gets wrong, and writes digits.png."""
    dataset = data.load("mnist5k")
    images, unseen = (
        jnp.asarray(x.images / 255, jnp.float32) for x in (dataset.train, dataset.test)
    )
    *keys, top_key, sample_key = jax.random.split(jax.random.key(0), 4)

    layers, rows = [], images
    for key in keys:
        layers.append(train(key, rows, FEATURES, learner=learning.CD(), learning_rate=0.1))
        rows = rbm.hidden_mean(layers[-1], rows)

    # The top RBM sees labels beside the features. Its persistent chains keep their labels, so that
    # the net generates every class.
    rows = jnp.concatenate([rows, jax.nn.one_hot(dataset.train.labels, CLASSES)], axis=-1)
    visible = label_units.visible_units(FEATURES, CLASSES)
    memory = learning.LabelledPCD(label_cost=10.0)
    top = train(top_key, rows, TOP, learner=memory, learning_rate=0.02, visible=visible)

    wrong = np.mean(np.asarray(recognise(layers, top, unseen)) != dataset.test.labels)
    print(f"of {len(unseen):,} unseen digits it gets {wrong:.1%} wrong")
    digits = generate(sample_key, layers, top, np.repeat(np.arange(CLASSES), 10), num_steps=1000)
    sheet = figures.image_sheet(digits, image_shape=(28, 28), columns=10, title="Generated digits")
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    figures.save(sheet, folder / "digits.png")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/minimal", "Folder that digits.png goes to.")
    app.run(lambda _: run(flags.FLAGS.workdir))
