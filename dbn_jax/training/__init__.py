"""The training loop of every experiment, and what a run keeps on disk."""

from dbn_jax.training import ensemble
from dbn_jax.training.checkpoints import Checkpoints
from dbn_jax.training.loop import Diverged, Interrupted, Settings, seed_of_phase, spare_key, train
from dbn_jax.training.metrics import read_metrics
from dbn_jax.training.profiling import Profile
from dbn_jax.training.stopping import EarlyStopping
from dbn_jax.training.workdir import Workdir, check_files, open_workdir, read_summary
