"""Fine-tunes a net of `train_dbn` by up-down, that is contrastive wake-sleep.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_updown --workdir=runs/updown --pretrained=runs/digits

The data are those of the pretrained net. As published, the top RBM makes 3 Gibbs steps in each
update of the first third of the epochs, 6 in the second third, and 10 in the last. An epoch of full
MNIST takes 10, 14 and 20 s on 2 cores. If the net has label units, its error on training images,
and on validation images if there are any, is measured after every epoch; the test set is looked at
once, at the end.

Two flags go beyond the publication. --label_cost adds a discriminative cost of the labels in the
top RBM. --adversarial_radius trains the recognition weights for the labels too, by virtual
adversarial training (`learning.virtual_adversarial`). With both an update takes 2.6 times as long.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
5 and appendix B; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann
machines" (2008), section 5; Miyato et al., "Distributional smoothing with virtual adversarial
training" (2016).
"""

import functools

import jax.numpy as jnp
import optax

from dbn_jax import label_units, rbm, train_state
from dbn_jax.learning import updown
from experiments.common import finetuning, optimizers, runs
from experiments.common.settings import MAX_EPOCHS, about, setting

_METRICS = (
    "reconstruction_error", "wake_loss", "sleep_loss", "hidden_activity", "label_loss",
    "adversarial_divergence",
)  # fmt: skip


class Settings(finetuning.FinetuningSettings):
    """Everything that decides the result."""

    gibbs_steps: tuple[int, ...] = setting(
        (3, 6, 10),
        "Numbers of Gibbs steps of the top RBM, each used for an equal share of the epochs.",
        at_least=1,
        at_most=10_000,
    )
    learning_rate: float = setting(
        0.1,
        "Learning rate of all weights and biases; it falls to a hundredth over the second half.",
        at_least=0,
    )
    momentum: float = setting(0.5, "Momentum of gradient descent.", at_least=0, at_most=1)
    weight_decay: float = setting(0.0, "Strength of L2 weight decay.", at_least=0)
    label_cost: float = setting(
        0.0,
        "Weight of the discriminative cost of the labels; 0 is the published algorithm.",
        at_least=0,
    )
    adversarial_radius: float = setting(
        0.0,
        "Length of the perturbations in virtual adversarial training, as a Euclidean distance "
        "between images; its cost is weighted by --label_cost; 0 for none.",
        at_least=0,
    )
    batch_size: int = setting(100, "Number of examples in each update.", at_least=1)
    epochs: int = setting(
        60,
        "Number of passes over the data.",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.FIXED,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.adversarial_radius and not self.label_cost:
            raise ValueError(
                f"--adversarial_radius={self.adversarial_radius} is weighted by --label_cost, "
                "which is 0: set it above 0, or leave the radius out"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Fine-tunes the net in a workdir, or resumes there."""

    def check(net):
        if settings.label_cost:
            with about(f"--label_cost={settings.label_cost} --pretrained={settings.pretrained}"):
                label_units.require(net.top)

    def start(key, net, num_updates, examples):
        del key, examples
        optimizer = _optimizer(
            settings.learning_rate, settings.momentum, settings.weight_decay, num_updates
        )
        step = functools.partial(
            _step,
            optimizer=optimizer,
            gibbs_steps=settings.gibbs_steps,
            num_updates=num_updates,
            label_cost=settings.label_cost,
            adversarial_radius=settings.adversarial_radius,
        )
        return step, updown.init_state(net, optimizer)

    return finetuning.finetune_net(
        settings,
        workdir,
        "updown",
        start,
        check=check,
        learning=settings,
        curves={
            "wake loss (nats)": {"training": "wake_loss"},
            "sleep loss (nats)": {"generated examples": "sleep_loss"},
            "label loss (nats)": {"training": "label_loss"},
        },
        title="Up-down fine-tuning of the net",
    )


def _step(
    key, state, batch, *, optimizer, gibbs_steps, num_updates, label_cost, adversarial_radius
):
    v, labels = batch
    # The stage is a function of the update alone, so that a resumed run finds the right one.
    stage = jnp.minimum(state.step * len(gibbs_steps) // num_updates, len(gibbs_steps) - 1)
    gradient, metrics = updown.gradient(
        key,
        state.params,
        v,
        labels,
        num_gibbs_steps=jnp.asarray(gibbs_steps, jnp.int32)[stage],
        label_cost=label_cost,
        adversarial_radius=adversarial_radius,
    )
    state = train_state.apply_gradient(state, gradient, optimizer)
    return state, {name: metrics[name] for name in _METRICS if name in metrics}


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, momentum, weight_decay, num_updates):
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=rbm.weight_mask),
        optax.sgd(optimizers.decaying(learning_rate, num_updates), momentum=momentum),
    )


if __name__ == "__main__":
    runs.main(run, Settings)
