"""Fine-tuning of a net that `train_dbn` learnt by ascent of its variational bound.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_bound --workdir=runs/bound --pretrained=runs/digits

All weights learn together: recognition weights by the bound's own gradient, where up-down
(`finetune_updown`) lets them predict dreams; generative weights by the delta rule; the top RBM by
--learner, contrastive divergence of ten steps unless told otherwise. Persistent chains, which start
at the data, would be unbiased if they mixed; in a good net of digits they do not pass from class to
class, and misjudge how probable the classes are. The data are those of the pretrained net, and
the bound is that on log p(image, label) if it has label units. `evaluate` estimates the bound,
before and after: what is watched while it learns are the terms without the top's log Z, which moves
too. A net with label units recognises training images after every epoch, and validation images if
there are any; the test set is looked at once, at the end.

For the net of `flagfiles/dbn_500_2000.flags`, --learning_rate=0.02 --epochs=6 takes some four
minutes: the bound is −85.5 ± 0.3 nats by annealing (−85.2 ± 0.2 before), and −85.5 ± 0.2 by the
conservative estimate (−85.8 ± 0.2 before).

References: Hinton, "To recognize shapes, first learn to generate images" (2007), the section on
fine-tuning; `dbn_jax.learning.bound_gradient` names those of the estimators.
"""

import dataclasses
import functools

import jax

from dbn_jax.learning import bound_gradient
from dbn_jax.likelihood import evaluation
from experiments.common import finetuning, runs
from experiments.common.rbm_settings import RBMSettings
from experiments.common.settings import declare, group, setting

_METRICS = (
    "reconstruction_error", "reconstruction", "entropy", "free_energy_data",
    "free_energy_fantasies", "hidden_activity",
)  # fmt: skip


@declare
class Settings(finetuning.FinetuningSettings):
    """Everything that decides the result."""

    learning: RBMSettings = group(  # of all weights; its learner is the top RBM's
        RBMSettings,
        learner="cd",
        gibbs_steps=10,
        learning_rate=0.01,
        learning_rate_decay="linear",
        initial_momentum=0.0,
        final_momentum=0.0,
        momentum_epochs=0,
        weight_decay=0.0,
        epochs=10,
    )
    num_paths: int = setting(2, "Number of recognised paths of each example.", at_least=2)


def run(settings: Settings, workdir: str) -> dict:
    """Fine-tunes the net in a workdir, or resumes there."""
    learner = settings.learning.make_learner()
    estimator = bound_gradient.LeaveOneOut(settings.num_paths)

    def start(key, net, num_updates, examples):
        optimizer = settings.learning.make_optimizer(num_updates // settings.learning.epochs)
        init_key, up_key, chain_key = jax.random.split(key, 3)
        state = bound_gradient.init_state(init_key, net, optimizer, learner=learner)
        x = evaluation.top_states(up_key, net, examples)
        chains = learner.start_at(chain_key, net.top, state.chains, x)
        step = functools.partial(_step, optimizer=optimizer, learner=learner, estimator=estimator)
        return step, dataclasses.replace(state, chains=chains)

    return finetuning.finetune_net(
        settings,
        workdir,
        "bound",
        start,
        batch_size=settings.learning.batch_size,
        epochs=settings.learning.epochs,
        curves={
            "reconstruction (nats)": {"training": "reconstruction"},
            "entropy (nats)": {"training": "entropy"},
            "free energies of the top (nats)": {
                "data": "free_energy_data",
                "fantasies": "free_energy_fantasies",
            },
        },
        title="Ascent of the bound",
    )


def _step(key, state, batch, *, optimizer, learner, estimator):
    state, metrics = bound_gradient.step(
        key, state, *batch, optimizer=optimizer, learner=learner, estimator=estimator
    )
    return state, {name: metrics[name] for name in _METRICS}


if __name__ == "__main__":
    runs.main(run, Settings)
