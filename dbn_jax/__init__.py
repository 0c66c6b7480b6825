"""Deep belief nets in JAX.

Import the module that you need (``import dbn_jax.rbm``, ``from dbn_jax import units``): the package
itself imports nothing, so that using an RBM inside your own program costs jax and optax only.
"""


def __getattr__(name):
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    return metadata.version(__name__)
