"""Up-down fine-tuning, contrastive wake-sleep, of a net that `train_dbn` learnt.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_updown --workdir=runs/updown --pretrained=runs/digits

The data are those of the pretrained net. The top RBM makes 3 Gibbs iterations in each update of the
first third of the epochs, 6 in the second, 10 in the last, as published. A net with label units
recognises training images after every epoch, and validation images if there are any; the test set
is looked at once, at the end. The updates of an epoch of full MNIST take 10, 14 and 20 s on
2 cores. Two flags go beyond the publication: --label_cost makes it a hybrid of generative and
discriminative learning, and --adversarial_radius lets recognition take part in the latter, by
virtual adversarial training (`learning.virtual_adversarial`); both together make an update take 2.6
times as long.

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
from experiments.common import finetuning, rbm_settings, runs
from experiments.common.settings import declare, setting

_METRICS = (
    "reconstruction_error", "wake_loss", "sleep_loss", "hidden_activity", "label_loss",
    "adversarial_divergence",
)  # fmt: skip


@declare
class Settings(finetuning.FinetuningSettings):
    """Everything that decides the result."""

    gibbs_steps: tuple[int, ...] = setting(
        (3, 6, 10), "Gibbs steps of the top RBM, in equal shares of the epochs.", at_least=1
    )
    learning_rate: float = setting(
        0.1,
        "Learning rate of all weights and biases; it falls to a hundredth over the second half.",
        at_least=0,
    )
    momentum: float = setting(0.5, "Momentum of gradient descent.", at_least=0, at_most=1)
    weight_decay: float = setting(0.0, "Cost of squared weights.", at_least=0)
    label_cost: float = setting(
        0.0,
        "Weight of the top RBM's discriminative learning of labels; 0 is the published algorithm.",
        at_least=0,
    )
    adversarial_radius: float = setting(
        0.0,
        "Radius of virtual adversarial training, in units of the pixels, weighted by --label_cost; "
        "0 for none.",
        at_least=0,
    )
    batch_size: int = setting(100, "Number of examples in each update.", at_least=1)
    epochs: int = setting(60, "Number of passes over the data.", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.adversarial_radius and not self.label_cost:
            raise ValueError(
                f"--adversarial_radius={self.adversarial_radius} is weighted by --label_cost, "
                "which is 0: set it above 0, or leave the radius out"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Fine-tunes the net in a workdir, or resumes there.

    Raises:
      ValueError: labels have a cost, but the net has no label units.
    """

    def check(net):
        if settings.label_cost:
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
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        curves={
            "wake loss (nats)": {"training": "wake_loss"},
            "sleep loss (nats)": {"dreams": "sleep_loss"},
            "label loss (nats)": {"training": "label_loss"},
        },
        title="Up-down fine-tuning",
    )


def _step(
    key, state, batch, *, optimizer, gibbs_steps, num_updates, label_cost, adversarial_radius
):
    v, labels = batch
    # The stage is a function of the update alone, so that a resumed run is in the right one.
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
        optax.sgd(rbm_settings.decaying(learning_rate, num_updates), momentum=momentum),
    )


if __name__ == "__main__":
    runs.main(run, Settings)
