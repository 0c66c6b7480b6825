"""How the functions of this package are compiled."""

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import jax

from dbn_jax import numerics

P = ParamSpec("P")
R = TypeVar("R")


@overload
def jit(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def jit(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def jit(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """`@jit` or `@jit(static_argnames=...)`: how every function that computes is compiled.

    As one program when called directly, so that a notebook need not wait for one operation after
    the other to be compiled; a part of the caller's program when called inside a `jit`, `vmap` or
    `scan`. An argument that is no array is named in one sentence. For type checkers the function
    stays what it is.
    """
    if function is None:
        return functools.partial(jit, **options)
    compiled = jax.jit(function, inline=True, **options)
    static = options.get("static_argnames", ())
    static = {static} if isinstance(static, str) else set(static)

    @functools.wraps(function)
    def call(*args, **keywords):
        try:
            return compiled(*args, **keywords)
        except (TypeError, AttributeError) as e:
            error = e
        for name, value in inspect.signature(function).bind(*args, **keywords).arguments.items():
            if name not in static and not isinstance(value, numbers.Number):
                numerics.check_arrays(value, name)
        raise error

    call.__dict__["lower"] = compiled.lower
    return call


def jit_checking(
    checks: dict[str, Callable[[Any], None]], **options: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`jit` of a function some of whose arguments are checked before they are traced."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, compiled = inspect.signature(function), jit(**options)(function)

        @functools.wraps(function)
        def checked(*args: P.args, **keywords: P.kwargs) -> R:
            arguments = signature.bind(*args, **keywords).arguments
            for name, check in checks.items():
                check(arguments[name])
            return compiled(*args, **keywords)

        return checked

    return decorate
