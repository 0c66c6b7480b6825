"""Maps of points by stochastic neighbour embedding: symmetric SNE, UNI-SNE and t-SNE.

Map points y_i shall have the neighbours that the points x_i have, whose probabilities p_ij come
from `dbn_jax.affinities`. With the kernel w_ij of a pair's squared distance d_ij in the map,

    exp(−d_ij)  (SNE, UNI-SNE)    or    1 / (1 + d_ij)  (t-SNE),

Z = Σ_{k≠l} w_kl and s_ij = w_ij / Z, the map's own probabilities are mixed with a background,

    q_ij = (1 − λ) s_ij + λ / (N(N − 1)),

and KL(P ‖ Q) = Σ_{i≠j} p_ij log(p_ij / q_ij) descends. Sums are over ordered pairs; over unordered
pairs, of which each has twice the probability, the background is λ · 2 / (N(N − 1)) and the
objective the same. With λ = 0 a Gaussian map crowds: points a little too far apart cannot be
described at all. The background takes over their small probabilities, so that clusters may part.
What a pair owes to the map alone, r_ij = (1 − λ) s_ij / q_ij, weighs its attraction:

    ∂KL/∂y_i = 4 Σ_j (p_ij r_ij − R s_ij) κ_ij (y_i − y_j),    R = Σ_{k≠l} p_kl r_kl,

where κ = −∂ log w / ∂d is 1 or w. A pair that the background describes attracts no longer, so that
what is torn apart stays apart: λ must rise from 0 only when the map is unfolded.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002); Cook, Sutskever, Mnih, Hinton,
"Visualizing similarity data with a mixture of maps" (2007), for UNI-SNE; van der Maaten, Hinton,
"Visualizing data using t-SNE" (2008), also for momentum, gains and early exaggeration; Belkina et
al., "Automated optimized parameters for t-distributed stochastic neighbor embedding" (2019), for
learning rates in proportion to N.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dbn_jax import affinities, pairs
from dbn_jax.shapes import Array, Float, Int, Key, Scalar

KERNELS = ("gaussian", "student")
STARTS = ("random", "pca")
_START_SCALE = 1e-2  # standard deviation of the first map, small beside the kernels' width 1


@dataclasses.dataclass(frozen=True)
class Method:
    """What a map is, and how it is found: gradient descent with momentum and gains.

    Attributes:
      kernel: one of `KERNELS`.
      background: λ at the end, at least 0 and below 1.
      background_rise: shares of the updates between which λ rises linearly from 0.
      exaggeration: factor of the attraction in the first updates.
      exaggeration_share: share of the updates that have it.
      num_steps: updates in all.
      step_size: learning rate divided by N. Each p_ij is about 1/N, so that equal step sizes move
        the points of maps of any size alike.
      momentum: in the first quarter of the updates.
      final_momentum: afterwards.
    """

    kernel: str = "gaussian"
    background: float = 0.0
    background_rise: tuple[float, float] = (0.5, 0.75)
    exaggeration: float = 1.0
    exaggeration_share: float = 0.0
    num_steps: int = 1000
    step_size: float = 1 / 12
    momentum: float = 0.5
    final_momentum: float = 0.8

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel {self.kernel!r} is none of {', '.join(KERNELS)}")
        if not 0 <= self.background < 1:
            raise ValueError(
                f"background is {self.background}, the uniform share of all probability; it must "
                "be at least 0 and below 1, such as 0.2"
            )
        if not 0 <= self.background_rise[0] < self.background_rise[1] <= 1:
            raise ValueError(
                f"background_rise is {self.background_rise}; expected two growing shares of the "
                "updates, as in (0.5, 0.75)"
            )
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; it must be at least 1")

    def background_at(self, step: Scalar, dtype: jnp.dtype = jnp.float32) -> Scalar:
        """λ of update `step`, counted from 0."""
        first, last = self.background_rise
        share = (step.astype(dtype) / self.num_steps - first) / (last - first)
        return self.background * jnp.clip(share, 0, 1)


SNE = Method()
# On 1,500 MNIST digits, by 30 principal components, SNE's objective had come to rest, at the same
# value from either start and with or without exaggeration, when λ began to rise, and again soon
# after it had risen; 300 updates sufficed for that, of which half were with λ = 0.
UNI_SNE = Method(background=0.2)
T_SNE = Method("student", exaggeration=4.0, exaggeration_share=0.1)
METHODS = {"sne": SNE, "unisne": UNI_SNE, "tsne": T_SNE}


class State(NamedTuple):
    """A map while it is made.

    Attributes:
      positions: (N, K) map points, their mean at 0.
      velocity: (N, K) the last move.
      gains: (N, K) of the coordinates.
      step: () int32, number of updates made.
    """

    positions: Array
    velocity: Array
    gains: Array
    step: Array


class Map(NamedTuple):
    """A finished map.

    Attributes:
      positions: (N, K).
      steps: (records,) numbers of updates after which the objective was recorded.
      objective: (records,) KL(P ‖ Q) then, nats, with the background of the next update.
    """

    positions: Array
    steps: Array
    objective: Array


def embed(
    key: Key[Array, ""],
    x: Float[Array, "N D"],
    *,
    num_dims: int = 2,
    perplexity: float = 30.0,
    method: Method = UNI_SNE,
    start: str = "random",
) -> Float[Array, "N num_dims"]:
    """A map of points: (N, D) -> (N, num_dims); see `fit`, which also tells the objective."""
    return fit(
        key, x, num_dims=num_dims, perplexity=perplexity, method=method, start=start
    ).positions


def fit(
    key: Key[Array, ""],
    x: Float[Array, "N D"],
    *,
    num_dims: int = 2,
    perplexity: float = 30.0,
    method: Method = UNI_SNE,
    start: str = "random",
    record_every: int = 50,
) -> Map:
    """Makes a map of points. Equal arguments give equal bits, on the same machine.

    Args:
      key: consumed.
      x: (N, D) points; their unit does not matter.
      num_dims: K, dimensions of the map.
      perplexity: smooth number of neighbours; see `affinities.joint_probabilities`.
      method: `SNE`, `UNI_SNE`, `T_SNE`, or one of your own.
      start: see `init_state`.
      record_every: updates between two values of the objective.

    Raises:
      ValueError: the points or their number do not suit; see `affinities.joint_probabilities`.
    """
    state = init_state(key, x, num_dims=num_dims, start=start)
    p = affinities.joint_probabilities(x, perplexity)
    steps = [*range(0, method.num_steps, record_every), method.num_steps]
    values = []
    for stop in steps:
        state = advance(state, p, stop, method=method)
        values.append(state_objective(state, p, method=method))
    return Map(state.positions, jnp.asarray(steps, jnp.int32), jnp.stack(values))


def init_state(
    key: Key[Array, ""], x: Float[Array, "N D"], *, num_dims: int = 2, start: str = "random"
) -> State:
    """A small map to begin with, of standard deviation 0.01.

    Args:
      key: consumed.
      x: (N, D) points.
      num_dims: K.
      start: "random": a Gaussian cloud. "pca": the first principal components of `x`, with which
        the large-scale order of the map is that of the data; the key is not used.

    Raises:
      ValueError: `start` is unknown, or there are fewer dimensions in `x` than in the map.
    """
    match start:
        case "random":
            positions = _START_SCALE * jax.random.normal(key, (len(x), num_dims), x.dtype)
        case "pca":
            if x.shape[1] < num_dims:
                raise ValueError(
                    f"points of {x.shape[1]} dimensions have no {num_dims} principal components; "
                    'start the map with "random"'
                )
            x = pairs.centred(x)
            _, axes = jnp.linalg.eigh(jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST))
            positions = jnp.matmul(x, axes[:, ::-1][:, :num_dims])
            positions = positions * (_START_SCALE / jnp.std(positions[:, 0]))
        case _:
            raise ValueError(f"start {start!r} is none of {', '.join(STARTS)}")
    positions = positions - jnp.mean(positions, axis=0, keepdims=True)
    return State(
        positions, jnp.zeros_like(positions), jnp.ones_like(positions), jnp.zeros((), jnp.int32)
    )


@functools.partial(jax.jit, static_argnames=("method",))
def step(state: State, p: Float[Array, "N N"], *, method: Method) -> tuple[State, dict[str, Array]]:
    """One update: (State, (N, N)) -> (State, metrics); all is decided by `State.step`.

    Gains grow by 0.2 where the gradient still points the way that the point moves, and shrink by a
    fifth where it has turned (Jacobs 1988, as in the original t-SNE programs).

    Args:
      state: from `init_state`.
      p: from `affinities.joint_probabilities`.
      method: the same in all updates.

    Returns:
      The new state, and the metrics `gradient_norm` and `background` (λ).
    """
    dtype = state.positions.dtype
    background = method.background_at(state.step, dtype)
    done = state.step.astype(dtype) / method.num_steps
    exaggeration, momentum = (
        jnp.where(done < share, first, later).astype(dtype)
        for share, first, later in (
            (method.exaggeration_share, method.exaggeration, 1.0),
            (0.25, method.momentum, method.final_momentum),
        )
    )
    slope = gradient(
        state.positions, p, background, kernel=method.kernel, exaggeration=exaggeration
    )
    turned = jnp.sign(slope) == jnp.sign(state.velocity)  # downhill is against the gradient
    gains = jnp.maximum(jnp.where(turned, 0.8 * state.gains, state.gains + 0.2), 0.01)
    learning_rate = method.step_size * len(p)
    velocity = momentum * state.velocity - learning_rate * gains * slope
    positions = state.positions + velocity
    positions = positions - jnp.mean(positions, axis=0, keepdims=True)
    metrics = {"gradient_norm": jnp.sqrt(jnp.sum(slope * slope)), "background": background}
    return State(positions, velocity, gains, state.step + 1), metrics


@functools.partial(jax.jit, static_argnames=("method",))
def advance(
    state: State, p: Float[Array, "N N"], stop: int | Int[Array, ""], *, method: Method
) -> State:
    """Makes updates until `State.step` is `stop`."""
    return jax.lax.fori_loop(
        state.step, stop, lambda _, state: step(state, p, method=method)[0], state
    )


def state_objective(state: State, p: Float[Array, "N N"], *, method: Method) -> Float[Array, ""]:
    """`objective` of a map with the background of its next update."""
    background = method.background_at(state.step, p.dtype)
    return objective(state.positions, p, background, kernel=method.kernel)


@functools.partial(jax.jit, static_argnames=("kernel", "block"))
def objective(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    block: int = pairs.BLOCK,
) -> Float[Array, ""]:
    """KL(P ‖ Q) in nats: (N, K), (N, N) -> ().

    Args:
      positions: (N, K) map points.
      p: (N, N), symmetric, 0 on the diagonal, of sum 1.
      background: λ.
      kernel: one of `KERNELS`.
      block: rows at a time.
    """
    n, dtype = len(p), p.dtype
    background = jnp.asarray(background, dtype)
    log_total = jnp.log(_total(positions, kernel, block))

    def divergence(start):
        distances = _distances(positions, start, block)
        log_w = -distances if kernel == "gaussian" else -jnp.log1p(distances)
        # In logarithms nothing underflows, however far apart the points of a pair are.
        log_q = jnp.logaddexp(
            jnp.log1p(-background) + log_w - log_total, jnp.log(background / (n * (n - 1)))
        )
        rows = pairs.rows_of(p, start, block)
        has_any = rows > 0
        terms = rows * (jnp.log(jnp.where(has_any, rows, 1)) - jnp.where(has_any, log_q, 0))
        return jnp.sum(terms, axis=1)

    return jnp.sum(pairs.by_rows(divergence, n, block))


@functools.partial(jax.jit, static_argnames=("kernel", "block"))
def gradient(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    exaggeration: float | Float[Array, ""] = 1.0,
    block: int = pairs.BLOCK,
) -> Float[Array, "N K"]:
    """∂ objective / ∂ positions, exact: (N, K), (N, N) -> (N, K).

    Args:
      positions: (N, K) map points.
      p: (N, N), symmetric, 0 on the diagonal, of sum 1.
      background: λ.
      kernel: one of `KERNELS`.
      exaggeration: factor of the attraction; with another than 1 it is no gradient.
      block: rows at a time.
    """
    n, dtype = len(p), p.dtype
    background = jnp.asarray(background, dtype)
    # The background's part of a pair's probability, in the kernel's unit. Z is needed before the
    # attraction, which costs a pass over all pairs; not without a background.
    rival = jax.lax.cond(
        background > 0,
        lambda: background / ((1 - background) * n * (n - 1)) * _total(positions, kernel, block),
        lambda: jnp.zeros((), dtype),
    )
    # The sum of c_ij (y_i − y_j) over j is y_i Σ c_ij − Σ c_ij y_j.
    extended = jnp.concatenate([positions, jnp.ones((n, 1), dtype)], axis=1)

    def pull(rows, weights):
        sums = jnp.matmul(weights, extended, precision=jax.lax.Precision.HIGHEST)
        return rows * sums[:, -1:] - sums[:, :-1], sums[:, -1]

    def forces(start):
        rows = pairs.rows_of(positions, start, block)
        w = _kernel(positions, start, block, kernel)
        share = jnp.where(rival > 0, w / (w + rival), 1)
        attraction = pairs.rows_of(p, start, block) * share
        if kernel == "gaussian":
            attracted, share_sum = pull(rows, attraction)
            repelled, w_sum = pull(rows, w)
        else:
            attracted, _ = pull(rows, attraction * w)
            repelled, _ = pull(rows, w * w)
            share_sum, w_sum = jnp.sum(attraction, axis=1), jnp.sum(w, axis=1)
        return attracted, repelled, share_sum, w_sum

    attracted, repelled, share_sum, w_sum = pairs.by_rows(forces, n, block)
    ratio = jnp.sum(share_sum) / jnp.sum(w_sum)  # R / Z
    return 4 * (exaggeration * attracted - ratio * repelled)


def _distances(positions, start, block):
    """(B, N) squared distances of a block's map points to all, from differences."""
    rows = pairs.rows_of(positions, start, block)
    differences = (
        rows[:, k][:, None] - positions[:, k][None, :] for k in range(positions.shape[1])
    )
    return sum(difference * difference for difference in differences)


def _kernel(positions, start, block, kernel):
    """(B, N) w of a block's points and all; 0 for a point and itself."""
    distances = _distances(positions, start, block)
    w = jnp.exp(-distances) if kernel == "gaussian" else 1 / (1 + distances)
    return jnp.where(pairs.are_others(start, block, len(positions)), w, 0)


def _total(positions, kernel, block):
    """Z, a pass over all pairs."""
    sums = pairs.by_rows(
        lambda start: jnp.sum(_kernel(positions, start, block, kernel), axis=1),
        len(positions),
        block,
    )
    return jnp.sum(sums)
