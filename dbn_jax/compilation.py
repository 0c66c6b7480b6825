"""How the functions of this package are compiled."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

# Compiled when called directly, so that a notebook need not wait for one operation after the other
# to be compiled; a part of the caller's program when called inside a `jit`, `vmap` or `scan`.
# `@jit`, or `@jit(static_argnames=...)`.
jit = functools.partial(jax.jit, inline=True)


def jit_checking(checks: dict[str, Callable[[Any], None]], **options: Any) -> Callable[..., Any]:
    """`jit` of a function some of whose arguments are checked before they are traced."""

    def decorate(function):
        signature, compiled = inspect.signature(function), jit(function, **options)

        @functools.wraps(function)
        def checked(*args, **keywords):
            arguments = signature.bind(*args, **keywords).arguments
            for name, check in checks.items():
                check(arguments[name])
            return compiled(*args, **keywords)

        return checked

    return decorate
