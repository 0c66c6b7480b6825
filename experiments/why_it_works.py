"""Draws why deep belief nets work: the tutorial's argument, on nets small enough to enumerate.

    python -m experiments.why_it_works --workdir=runs/why

trains toy models only and needs no data; it takes 45 s on 2 cores. The numbers behind the pictures
are in summary.json. In the order of the argument:

- explaining_away.png: the house jumps; was it a truck, or an earthquake? The exact posterior, what
  Gibbs sampling finds, and two wrong answers of distributions with independent causes.
- gibbs.png: how many sweeps Gibbs sampling takes, since it changes one cause at a time.
- truck.png: the probability of the truck before the jump, after it, and given the earthquake too.
- priors.png: the posterior of one layer under four priors from the layers above, with the same
  weights below: a layer cannot be trained without knowing the layers above it.
- recognition.png: what the sleep phase teaches a recognition net about the causes of the jump.
- wake_sleep.png: wake-sleep on bars and stripes, beside exact maximum likelihood.
- convergence.png: the deeper a net of tied layers, the closer it is to an RBM, at the rate λ₂.
- complementary_prior.png: why inference is easy in that net: likelihood, prior and their product.
- learning_rule.png: the terms of the delta rule by layer, and the share of them that CD-n neglects.
- untied.png: the upper layers are untied and trained. The bound starts tight, and the gain in
  likelihood exceeds its slack.
- grey_levels.png: why binary units cannot model the grey levels of a photograph.

By hand: let s = σ(−10), so that (1 − s)/s = e¹⁰. The four explanations of the jump (neither cause,
one, the other, both) have probabilities in the ratios

    (1 − s)² σ(−20) : s(1 − s)/2 : s(1 − s)/2 : s² σ(20).

Divided by s(1 − s)/2, the outer two are 2e¹⁰σ(−20) = 2e⁻¹⁰σ(20) = 2/(e¹⁰ + e⁻¹⁰) = 1/cosh 10. So
neither cause and both causes are equally improbable, 4.54e−5 each. The truck has even chances, and
1/(1 + cosh 10) = 9.08e−5 once the earthquake is known.

References: Hinton, "Deep belief nets", tutorial at NIPS (2007); Hinton, Osindero, Teh, "A fast
learning algorithm for deep belief nets" (2006); Hinton, Dayan, Frey, Neal, "The wake-sleep
algorithm for unsupervised neural networks" (1995).
"""

import jax

from experiments.common import runs
from experiments.common.settings import setting
from experiments.demos import explaining_away, tied_nets


class Settings(runs.RunSettings):
    """Everything that decides the result."""

    num_chains: int = setting(2_000, "Number of Gibbs chains.", at_least=1, at_most=100_000)
    num_sweeps: int = setting(
        30_000,
        "Number of sweeps of each chain through all units.",
        at_least=1,
        at_most=1_000_000,
    )
    num_updates: int = setting(
        3_000,
        "Number of updates of each trained model, a multiple of 50.",
        at_least=50,
        at_most=1_000_000,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.num_updates % 50:
            raise ValueError(
                f"--num_updates={self.num_updates}: it must be a multiple of 50, the points of a "
                "curve"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Draws all pictures into a workdir."""
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    results = {}
    with jax.enable_x64(True):
        keys = iter(jax.random.split(jax.random.key(settings.seed), 7))
        images = tied_nets.bars_and_stripes()
        parts = {
            "explaining_away": lambda: explaining_away.posterior(
                next(keys), settings.num_chains, settings.num_sweeps
            ),
            "truck": lambda: explaining_away.truck(next(keys)),
            "priors": explaining_away.priors,
            "recognition": lambda: explaining_away.recognition(next(keys), settings.num_updates),
            "wake_sleep": lambda: explaining_away.learning(
                next(keys), images, 6, settings.num_updates
            ),
            "convergence": lambda: tied_nets.convergence(next(keys)),
            "complementary_prior": tied_nets.complementary_prior,
            "learning_rule": lambda: tied_nets.learning_rule(next(keys)),
            "untied": lambda: tied_nets.untied(next(keys), settings.num_updates),
            "grey_levels": tied_nets.grey_level,
        }
        for name, part in parts.items():
            pictures, results[name] = part()
            run.save_figures(pictures)
            numbers = {k: v for k, v in results[name].items() if isinstance(v, float)}
            told = "".join(f", {what} {value:.4g}" for what, value in numbers.items())
            print(f"{name}: {run.workdir.wall_seconds():.0f} s{told}", flush=True)
    return run.finish(results)


if __name__ == "__main__":
    runs.main(run, Settings)
