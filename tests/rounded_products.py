"""Products as a TPU makes them by default: factors rounded to bfloat16, sums in float32.

CPUs multiply in full whatever JAX asks for. In `rounded`, every product that does not ask for all
bits has its factors rounded first, those of float64 too. Whole files of tests run so by

    python -m pytest -p tests.rounded_products tests/likelihood

which shows what is protected: what tells numbers is as exact as without. And a command learns so by

    python -m tests.rounded_products experiments.train_rbm --workdir=runs/rounded
"""

import contextlib
import runpy
import sys

import jax
import numpy as np
from jax._src.interpreters.mlir import _platform_specific_lowerings as rules
from jax.extend.core.primitives import dot_general_p
from jax.interpreters import mlir

_HIGHEST = jax.lax.Precision.HIGHEST
_exactly = rules["cpu"][dot_general_p].rule


@contextlib.contextmanager
def rounded():
    """A context in which this process multiplies like that."""
    _lower(_rounding)
    try:
        yield
    finally:
        _lower(_exactly)


def pytest_sessionstart():
    """As a plugin: for all tests."""
    _lower(_rounding)


def _lower(rule):
    mlir.register_lowering(dot_general_p, rule, platform="cpu")
    jax.clear_caches()


def _rounding(ctx, a, b, *, precision, **options):
    if precision == (_HIGHEST, _HIGHEST) or not np.issubdtype(ctx.avals_in[0].dtype, np.floating):
        return _exactly(ctx, a, b, precision=precision, **options)

    def product(*factors):
        factors = (jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7) for x in factors)
        return dot_general_p.bind(*factors, precision=(_HIGHEST, _HIGHEST), **options)

    return mlir.lower_fun(product, multiple_results=False)(ctx, a, b)


if __name__ == "__main__":
    with rounded():
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
