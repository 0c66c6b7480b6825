"""Models of sequences: an RBM for each frame, whose biases the frames before it set.

`ConditionalRBM`, `TRBM`, `RTRBM` and `RNNRBM` are one contract, `TemporalRBM`: what is remembered,
how a frame changes that, and the RBM of the next frame. Everything else is written once for all of
them: learning (`cd_loss`, `exact_loss`, `step`), prediction (`predict`, `complete`, `dream`) and
log p per frame (`log_probs`, `ais_log_probs`). A `Stack` has one above the other. `cells` makes
recurrent cells (it needs Flax), and `evaluation` looks at whole data sets.

Keys are consumed. Functions of one sequence (T, V) become those of a batch by `jax.vmap`; those
that learn take `Sequences`. T frames, V visible and H hidden units, B sequences of a batch.
"""

from dbn_jax.temporal.base import TemporalRBM, recall
from dbn_jax.temporal.conditional import ConditionalRBM, fit_autoregression, init_conditional
from dbn_jax.temporal.learning import cd_loss, exact_loss, step
from dbn_jax.temporal.likelihood import ais_log_probs, log_probs
from dbn_jax.temporal.prediction import complete, dream, predict
from dbn_jax.temporal.recurrent import RNNRBM, RTRBM, TRBM, init_rnn_rbm, init_rtrbm
from dbn_jax.temporal.sequences import Sequences
from dbn_jax.temporal.stack import Stack, features, lift
