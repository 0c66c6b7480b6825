"""Each flagfile holds settings of its command."""

import importlib
import inspect

import pytest
from absl import flags
from absl.testing import flagsaver

from tests import binaries

FOLDER = binaries.ROOT / "experiments/flagfiles"
COMMANDS = {  # by the first letters of the file's name
    "autoencoder": "train_autoencoder",
    "cars": "train_convolutional",
    "classifier": "finetune_classifier",
    "convolutional": "train_convolutional",
    "dbn": "train_dbn",
    "digit_model_greedy": "train_dbn",
    "digit_model_memory": "finetune_memory",
    "digit_model_updown": "finetune_updown",
    "features": "train_rbm",
    "photographs": "train_convolutional",
    "rbm": "train_rbm",
    "sequences": "train_sequences",
    "updown": "finetune_updown",
}


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_a_flagfile_holds_settings_of_its_command(path):
    (command,) = {of for start, of in COMMANDS.items() if path.stem.startswith(start)}
    module = importlib.import_module(f"experiments.{command}")
    with flagsaver.flagsaver():  # which removes the flags in the end
        module.Settings.define_flags()
        line = ["--pretrained=/net"] if "finetune" in module.__name__ else []
        flags.FLAGS(["program", f"--flagfile={path}", *line])
        assert module.Settings.from_flags()
    assert inspect.getsource(module).endswith("runs.main(run, Settings)\n")
