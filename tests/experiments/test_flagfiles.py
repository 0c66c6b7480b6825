"""Each flagfile holds settings of its command."""

import importlib

import pytest
from absl import flags
from absl.testing import flagsaver

from tests import binaries

FOLDER = binaries.ROOT / "experiments/flagfiles"
COMMANDS = {
    "autoencoder": "train_autoencoder",
    "classifier": "finetune_classifier",
    "classifier_2006": "finetune_classifier",
    "dbn_500_2000": "train_dbn",
    "dbn_mnist": "train_dbn",
    "digit_model_greedy": "train_dbn",
    "digit_model_memory": "finetune_memory",
    "digit_model_updown": "finetune_updown",
    "features_of_twos": "train_rbm",
    "rbm_500_cd1": "train_rbm",
    "rbm_500_cd25": "train_rbm",
    "rbm_500_pcd": "train_rbm",
    "updown_2006": "finetune_updown",
}


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_a_flagfile_holds_settings_of_its_command(path):
    module = importlib.import_module(f"experiments.{COMMANDS[path.stem]}")
    with flagsaver.flagsaver():  # which removes the flags in the end
        module.Settings.define_flags()
        line = ["--pretrained=/net"] if "finetune" in module.__name__ else []
        flags.FLAGS(["program", f"--flagfile={path}", *line])
        assert module.Settings.from_flags()
