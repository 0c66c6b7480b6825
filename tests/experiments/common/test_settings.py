"""One declaration of a setting: flags, checks, flagfile and JSON come from it."""

import dataclasses
import json
import re

import pytest
from absl import flags

from experiments.common.settings import Declared, about, above_0, group, only, setting


class Learning(Declared, title="Learning"):
    epochs: int = setting(30, "Passes.", at_least=1, at_most=1_000_000)
    rate: float = setting(0.1, "Rate.", at_least=0, below=2)
    learner: str | None = setting(None, "Learner.", choices=("cd", "pcd"))
    chains: int = setting(9, "Chains.", given=only("learner", "pcd"))
    rise: float = setting(0.5, "Rise.", given=above_0("rate"))


class Settings(Declared):
    source: str = setting(help="Folder.", folder=True)
    sizes: tuple[int, ...] = setting((500, 300), "Sizes.", at_least=1)
    names: tuple[str, ...] = setting(("a",), "Names.", choices=("a", "b"))
    labels: bool = setting(True, "Labels.")
    deep: bool = setting(True, "Depth.")
    seconds: float = setting(30.0, "Seconds.", decides=False)
    learning: Learning = group(Learning)
    top: Learning = group(
        Learning, prefix="top_", given=only("deep", True), rate=0.02, learner="pcd"
    )


def read(*line, cls=None):
    """What a command line becomes, of `Settings` or another class."""
    cls = cls or Settings
    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        patch.setattr(flags, "DEFINE", lambda *a, **k: define(*a, flag_values=values, **k))
        patch.setattr(
            flags, "DEFINE_bool", lambda *a, **k: define_bool(*a, flag_values=values, **k)
        )
        cls.define_flags()
        values(["program", *line])
        return cls.from_flags()


define, define_bool = flags.DEFINE, flags.DEFINE_bool


def test_flags_have_the_defaults_of_the_fields():
    assert read("--source=/x") == Settings(source="/x")
    assert read("--source=/x").top == Learning(rate=0.02, learner="pcd")


def test_flags_make_settings_of_every_type():
    line = ["--source=/x", "--sizes=3,4", "--names=b,a", "--nolabels", "--seconds=1", "--epochs=2"]
    found = read(*line, "--rate=1e-3", "--top_epochs=7", "--top_learner=cd")
    assert found == Settings(
        source="/x",
        sizes=(3, 4),
        names=("b", "a"),
        labels=False,
        seconds=1.0,
        learning=Learning(epochs=2, rate=1e-3),
        top=Learning(epochs=7, rate=0.02, learner="cd"),
    )


def test_folders_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read("--source=runs").source == str(tmp_path / "runs")
    assert read("--source=none").source == "none"
    assert read("--source=gs://bucket/x").source == "gs://bucket/x"


def test_values_that_may_be_paths_are_made_absolute_if_they_are(tmp_path, monkeypatch):
    class Own(Declared):
        data: str = setting("mnist", "Name or path.", folder=lambda text: text.endswith(".npz"))

    monkeypatch.chdir(tmp_path)
    assert read("--data=mine.npz", cls=Own).data == str(tmp_path / "mine.npz")
    assert read("--data=digits", cls=Own).data == "digits"


BAD = {
    "--epochs=0": "a whole number of at least 1 and at most 1,000,000",
    "--epochs=1.5": "a whole number of at least 1",
    "--epochs=2147483647": "a whole number of at least 1 and at most 1,000,000",
    "--chains=3000000000": "too large for a number of 32 bits",
    "--top_rate=-1": "a finite number of at least 0 and below 2",
    "--rate=nan": "a finite number of at least 0",
    "--rate=inf": "a finite number of at least 0",
    "--rate=2": "below 2",
    "--sizes=": "whole numbers of at least 1, separated by commas",
    "--sizes=3,x": "whole numbers of at least 1, separated by commas",
    "--sizes=3,0": "whole numbers of at least 1, separated by commas",
    "--names=a,c": "some of a, b, separated by commas",
    "--learner=sgd": "one of cd, pcd",
}


@pytest.mark.parametrize(("flag", "words"), BAD.items())
def test_bad_values_of_flags_are_named(flag, words):
    name, value = flag.split("=")
    with pytest.raises(flags.IllegalFlagValueError, match=re.escape(f"{name}={value}")) as error:
        read("--source=/x", flag)
    assert words in str(error.value)


def test_a_setting_without_default_is_required():
    with pytest.raises(ValueError, match=r"^--source is required: folder.$"):
        read()


IDLE = {
    "--chains=3": "--chains=3 does nothing with --learner=None; it goes with --learner=pcd",
    "--top_learner=cd --top_chains=3": "--top_chains=3 does nothing with --top_learner=cd; it goes "
    "with --top_learner=pcd",
    "--rate=0 --rise=1": "--rise=1.0 does nothing with --rate=0.0; it goes with --rate above 0",
    "--nodeep --top_epochs=3": "--top_epochs=3 does nothing with --deep=false; it goes with "
    "--deep=true",
}


@pytest.mark.parametrize(("line", "words"), IDLE.items())
def test_what_would_be_ignored_is_refused(line, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}; leave it out$"):
        read("--source=/x", *line.split())


def test_defaults_may_do_nothing():
    """Those of the class and of the group: flags.txt repeats them."""
    line = ["--chains=9", "--nodeep", "--top_rate=0.02", "--top_learner=pcd", "--top_chains=9"]
    assert read("--source=/x", *line) == Settings(source="/x", deep=False)


def test_a_command_can_refuse_what_does_nothing():
    Settings(source="/x").refuse(("sizes",), "here")
    with pytest.raises(ValueError, match=r"^--sizes=7,8 does nothing here; leave it out$"):
        Settings(source="/x", sizes=(7, 8)).refuse(("names", "sizes"), "here")


def test_errors_name_the_flags_they_are_about():
    with pytest.raises(ValueError, match=r"^--rate=2: too much$"), about("--rate=2"):
        raise ValueError("too much")


def test_help_says_what_a_flag_does_and_when_and_repeats_no_text():
    sections = Settings.help()
    assert list(sections) == ["Experiment", "Learning"]
    assert sections["Experiment"]["--source (required)"] == "Folder."
    assert sections["Experiment"]["--[no]labels (true)"] == "Labels."
    learning = sections["Learning"]
    assert learning["--epochs=30"] == (
        "Passes. A whole number of at least 1 and at most 1,000,000."
    )
    assert learning["--learner="] == "Learner. One of cd, pcd."
    assert learning["--chains=9"] == "Chains. A whole number. With --learner=pcd."
    assert learning["--top_rate=0.02"] == "As --rate."


@pytest.mark.parametrize(
    "make",
    [
        lambda: Learning(epochs=0),
        lambda: Learning(epochs=True),
        lambda: Learning(rate=float("nan")),
        lambda: Settings(source="x", sizes=()),
        lambda: Settings(source="x", names=("c",)),
        lambda: Settings(source=3),
    ],
)
def test_objects_are_checked_as_flags_are(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_json_is_read_back_as_the_same_object():
    made = Settings(source="/x", sizes=(7,), top=Learning(learner=None))
    text = json.dumps(dataclasses.asdict(made))
    assert Settings.from_json(json.loads(text)) == made
    with pytest.raises(ValueError, match="colour: no setting of"):
        Learning.from_json({"colour": 1})


def test_flagfiles_repeat_the_settings(tmp_path):
    made = Settings(source="/x", labels=False, learning=Learning(rate=1 / 3, learner="cd"))
    lines = [f"--{name}={text}" for name, text in made.as_flags().items()]
    (tmp_path / "flags.txt").write_text("\n".join(lines))
    assert read(f"--flagfile={tmp_path}/flags.txt") == made
    assert "learner" not in Learning().as_flags()
    with pytest.raises(ValueError, match="white space"):
        Settings(source="/x ").as_flags()


def test_what_no_result_depends_on_is_known():
    assert Settings.undecisive() == {"seconds"}
