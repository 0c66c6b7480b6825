"""Maps of points by stochastic neighbour embedding: symmetric SNE, UNI-SNE and t-SNE.

The neighbours on the map should be those of the points, whose probabilities P come from
`dbn_jax.embedding.affinities`; gradient descent on KL(P ‖ Q) (`dbn_jax.embedding.objective`, with
the formulae) moves the map points. A Gaussian map crowds, because it gives pairs that are a little
too far apart almost no probability. UNI-SNE takes their small probabilities from a uniform
background, so that clusters can separate. A pair whose probability comes from the background no
longer attracts, so that clusters which are torn apart stay apart: the background's share λ must
stay 0 until the map has unfolded.

Forces are exact, in a time that grows as N², or fast, as N log N: attraction of near points alone,
and repulsion by a grid, which changes it by less than 10⁻³ of its norm.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002); Cook, Sutskever, Mnih, Hinton,
"Visualizing similarity data with a mixture of maps" (2007), for UNI-SNE; van der Maaten, Hinton,
"Visualizing data using t-SNE" (2008), also for momentum, gains and early exaggeration; Belkina et
al., "Automated optimized parameters for t-distributed stochastic neighbor embedding" (2019), for
learning rates in proportion to N and an exaggeration of 12; Linderman et al. (2019) and Poličar,
Stražar, Zupan, "openTSNE" (2019), for fast forces and new points.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import precision
from dbn_jax.compilation import jit
from dbn_jax.embedding import affinities, objective, pairwise, pca
from dbn_jax.embedding.objective import Probabilities
from dbn_jax.embedding.points import Points, Queries, as_points
from dbn_jax.typing import Array, Float, Int, Key, Num, Scalar

STARTS = ("random", "pca")
FORCES = ("exact", "fast")
EXACT_UP_TO = 2000  # points; from there on fast forces take less time
_START_SCALE = 1e-2  # standard deviation of the first map, small beside the kernels' width 1
_PLACING_RATE = 0.1  # learning rate of new points, whose probabilities have sum 1 each
_FIRST = 5  # nearest points, from whose median a new one starts


@dataclasses.dataclass(frozen=True)
class Method:
    """Settings of a map, and of the gradient descent with momentum and gains that finds it.

    The learning rate is `step_size` times N: each p_ij is about 1/N, so that equal step sizes move
    the points of maps of any size alike.
    """

    kernel: str = "gaussian"
    background: float = 0.0  # λ at the end
    # Shares of the updates between which λ rises linearly from 0.
    background_rise: ClassVar[tuple[float, float]] = (0.5, 0.75)
    exaggeration: float = 1.0  # of the attraction in the first quarter of the updates
    num_steps: int = 1000
    step_size: float = 1 / 12

    def __post_init__(self):
        if self.kernel not in objective.KERNELS:
            raise ValueError(f"kernel {self.kernel!r} is none of {', '.join(objective.KERNELS)}")
        if not 0 <= self.background < 1:
            raise ValueError(f"background is {self.background}; it must be in [0, 1), such as 0.2")
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; it must be at least 1")
        for name in ("step_size", "exaggeration"):
            if not 0 < (value := getattr(self, name)) < np.inf:
                raise ValueError(f"{name} is {value}; it must be a positive number")

    def background_at(self, done: Scalar) -> Scalar:
        """λ after this share of the updates."""
        first, last = self.background_rise
        return self.background * jnp.clip((done - first) / (last - first), 0, 1)


SNE = Method()
# On 1,500 MNIST digits, by 30 principal components, SNE's objective had come to rest, at the same
# value from either start and with or without exaggeration, when λ began to rise, and again soon
# after it had risen; 300 updates sufficed for that, of which half were with λ = 0.
UNI_SNE = Method(background=0.2)
T_SNE = Method("student", exaggeration=12.0)
METHODS = {"sne": SNE, "unisne": UNI_SNE, "tsne": T_SNE}


class State(NamedTuple):
    """A map while it is made: its points, their mean at 0; their last move; their gains."""

    positions: Float[Array, "N K"]
    velocity: Float[Array, "N K"]
    gains: Float[Array, "N K"]
    step: Int[Array, ""]  # number of updates made


def embed(
    key: Key[Array, ""],
    x: Points,
    *,
    perplexity: float = 30.0,
    method: Method = UNI_SNE,
    forces: str | None = None,
) -> Float[Array, "N 2"]:
    """Makes a map of points. On the same CPU, equal arguments give equal bits.

    The method is `SNE`, `UNI_SNE`, `T_SNE`, or one of your own. The forces are "exact", or "fast";
    by default exact for up to 2,000 points.
    """
    p = probabilities(x, perplexity, forces)
    state = init_state(key, x)
    for _ in range(method.num_steps):
        state, _ = step(state, p, method=method)
    return state.positions


def probabilities(x: Points, perplexity: float, forces: str | None = None) -> Probabilities:
    """P of all pairs for exact forces, of near ones for fast ones; see `embed`."""
    x = as_points(x, "x")
    match forces or ("exact" if len(x) <= EXACT_UP_TO else "fast"):
        case "exact":
            return affinities.joint_probabilities(x, perplexity)
        case "fast":
            return affinities.near_probabilities(x, perplexity)
        case _:
            raise ValueError(f"forces {forces!r} is none of {', '.join(FORCES)}")


def init_state(
    key: Key[Array, ""], x: Points, *, num_dims: int = 2, start: str = "random"
) -> State:
    """A small map to begin with, of standard deviation 0.01.

    The start is "random", a Gaussian cloud, or "pca", the first principal components of `x`, with
    which the large-scale order of the map is that of the data; the key is then not used.
    """
    x = as_points(x, "x")
    match start:
        case "random":
            positions = _START_SCALE * jax.random.normal(key, (len(x), num_dims), x.dtype)
        case "pca":
            x = pairwise.scaled(x)
            if not jnp.any(x != x[:1]):
                raise ValueError(
                    "all points of x are equal, without principal components; start at random"
                )
            positions = pca.encode(pca.fit(x, num_dims), x)
            positions = positions * (_START_SCALE / jnp.std(positions[:, 0]))
        case _:
            raise ValueError(f"start {start!r} is none of {', '.join(STARTS)}")
    positions = positions - jnp.mean(positions, axis=0, keepdims=True)
    return State(positions, jnp.zeros_like(positions), jnp.ones_like(positions), jnp.int32(0))


@jit(static_argnames="method")
def step(state: State, p: Probabilities, *, method: Method) -> tuple[State, dict[str, Array]]:
    """One update; momentum, background and exaggeration depend on `State.step`.

    The metrics are `gradient_norm` and `background` (λ).
    """
    done = state.step.astype(state.positions.dtype) / method.num_steps
    background = method.background_at(done)
    exaggeration = jnp.where(done < 0.25, method.exaggeration, 1.0).astype(done.dtype)
    slope = objective.gradient(
        state.positions, p, background, kernel=method.kernel, exaggeration=exaggeration
    )
    state = _descend(state, slope, method.step_size * len(slope), done)
    positions = state.positions - jnp.mean(state.positions, axis=0, keepdims=True)
    metrics = {"gradient_norm": jnp.sqrt(jnp.sum(slope * slope)), "background": background}
    return state._replace(positions=positions), metrics


def _descend(state, slope, rate, done):
    """An update by momentum and gains.

    The gain of a coordinate grows by 0.2 while it moves downhill, and shrinks by a fifth when it
    moves uphill (Jacobs 1988, as in the original t-SNE programs).
    """
    turned = jnp.sign(slope) == jnp.sign(state.velocity)  # downhill is against the gradient
    gains = jnp.maximum(jnp.where(turned, 0.8 * state.gains, state.gains + 0.2), 0.01)
    momentum = jnp.where(done < 0.25, 0.5, 0.8).astype(slope.dtype)
    velocity = momentum * state.velocity - rate * gains * slope
    return State(state.positions + velocity, velocity, gains, state.step + 1)


def place(
    queries: Queries,
    x: Points,
    positions: Num[np.ndarray | Array, "_ _"],
    *,
    perplexity: float = 30.0,
    method: Method = UNI_SNE,
    num_steps: int = 250,
) -> Float[Array, "Q 2"]:
    """Puts new points into the finished map of `x`, whose points stay where they are.

    Each new point i is added to the map by itself, so that new points neither attract nor repel
    each other, with p_ij = p(j | i) / N. It moves until the forces of the map on it add up to 0:

        2 Σ_j p(j | i) r_ij κ_ij (y_i − y_j) + r_i N/Z ∂φ_i/∂y_i,    r_i = Σ_j p(j | i) r_ij.

    N/2 times the gradient of the map's objective has R, the mean of all r_i, in front of ∂φ_i/∂y_i.
    With its own r_i, a point that is weakly attracted is weakly repelled, too. Without a background
    both are 1. A new point starts from the median of its five nearest points: of more, some are on
    other islands, and between islands it would stay.
    """
    x, positions = as_points(x, "x"), as_points(positions, "positions")
    if positions.shape != (len(x), 2):
        raise ValueError(
            f"positions has shape {positions.shape} for {len(x)} points; give a map in 2 "
            "dimensions, and as x its points in their order"
        )
    p, near = affinities.conditional_near(x, perplexity, queries)
    return _place(p, near, positions.astype(p.dtype), method=method, num_steps=num_steps)


@jit(static_argnames=("method", "num_steps"))
@precision.full
def _place(p, near, positions, *, method, num_steps):
    n, kernel = len(positions), objective.KERNELS[method.kernel]
    potentials, _ = objective.potential(positions, positions, method.kernel)
    mean = jnp.mean(potentials) - 1  # Z / N: no point is a pair with itself
    mean = jnp.maximum(mean, jnp.finfo(mean.dtype).tiny ** 0.5)  # if all are out of reach
    rival = method.background / ((1 - method.background) * (n - 1)) * mean
    neighbours = positions[near]

    def update(step, state):
        _, slope = objective.potential(state.positions, positions, method.kernel)
        differences = state.positions[:, None] - neighbours
        w = kernel.w(jnp.sum(differences**2, axis=-1))
        drawn = p * (w / (w + rival) if method.background else 1)
        pull = jnp.sum((drawn * kernel.kappa(w))[:, :, None] * differences, axis=1)
        share = jnp.sum(drawn, axis=1, keepdims=True)
        return _descend(state, 2 * pull + share / mean * slope, _PLACING_RATE, step / num_steps)

    start = jnp.median(neighbours[:, :_FIRST], axis=1)
    zeros = jnp.zeros_like(start)
    state = State(start, zeros, zeros + 1, jnp.int32(0))
    return jax.lax.fori_loop(0, num_steps, update, state).positions


def state_objective(state: State, p: Probabilities, *, method: Method) -> Float[Array, ""]:
    """KL(P ‖ Q) of a map in nats, with the background of its next update."""
    background = method.background_at(state.step.astype(state.positions.dtype) / method.num_steps)
    return objective.divergence(state.positions, p, background, kernel=method.kernel)
