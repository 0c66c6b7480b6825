"""The state of learning: what the next update needs, and no more."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from dbn_jax import pytrees
from dbn_jax.typing import Array, Int, PyTree


@pytrees.dataclass
class State:
    """State of learning of any model.

    Attributes:
      params: what is learnt: an RBM, a net, or the arrays of a network.
      opt_state: the optimizer's.
      step: number of updates made, int32.
      chains: what else persists between updates, such as the hidden states (chains, H) of
        persistent chains; None where nothing does.
    """

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    chains: PyTree = None


def weight_mask(params: PyTree) -> PyTree:
    """True for the weights of an RBM, or of all RBMs of a net, and False for all else.

    ``optax.add_decayed_weights(2e-4, mask=rbm.weight_mask)`` decays weights and no biases.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(part, "name", None) == "weights" for part in path), params
    )


def init_state(
    params: PyTree, optimizer: optax.GradientTransformation, *, chains: PyTree = None
) -> State:
    """The state before the first update."""
    return State(params, optimizer.init(params), jnp.zeros((), jnp.int32), chains)


def apply_gradient(
    state: State,
    gradient: PyTree,
    optimizer: optax.GradientTransformation,
    **moved: PyTree,
) -> State:
    """One optimizer update by a tree like `state.params`; ``chains=…`` if these have moved on."""
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(
        state, params=params, opt_state=opt_state, step=state.step + 1, **moved
    )
