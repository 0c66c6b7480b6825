"""How the functions of this package are compiled."""

import functools

import jax

# Compiled when called directly, so that a notebook need not wait for one operation after the other
# to be compiled; a part of the caller's program when called inside a `jit`, `vmap` or `scan`.
# `@jit`, or `@jit(static_argnames=...)`.
jit = functools.partial(jax.jit, inline=True)
