"""The first half of `why_it_works`: explaining away, and what it means for learning.

Each function returns a picture and the numbers behind it. Call them in float64 (`jax.enable_x64`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import figures, rbm, units
from dbn_jax.belief_nets import infinite, sbn, wake_sleep
from experiments.demos import mean_field

CAUSES = ("neither", "earthquake", "truck", "both")  # the order of `sbn.completions`
JUMPS = (False, False, True)  # truck, earthquake, house: the house is observed
_SWEEPS = (1, 10, 100, 1_000, 3_000, 10_000, 30_000, 100_000)
_MANY = 1_000_000  # independent draws, where each of them is cheap


def house(weight: float = 20.0, bias: float = -20.0, cause: float = -10.0) -> sbn.BeliefNet:
    """A truck or an earthquake makes a house jump: the tutorial's net, by default its numbers."""
    weights = jnp.zeros((3, 3)).at[:2, 2].set(weight)
    return sbn.make(weights, jnp.array([cause, cause, bias]))


def mild_house() -> sbn.BeliefNet:
    """A house that jumps often enough to learn from, and whose causes are uncertain."""
    return house(4.0, -4.0, -2.0)


def posterior(key, num_chains: int, num_sweeps: int):
    """The posterior of truck and earthquake given the jump: exact, sampled, and factorial.

    Gibbs sampling changes one cause at a time, and so must pass through a very improbable state:
    it needs thousands of sweeps.
    """
    net, observed = house(), np.array(JUMPS)
    states, exact = sbn.posterior(net, jnp.ones(3), observed)
    x = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (num_chains, 3))
    gibbs = jax.jit(sbn.gibbs)
    shares, looks = [], [n for n in _SWEEPS if n < num_sweeps] + [num_sweeps]
    for before, now in zip([0, *looks], looks, strict=False):
        x = gibbs(jax.random.fold_in(key, now), net, x, jnp.asarray(observed), now - before)
        number = np.asarray(x[:, :2] @ jnp.array([2.0, 1.0])).astype(int)
        shares.append(np.bincount(number, minlength=4) / num_chains)
    nearest = mean_field.product(states, mean_field.best(states, exact))
    apart = mean_field.product(states, mean_field.marginals(states, exact))
    sampled = f"Gibbs, {num_sweeps:,} sweeps"
    picture = figures.bars(
        {
            "posterior given the jump": {"exact": exact, sampled: shares[-1]},
            "factorial approximations": {
                "exact": exact,
                "product of its marginals": apart,
                "best factorial": nearest,
            },
        },
        CAUSES,
        title="Explaining away: truck or earthquake, when the house jumps",
        subtitle="biases −10, −10, −20, weights 20. One of the causes is enough for a jump. A "
        "factorial distribution gives half of its probability to wrong explanations, or forgets "
        f"one of the right ones. {num_chains:,} chains.",
        y_label="probability",
    )
    slow = figures.learning_curves(
        {
            "share of chains": {
                name: (looks, np.array(shares)[:, i]) for i, name in enumerate(CAUSES)
            }
        },
        x_label="Gibbs sweeps",
        log_x=True,
        shares=["share of chains"],
        title="Explaining away makes Gibbs sampling slow",
        subtitle=f"{num_chains:,} chains that start with neither cause. The truck is drawn first, "
        "and explains the jump, so that an earthquake stays improbable",
    )
    numbers = {
        "states": CAUSES,
        "exact": exact,
        "sampled": shares[-1],
        "product_of_marginals": apart,
        "best_factorial": nearest,
        "divergence_product_of_marginals": mean_field.divergence(exact, apart),
        "divergence_best_factorial": mean_field.divergence(nearest, exact),
    }
    return {"explaining_away": picture, "gibbs": slow}, numbers


def truck(key):
    """The probability of the truck before the jump, after it, and given the earthquake too."""
    net = house()
    cases = {
        "beforehand": ((0, 0, 0), (False, False, False)),
        "the house jumps": ((0, 0, 1), (False, False, True)),
        "an earthquake too": ((0, 1, 1), (False, True, True)),
        "no earthquake": ((0, 0, 1), (False, True, True)),
    }
    exact, sampled = [], []
    for i, (x, observed) in enumerate(cases.values()):
        x, observed = jnp.array(x, jnp.float64), np.array(observed)
        states, p = sbn.posterior(net, x, observed)
        exact.append(float(mean_field.marginals(states, p)[0]))
        # In the last two cases only the truck is hidden, so that one sweep draws it exactly. In the
        # first two, ancestral samples are exact once those without the jump are thrown away.
        draw_key = jax.random.fold_in(key, i)
        if observed[1]:
            start = jnp.broadcast_to(x, (_MANY, 3))
            draws = np.asarray(_sweep(draw_key, net, start, jnp.asarray(observed)))
        else:
            draws = np.asarray(_ancestral(draw_key, net))
            draws = draws[draws[:, 2] >= x[2]]
        sampled.append(float(draws[:, 0].mean()))
    picture = figures.bars(
        {"probability of the truck": {"exact": exact, "sampled": sampled}},
        list(cases),
        title="The probability that a truck hit the house",
        subtitle=f"by hand: σ(−10), 1/2, 1/(1 + cosh 10), 1/(1 + 1/cosh 10). {_MANY:,} draws each; "
        "for the second case only those count in which the house jumps",
        y_label="probability",
    )
    return {"truck": picture}, {"cases": list(cases), "exact": exact, "sampled": sampled}


@jax.jit
def _ancestral(key, net):
    return sbn.sample(key, net, (_MANY,))


@jax.jit
def _sweep(key, net, x, observed):
    return sbn.gibbs(key, net, x, observed, 1)


def priors():
    """The posterior of one layer under different priors from the layers above."""
    likelihood = mild_house()

    def with_layer_above(weights, biases):
        """Adds a unit above the causes, which is on half of the time."""
        whole = jnp.zeros((4, 4)).at[0, 1:3].set(jnp.array(weights)).at[1:3, 3].set(4.0)
        return sbn.make(whole, jnp.array([0.0, *biases, -4.0]))

    nets = {
        "independent": likelihood,
        "one causes both": with_layer_above((6.0, 6.0), (-4.0, -4.0)),
        "one or the other": with_layer_above((8.0, -8.0), (-4.0, 4.0)),
    }
    panels, numbers = {}, {}
    for name, net in nets.items():
        found = {}
        for when, is_observed in {"before": False, "after": True}.items():
            observed = np.zeros(net.num_units, bool)
            observed[-1] = is_observed
            states, p = sbn.posterior(net, jnp.ones(net.num_units), observed)
            number = (np.asarray(states)[:, -3:-1] @ [2, 1]).astype(int)
            found[when] = np.bincount(number, p, minlength=4)
        panels[name] = found
    # The prior that infinitely many tied layers above give, for the same weights below.
    tied = rbm.RBM(
        jnp.full((1, 2), 4.0),
        units.Bernoulli(bias=jnp.array([-4.0])),
        units.Bernoulli(bias=jnp.array([-2.0, -2.0])),
    )
    rule = infinite.complementary_prior(tied, jnp.ones(1))
    panels["complementary"] = {
        "before": np.exp(rule.log_prior),
        "after": np.exp(rule.log_posterior),
    }
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    explained = 1 / (1 + np.exp(-(4.0 * states.sum(axis=1) - 4.0)))
    for name, found in panels.items():
        numbers[name] = {
            **{f"p_{when}": p for when, p in found.items()},
            **{f"correlation_{when}": _correlation(states, p) for when, p in found.items()},
            "delta_rule_of_the_truck": float(found["after"] @ (states[:, 0] * (1 - explained))),
        }
    titles = {
        name: f"{name} (delta rule {numbers[name]['delta_rule_of_the_truck']:.3f})"
        for name in panels
    }
    picture = figures.bars(
        {titles[name]: found for name, found in panels.items()},
        CAUSES,
        title="The posterior of one layer under four priors from the layers above",
        subtitle="weights 4 and bias −4 below; before and after the house jumps. What the truck's "
        "weight learns from the jump, by the delta rule, depends on all the layers above",
        y_label="probability",
    )
    return {"priors": picture}, numbers


def _correlation(states, p):
    mean = p @ states
    covariance = (states - mean).T @ (p[:, None] * (states - mean))
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def recognition(key, num_updates: int):
    """Sleep phase of two recognition nets: with a weight between the causes, and without one."""
    net = mild_house()
    layered = sbn.layered((jnp.zeros((1, 2)),), (jnp.zeros(1), jnp.zeros(2)))
    connected = sbn.make(jnp.zeros((3, 3)), jnp.zeros(3))
    states, exact = sbn.posterior(net, jnp.ones(3), np.array(JUMPS))
    series = {"exact": exact}
    numbers = {"exact": exact}
    for i, (name, start) in enumerate({"layer": layered, "connected": connected}.items()):
        machine = wake_sleep.HelmholtzMachine(net, start)
        learnt = _sleep(jax.random.fold_in(key, i), machine, num_updates)
        q = jnp.exp(wake_sleep.log_recognition(learnt, states[:, :2], states[:, 2:]))
        label = {"layer": "units independent", "connected": "a weight between them"}[name]
        series[f"recognition, {label}"] = q
        numbers[name] = q
        numbers[f"divergence_{name}"] = mean_field.divergence(exact, q)
    picture = figures.bars(
        {"given the jump": series},
        CAUSES,
        title="What the sleep phase teaches a recognition net",
        subtitle=f"the house with weights 4; {num_updates:,} updates of 1,000 generated examples "
        "each. Independent units learn the marginals; with a weight between them they learn to "
        "explain away",
        y_label="probability",
    )
    return {"recognition": picture}, numbers


@functools.partial(jax.jit, static_argnums=2)
def _sleep(key, machine, num_updates):
    """Trains the recognition net alone."""
    optimizer = optax.multi_transform(
        {
            "learns": optax.sgd(optax.linear_schedule(2.0, 0.0, num_updates)),
            "stays": optax.set_to_zero(),
        },
        wake_sleep.HelmholtzMachine("stays", "learns"),
    )

    def update(state, key):
        step = wake_sleep.step(key, state, jnp.ones((1, 1)), optimizer=optimizer, num_dreams=1_000)
        return step[0], None

    keys = jax.random.split(key, num_updates)
    return jax.lax.scan(update, wake_sleep.init_state(machine, optimizer), keys)[0].params


def learning(key, images: jax.Array, num_hidden: int, num_updates: int):
    """Wake-sleep beside exact maximum likelihood, for the same net and images (B, V)."""
    init_key, key = jax.random.split(key)
    machine = wake_sleep.init(init_key, (num_hidden, images.shape[1]), weight_scale=0.5)
    curve = _wake_sleep(key, machine, images, num_updates)
    exact = _maximum_likelihood(machine.generative, images, num_updates)
    updates = np.linspace(0, num_updates, len(exact)).astype(int)[1:]
    lines = {
        "exact maximum likelihood": (updates, exact[1:]),
        "wake-sleep": (updates, curve[1:, 0]),
        "its bound": (updates, curve[1:, 1]),
    }
    ceiling = -np.log(len(images))
    numbers = {
        "log_likelihood_wake_sleep": curve[-1, 0],
        "bound_wake_sleep": curve[-1, 1],
        "log_likelihood_exact": exact[-1],
        "best_possible": ceiling,
    }
    picture = figures.learning_curves(
        {"nats per image": lines},
        x_label="update",
        title="Training by wake-sleep and by exact maximum likelihood",
        subtitle=f"{len(images)} images of 3 × 3 pixels, {num_hidden} hidden units. Wake-sleep "
        f"and its bound differ by KL(recognition ‖ posterior). No net exceeds −{-ceiling:.2f}",
    )
    return {"wake_sleep": picture}, numbers


_LOOKS = 50  # points of a curve


def _judge(machine, images):
    """The mean exact log-likelihood and bound: (2,)."""
    num_hidden = machine.generative.num_units - images.shape[1]
    bounds = jax.vmap(lambda v: wake_sleep.bound(machine, v))(images)
    return jnp.stack([_log_likelihood(machine.generative, images, num_hidden), jnp.mean(bounds)])


def _log_likelihood(net, images, num_hidden):
    observed = np.arange(net.num_units) >= num_hidden
    x = jnp.concatenate([jnp.zeros((len(images), num_hidden)), images], axis=1)
    return jnp.mean(jax.vmap(lambda row: sbn.log_likelihood(net, row, observed))(x))


@functools.partial(jax.jit, static_argnums=3)
def _wake_sleep(key, machine, images, num_updates):
    optimizer = optax.sgd(optax.linear_schedule(0.5, 0.0, num_updates), momentum=0.9)
    batch = jnp.tile(images, (8, 1))

    def look(state, key):
        def update(state, key):
            return wake_sleep.step(key, state, batch, optimizer=optimizer)[0], None

        keys = jax.random.split(key, num_updates // _LOOKS)
        state, _ = jax.lax.scan(update, state, keys)
        return state, _judge(state.params, images)

    state = wake_sleep.init_state(machine, optimizer)
    _, curve = jax.lax.scan(look, state, jax.random.split(key, _LOOKS))
    return jnp.concatenate([_judge(machine, images)[None], curve])


@functools.partial(jax.jit, static_argnums=2)
def _maximum_likelihood(net, images, num_updates):
    optimizer = optax.sgd(optax.linear_schedule(0.5, 0.0, num_updates), momentum=0.9)
    num_hidden = net.num_units - images.shape[1]

    def loss(net):
        return -_log_likelihood(net, images, num_hidden)

    def look(carry, _):
        def update(carry, _):
            net, opt_state = carry
            updates, opt_state = optimizer.update(jax.grad(loss)(net), opt_state)
            return (optax.apply_updates(net, updates), opt_state), None

        carry, _ = jax.lax.scan(update, carry, length=num_updates // _LOOKS)
        return carry, -loss(carry[0])

    _, curve = jax.lax.scan(look, (net, optimizer.init(net)), length=_LOOKS)
    return jnp.concatenate([-loss(net)[None], curve])
