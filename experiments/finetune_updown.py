"""Up-down fine-tuning, contrastive wake-sleep, of a net that `train_dbn` learnt.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_updown --workdir=runs/updown --pretrained=runs/digits

The data are those of the pretrained net. The top RBM makes 3 Gibbs iterations in each update of the
first third of the epochs, 6 in the second, 10 in the last, as published. A net with label units
recognises training images after every epoch, and validation images if there are any; the test set
is looked at once, at the end. The updates of an epoch of full MNIST take 10, 14 and 20 s on
2 cores. Two flags go beyond the publication: --label_cost makes it a hybrid of generative and
discriminative learning, and --adversarial_radius lets recognition take part in the latter, by
answers that stay the same when an image moves the worst way; both together make an update take 2.6
times as long.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
5 and appendix B; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann
machines" (2008), section 5; Miyato et al., "Distributional smoothing with virtual adversarial
training" (2016).
"""

import dataclasses
import functools

import jax.numpy as jnp
import optax
from absl import app, flags

from dbn_jax import dbn, label_units, rbm
from dbn_jax.learning import updown
from experiments.common import finetuning, models, shared


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net to start from.
      data_dir: where its data are; None: where they were when it learnt.
      gibbs_steps: of the top RBM, in equal shares of the epochs.
      learning_rate: of all weights and biases; linear to a hundredth over the second half.
      momentum: of gradient descent.
      weight_decay: cost of squared weights.
      label_cost: see `updown.gradient`.
      adversarial_radius: likewise; in units of the pixels, Euclidean.
      batch_size: examples per update.
      epochs: passes through the data.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    gibbs_steps: tuple[int, ...] = (3, 6, 10)
    learning_rate: float = 0.1
    momentum: float = 0.5
    weight_decay: float = 0.0
    label_cost: float = 0.0
    adversarial_radius: float = 0.0
    batch_size: int = 100
    epochs: int = 60
    seed: int = 0

    def __post_init__(self):
        if min(self.gibbs_steps, default=0) < 1:
            raise ValueError(
                f"gibbs_steps is {self.gibbs_steps}; give one or more, each at least 1"
            )
        for name in ("label_cost", "adversarial_radius"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.adversarial_radius and not self.label_cost:
            raise ValueError(
                f"--adversarial_radius={self.adversarial_radius} is weighed by --label_cost, which "
                "is 0: set it above 0, or leave the radius out"
            )


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Fine-tunes the net in a workdir, or goes on there.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      ValueError: labels have a cost, but the net has no label units.
    """

    def check(net):
        if settings.label_cost:
            label_units.require(net.top)

    def start(key, net, num_updates, first):
        del key, first
        optimizer = _optimizer(
            settings.learning_rate, settings.momentum, settings.weight_decay, num_updates
        )
        step = functools.partial(
            _step,
            optimizer=optimizer,
            gibbs_steps=settings.gibbs_steps,
            total=num_updates,
            label_cost=settings.label_cost,
            adversarial_radius=settings.adversarial_radius,
        )
        return step, updown.init_state(net, optimizer)

    return finetuning.learn(
        settings,
        path,
        phase="updown",
        check=check,
        start=start,
        curves={
            "wake loss (nats)": {"training": "wake_loss"},
            "sleep loss (nats)": {"dreams": "sleep_loss"},
        },
        title="Up-down fine-tuning",
        checkpoint_seconds=checkpoint_seconds,
    )


def _step(key, state, batch, *, optimizer, gibbs_steps, total, label_cost, adversarial_radius):
    v, labels = batch
    # The stage is a function of the update alone, so that a resumed run is in the right one.
    stage = jnp.minimum(state.step * len(gibbs_steps) // total, len(gibbs_steps) - 1)
    change, metrics = updown.gradient(
        key,
        state.params,
        v,
        labels,
        num_gibbs_steps=jnp.asarray(gibbs_steps, jnp.int32)[stage],
        label_cost=label_cost,
        adversarial_radius=adversarial_radius,
    )
    state = rbm.apply_gradient(state, change, optimizer)
    kept = (
        "reconstruction_error", "wake_loss", "sleep_loss", "hidden_activity", "label_loss",
        "adversarial_divergence",
    )  # fmt: skip
    return state, {name: metrics[name] for name in kept if name in metrics}


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, momentum, weight_decay, num_updates):
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=dbn.weight_mask),
        optax.sgd(shared.decaying(learning_rate, num_updates), momentum=momentum),
    )


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags()
    models.define_pretrained_flags("the net")
    flags.DEFINE_list(
        "gibbs_steps", ["3", "6", "10"], "Iterations of the top RBM, in equal shares of the epochs."
    )
    flags.DEFINE_float(
        "learning_rate", default.learning_rate, "Of weights and biases.", lower_bound=0
    )
    flags.DEFINE_float(
        "momentum", default.momentum, "Of gradient descent.", lower_bound=0, upper_bound=1
    )
    flags.DEFINE_float(
        "weight_decay", default.weight_decay, "Cost of squared weights.", lower_bound=0
    )
    flags.DEFINE_float(
        "label_cost",
        default.label_cost,
        "Weight of the top RBM's discriminative learning of labels; 0 is the published algorithm.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "adversarial_radius",
        default.adversarial_radius,
        "How far images move, the worst way, over which answers shall stay the same, weighed by "
        "label_cost; 0: not at all.",
        lower_bound=0,
    )
    flags.DEFINE_integer("batch_size", default.batch_size, "Examples per update.", lower_bound=1)
    flags.DEFINE_integer("epochs", default.epochs, "Passes through the data.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""

    def settings():
        gibbs_steps = shared.whole_numbers("gibbs_steps", flags.FLAGS.gibbs_steps)
        return shared.from_flags(Settings, gibbs_steps=gibbs_steps)

    shared.call(argv, run, settings)


if __name__ == "__main__":
    define_flags()
    app.run(main)
