"""The second half of `why_it_works`: tied layers, their learning rule, untying; grey levels.

Each function returns a picture and the numbers behind it. Call them in float64 (`jax.enable_x64`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import dbn, figures, learning, rbm, units
from dbn_jax.belief_nets import infinite
from dbn_jax.likelihood import partition
from experiments.demos import grey_levels

_SCALES = (0.5, 1.0, 2.0)  # of the weights
_LOOKS = 50  # points of a curve
_FIRST = 200  # updates of the layer that is untied then


def random_rbm(key, num_visible: int, num_hidden: int, scale: float) -> rbm.RBM:
    """Weights from N(0, scale²), and biases with which every unit is on half of the time.

    So each state is as probable as its opposite, and the larger the weights, the more seldom Gibbs
    sampling goes from one to the other.
    """
    weights = scale * jax.random.normal(key, (num_visible, num_hidden))
    return rbm.RBM(
        weights,
        units.Bernoulli(bias=-weights.sum(axis=1) / 2),
        units.Bernoulli(bias=-weights.sum(axis=0) / 2),
    )


def bars_and_stripes(side: int = 3) -> jax.Array:
    """All images of whole rows, or of whole columns, once each: (2^(side + 1) − 2, side²)."""
    lines = (np.arange(2**side)[:, None] >> np.arange(side)) & 1
    stripes = np.repeat(lines[:, :, None], side, axis=2).reshape(-1, side * side)
    across = np.repeat(lines[:, None, :], side, axis=1).reshape(-1, side * side)
    return jnp.asarray(np.unique(np.concatenate([stripes, across]), axis=0), float)


def convergence(key, depth: int = 40):
    """Total variation between the pixels of tied nets of every depth and the RBM, and its bound."""
    lines, numbers = {}, {}
    top = jnp.zeros(2**6).at[0].set(1.0)
    for scale in _SCALES:
        params = random_rbm(key, 6, 4, scale)
        found = np.asarray(infinite.total_variation(params, top, depth))
        rate = float(infinite.spectrum(params)[1])
        depths = np.flatnonzero(found > 1e-12)  # below, rounding is all there is
        last = depths[-1]
        p = infinite.equilibrium(params)
        bound = 0.5 * float(jnp.sqrt(jnp.sum((top - p) ** 2 / p))) * rate**depths
        name = f"weights × {scale:g}"
        lines[name] = (depths, found[depths])
        lines[f"bound, λ₂ = {rate:.3f}"] = (depths, bound)
        numbers[name] = {
            "second_eigenvalue": rate,
            "measured_rate": float(found[last] / found[last - 1]),
            "total_variation": found,
        }
    picture = figures.learning_curves(
        {"total variation": lines},
        x_label="depth T of the directed net",
        log_y=["total variation"],
        title="The deeper a net of tied layers, the closer it is to an RBM",
        subtitle="total variation between their distributions of the pixels; 6 visible and 4 "
        "hidden units, all off at the top. With each layer the bound falls by the factor λ₂, the "
        "second eigenvalue of a Gibbs step",
    )
    return {"convergence": picture}, numbers


def complementary_prior():
    """Two hidden units with effects in common: likelihood, prior and their product."""
    params = rbm.RBM(
        jnp.array([[3.0, 3.0], [3.0, 3.0], [-2.0, 1.0]]),
        units.Bernoulli(bias=jnp.array([-4.0, -3.0, 0.0])),
        units.Bernoulli(bias=jnp.array([-3.0, -2.0])),
    )
    v = jnp.array([1.0, 1.0, 0.0])
    found = infinite.complementary_prior(params, v)
    on = np.asarray(rbm.hidden_mean(params, v))
    logs = {
        "log p(v | h)": found.log_likelihood,
        "log p(h)": found.log_prior,
        "log p(h | v)": found.log_posterior,
    }
    couplings = {
        name: float(log_p[0] + log_p[3] - log_p[1] - log_p[2]) for name, log_p in logs.items()
    }
    titles = {
        "log p(v | h)": "likelihood",
        "log p(h)": "prior from above",
        "log p(h | v)": "their product",
    }
    picture = figures.bars(
        {
            (panel := f"{titles[name]}: coupling {_signed(couplings[name])}"): {panel: log_p}
            for name, log_p in logs.items()
        },
        ("00", "01", "10", "11"),
        title="The complementary prior of two hidden units",
        subtitle="Coupling: log p(00) + log p(11) − log p(01) − log p(10), zero for independent "
        f"units. One step up from the three pixels turns them on with {on[0]:.3f} and {on[1]:.3f}",
        y_label="nats",
    )
    exact = np.exp(np.asarray(found.log_posterior))
    numbers = {
        "couplings": couplings,
        "posterior": exact,
        "one_step_up": np.outer([1 - on[0], on[0]], [1 - on[1], on[1]]).ravel(),
    }
    return {"complementary_prior": picture}, numbers


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")


def learning_rule(key, num_steps: int = 20):
    """Size of the learning rule's terms by layer, and the part of their sum that CD-n neglects."""
    data_key, params_key = jax.random.split(key)
    data = jax.random.bernoulli(data_key, 0.5, (5, 6)).astype(float)
    sizes, left, numbers = {}, {}, {}
    for scale in _SCALES:
        name = f"weights × {scale:g}"
        params = random_rbm(params_key, 6, 4, scale)
        terms = infinite.gradient_terms(params, data, num_steps)
        exact, _, _ = jax.jit(learning.Exact().estimate)(data_key, params, None, data)
        flat = np.concatenate([x.reshape(2 * num_steps, -1) for x in jax.tree.leaves(terms)], 1)
        goal = np.concatenate([x.ravel() for x in jax.tree.leaves(exact)])
        cd = np.cumsum(flat, axis=0)[1::2]  # CD-1, CD-2, …
        norm = np.linalg.norm(goal)
        missing = np.linalg.norm(goal - cd, axis=1) / norm
        sizes[name] = (np.arange(1, 2 * num_steps + 1), np.linalg.norm(flat, axis=1))
        left[name] = (np.arange(1, num_steps + 1), missing)
        angle = cd[0] @ goal / (np.linalg.norm(cd[0]) * norm)
        numbers[name] = {
            "terms": sizes[name][1],
            "neglected_by_cd": missing,
            "cosine_of_cd_1": angle,
        }
    panels = {
        "size of the layer's term, by layer": sizes,
        "share of the gradient that CD-n neglects, by n": left,
    }
    picture = figures.learning_curves(
        panels,
        x_label="layer of weights from below, or n",
        log_y=list(panels),
        title="Terms of the tied net's learning rule, layer by layer",
        subtitle="exact expectations; 6 visible and 4 hidden units, five random images. The first "
        "2n terms add up to CD-n, and all of them to the gradient of the log-likelihood",
    )
    return {"learning_rule": picture}, numbers


def untied(key, num_updates: int):
    """Trains an RBM on bars and stripes; then unties the layers above it, and trains these."""
    images = bars_and_stripes()
    lower_key, upper_key = jax.random.split(key)
    lower = _learn_lower(lower_key, images)
    start = rbm.init_params(upper_key, 4, images.shape[1], dtype=images.dtype)
    curve = _learn_upper(dbn.upside_down(start, lower), lower, images, num_updates)
    before = float(jnp.mean(_log_likelihood(lower, images)))
    updates = np.linspace(0, num_updates, _LOOKS + 1)
    bound, log_p = curve.T
    panels = {
        "nats per image": {
            "log-likelihood": (updates, log_p),
            "its bound": (updates, bound),
            "the RBM alone": (updates, np.full_like(updates, before)),
        },
        "gain and slack (nats)": {
            "gain in log-likelihood": (updates, log_p - before),
            "slack of the bound": (updates, log_p - bound),
        },
    }
    picture = figures.learning_curves(
        panels,
        x_label="update of the second layer",
        title="Greedy training of a second layer",
        subtitle=f"14 images of bars and stripes. First layer 9-4: {_FIRST} updates of CD-1. "
        "Second layer 4-9: initialised with the transposed weights, exact ascent of the bound. The "
        "bound starts tight, and its slack stays below the gain",
    )
    numbers = {
        "rbm_alone": before,
        "bound_at_start": bound[0],
        "bound": bound[-1],
        "log_likelihood": log_p[-1],
        "least_gain_less_slack": np.min(bound - before),
    }
    return {"untied": picture}, numbers


def _log_likelihood(params, images):
    return partition.log_likelihood(params, images, partition.exact_log_partition(params))


@jax.jit
def _learn_lower(key, images):
    """A few updates of expected CD-1, so that the second layer has something left to improve."""
    params = rbm.init_params(key, images.shape[1], 4, weight_scale=0.1, dtype=images.dtype)
    optimizer = optax.sgd(0.2, momentum=0.9)

    def update(state, _):
        terms = infinite.gradient_terms(state.params, images, 1)
        change = jax.tree.map(lambda leaf: leaf.sum(axis=0), terms)
        return rbm.apply_gradient(state, change, optimizer), None

    return jax.lax.scan(update, rbm.init_state(params, optimizer), length=_FIRST)[0].params


@functools.partial(jax.jit, static_argnums=3)
def _learn_upper(upper, lower, images, num_updates):
    """Exact ascent of the bound: only its term log p(h) depends on the upper RBM."""
    optimizer = optax.sgd(0.02, momentum=0.9)

    def judge(upper):
        found = infinite.untied(lower, upper, images)
        return jnp.stack([jnp.mean(found.bound), jnp.mean(found.log_likelihood)])

    def look(carry, _):
        def update(carry, _):
            upper, opt_state = carry
            change = jax.grad(lambda upper: -judge(upper)[0])(upper)
            updates, opt_state = optimizer.update(change, opt_state)
            return (optax.apply_updates(upper, updates), opt_state), None

        carry, _ = jax.lax.scan(update, carry, length=num_updates // _LOOKS)
        return carry, judge(carry[0])

    _, curve = jax.lax.scan(look, (upper, optimizer.init(upper)), length=_LOOKS)
    return jnp.concatenate([judge(upper)[None], curve])


def grey_level():
    """Free energies of a pixel's value, less that of 0.7, under logistic and Gaussian units."""
    x = jnp.linspace(0.5, 0.9, 81)
    middle, step = jnp.asarray(0.7), jnp.asarray(0.1)
    inputs = {"I = 0": 0.0, "I = 0.85": float(jnp.log(0.7 / 0.3)), "I = 2": 2.0}
    sigmas = {"σ = 0.1": 0.1, "σ = 0.05": 0.05, "σ = 0.03": 0.03}

    def lines(curves):
        return {name: (x, curve(x) - curve(middle)) for name, curve in curves.items()}

    def logistic(value):
        return lambda x: grey_levels.logistic_free_energy(x, jnp.asarray(value))

    def straight(value):
        return lambda x: logistic(value)(x) - grey_levels.negative_entropy(x)

    def gaussian(sigma):
        return lambda x: grey_levels.gaussian_free_energy(x, middle, jnp.asarray(sigma))

    panels = {
        "logistic: energy alone": lines({k: straight(i) for k, i in inputs.items()}),
        "logistic: energy and entropy": lines({k: logistic(i) for k, i in inputs.items()}),
        "Gaussian, mean 0.7": lines({k: gaussian(s) for k, s in sigmas.items()}),
    }
    most = float(grey_levels.logistic_preference(middle, step))
    picture = figures.learning_curves(
        panels,
        x_label="value of the pixel",
        title="Can a pixel prefer 0.7 to both 0.6 and 0.8?",
        subtitle="free energy less that of 0.7, nats. The input I only tilts the curve of a "
        f"logistic unit, which prefers 0.7 by at most {most:.3f} nats. The smaller σ is, the more "
        "a Gaussian unit prefers it",
    )
    numbers = {
        "logistic_at_most": most,
        "gaussian": {
            name: float(grey_levels.gaussian_preference(step, jnp.asarray(s)))
            for name, s in sigmas.items()
        },
    }
    return {"grey_levels": picture}, numbers
