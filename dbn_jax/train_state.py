"""The state of learning: what the next update needs, and no more."""

import dataclasses
from typing import Generic, TypeVar, overload

import jax
import jax.numpy as jnp
import optax

from dbn_jax import pytrees
from dbn_jax.typing import Array, Int, PyTree

Params = TypeVar("Params")
Chains = TypeVar("Chains")


@pytrees.dataclass
class State(Generic[Params, Chains]):
    """State of learning of any model.

    Attributes:
      params: what is learnt: an RBM, a net, or the arrays of a network.
      opt_state: the optimizer's.
      step: number of updates made, int32.
      chains: what else persists between updates, such as the hidden states (chains, H) of
        persistent chains; None where nothing does.
    """

    params: Params
    opt_state: PyTree
    step: Int[Array, ""]
    chains: Chains


def weight_mask(params: PyTree) -> PyTree:
    """True for the weights of an RBM, or of all RBMs of a net, and False for all else.

    ``optax.add_decayed_weights(2e-4, mask=rbm.weight_mask)`` decays weights and no biases.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(part, "name", None) == "weights" for part in path), params
    )


@overload
def init_state(params: Params, optimizer: optax.GradientTransformation) -> State[Params, None]: ...
@overload
def init_state(
    params: Params, optimizer: optax.GradientTransformation, *, chains: Chains
) -> State[Params, Chains]: ...
def init_state(
    params: PyTree, optimizer: optax.GradientTransformation, *, chains: PyTree = None
) -> State:
    """The state before the first update."""
    return State(params, optimizer.init(params), jnp.zeros((), jnp.int32), chains)


def apply_gradient(
    state: State[Params, Chains],
    gradient: Params,
    optimizer: optax.GradientTransformation,
    **moved: Chains,
) -> State[Params, Chains]:
    """One optimizer update by a tree like `state.params`; ``chains=…`` if these have moved on."""
    params, opt_state = _updated(optimizer, gradient, state.opt_state, state.params)
    return dataclasses.replace(
        state, params=params, opt_state=opt_state, step=state.step + 1, **moved
    )


def _updated(
    optimizer: optax.GradientTransformation, gradient: PyTree, opt_state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
    # By optax's types all trees are lists and dictionaries; it takes any.
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
