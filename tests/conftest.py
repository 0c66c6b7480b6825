"""Strict settings for every test: shapes and types checked, nothing promoted or warned silently."""

import os

# Eight virtual devices, so that sharding is tested on any machine. Set before jax starts.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
from jaxtyping import install_import_hook

# Every function of the package runs with its shape annotations checked.
install_import_hook("dbn_jax", "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
