"""Trains the top RBM of a finished net further, so that the net generates every class.

    python -m experiments.finetune_memory --workdir=runs/memory --pretrained=runs/updown

takes a net with label units, from `train_dbn` or `finetune_updown`, and leaves all weights below
its top RBM unchanged. Contrastive divergence only sees a few Gibbs steps from the data, so that
chains of a thousand steps leave the digits. Here the top RBM, its associative memory, is trained on
recognised images by persistent chains that keep their labels (`dbn_jax.learning.labelled_pcd`);
they reach the states that long chains reach, and make these less probable. For the digit model on
full MNIST this takes 150 s on one core. The share of samples that the judge of `generate`
recognises should rise to about 98 %, and the error change by less than 0.1 %. The test set is
looked at once, at the end.

Reference: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
gradient" (2008); what differs from it is said in `dbn_jax.learning.labelled_pcd`.
"""

import dataclasses
import functools

import jax
import numpy as np

from dbn_jax import data, dbn, label_units, learning, random, rbm, train_state
from dbn_jax.learning import greedy
from experiments.common import early_stopping, finetuning, optimizers, runs
from experiments.common.rbm_settings import MemorySettings
from experiments.common.settings import MAX_EPOCHS, about, setting


class Settings(finetuning.FinetuningSettings):
    """Everything that decides the result."""

    label_cost: float = setting(5.0, "Weight of the cost −log p(label | features).", at_least=0)
    num_chains: int = setting(
        100,
        "Number of persistent chains, divided evenly among the labels.",
        at_least=1,
        at_most=100_000,
    )
    gibbs_steps: int = setting(
        1, "Number of Gibbs steps in each update.", at_least=1, at_most=10_000
    )
    learning_rate: float = setting(
        0.1,
        "Learning rate of weights and biases; it falls to a hundredth over the second half.",
        at_least=0,
    )
    weight_decay: float = setting(1e-4, "Strength of L2 weight decay.", at_least=0)
    batch_size: int = setting(100, "Number of examples in each update.", at_least=1)
    epochs: int = setting(
        10,
        "Number of passes over the data.",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.FIXED,
    )

    @property
    def memory(self) -> MemorySettings:
        """These settings as those of a top RBM."""
        names = {field.name for field in dataclasses.fields(MemorySettings)} - {"learner"}
        return MemorySettings(
            learner="labelled_pcd",
            learning_rate_decay="linear",
            initial_momentum=0.0,
            final_momentum=0.0,
            **{name: getattr(self, name) for name in names if hasattr(self, name)},
        )


def run(settings: Settings, workdir: str) -> dict:
    """Trains the top RBM of a net further in a workdir, or resumes there."""
    net, dataset, transform = finetuning.load_net(settings, settings)
    with about(f"--pretrained={settings.pretrained}"):
        num_labels = label_units.require(net.top)
    learner = settings.memory.make_learner()
    with about(f"--num_chains={settings.num_chains}"):
        jax.eval_shape(lambda: learner.init(jax.random.key(0), net.top))  # refuses too few
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    feature_key, init_key, view_key, start_key, answer_key = jax.random.split(run.key, 5)
    rows = {
        "features": recognised_features(feature_key, net, dataset.train.images, transform),
        "labels": dataset.train.labels,
    }
    view = greedy.BesideLabels(greedy.Activities(samples=True), num_labels)
    optimizer = settings.memory.make_optimizer(len(rows["labels"]) // settings.batch_size)
    chains = learner.start_at(
        start_key,
        net.top,
        learner.init(init_key, net.top),
        data.apply(view, view_key, data.spread(rows, 1000)),
    )
    errors = finetuning.watch_errors(dataset, transform)

    def with_memory(top):
        return dataclasses.replace(dbn.untie(net), top=top)

    state = run.train(
        "memory",
        functools.partial(_step, learner=learner, optimizer=optimizer),
        train_state.init_state(net.top, optimizer, chains=chains),
        rows,
        transform=view,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        evaluate=lambda state: errors(with_memory(state.params)),
        held_out=dataset.held_out[1].arrays(),
        early_stopping=early_stopping.rule(settings.patience, "error_rate"),
    )
    memory = with_memory(state.params)
    run.save_model(memory)
    curves = {"label loss (nats)": {"training": "label_loss"}}
    rates, change = finetuning.error_rates(answer_key, net, memory, dataset, transform)
    title = "Further training of the top RBM"
    picture = finetuning.learning_curves(run.metrics("memory"), curves, title, change)
    run.save_figures({"curves": picture})
    return run.finish({"label_loss": run.kept("memory")["label_loss"]} | rates)


def recognised_features(
    key: jax.Array, net: dbn.Net, images: np.ndarray, transform: data.Transform
) -> np.ndarray:
    """The means of the top RBM's features (N, F), given a sample of each layer below them.

    They are the pixels if the net has one layer only.
    """
    return data.in_blocks(functools.partial(_features, net, transform), key, images)


@functools.partial(jax.jit, static_argnames="transform")
def _features(net, transform, key, images):
    view_key, draw_key = random.split(key)
    v = transform(view_key, images)
    if not net.recognition:
        return v
    below = dbn.sample_recognition(draw_key, net, v)[-2]
    return rbm.hidden_mean(net.recognition[-1], below)


def _step(key, state, batch, *, learner, optimizer):
    state, metrics = learning.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {"label_loss": metrics["label_loss"]}


if __name__ == "__main__":
    runs.main(run, Settings)
