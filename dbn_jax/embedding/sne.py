"""Maps of points by stochastic neighbour embedding: symmetric SNE, UNI-SNE and t-SNE.

Map points shall have the neighbours that the points have, whose probabilities P come from
`dbn_jax.embedding.affinities`; gradient descent on KL(P ‖ Q) (`dbn_jax.embedding.objective`, with
the formulae) moves them. A Gaussian map crowds: points a little too far apart cannot be described
at all. UNI-SNE's uniform background takes over their small probabilities, so that clusters may
part. A pair that the background describes attracts no longer, so that what is torn apart stays
apart: its share λ must rise from 0 only when the map is unfolded.

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

from dbn_jax.embedding import affinities, objective, pairwise
from dbn_jax.typing import Array, Float, Int, Key, Scalar

STARTS = ("random", "pca")
_START_SCALE = 1e-2  # standard deviation of the first map, small beside the kernels' width 1


@dataclasses.dataclass(frozen=True)
class Method:
    """What a map is, and how it is found: gradient descent with momentum and gains.

    Attributes:
      kernel: one of `divergence.KERNELS`.
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
        if self.kernel not in objective.KERNELS:
            raise ValueError(f"kernel {self.kernel!r} is none of {', '.join(objective.KERNELS)}")
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
            x = pairwise.centred(x)
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
    slope = objective.gradient(
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
    """`divergence.objective` of a map with the background of its next update."""
    background = method.background_at(state.step, p.dtype)
    return objective.objective(state.positions, p, background, kernel=method.kernel)
