import subprocess
import sys
import warnings

import pytest
from pydantic import Field, StrictInt

from keras_transfer import ConfigError, TransferWarning
from keras_transfer.config.section import NamedSettings, Section
from keras_transfer.testing import check_tracker
from keras_transfer.trackers import TRACKERS
from keras_transfer.trackers.base import Tracker, import_package, make_trackers
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.logged import find_git_commit, list_epoch_metrics, list_parameters, list_report_metrics
from keras_transfer.trackers.records import EpochEnded, PhaseStarted, ReportMade, RunStarted


class Recorder(Tracker):
    def __init__(self):
        super().__init__()
        self.calls = []

    def run_started(self, run):
        self.calls.append("run_started")

    def epoch_ended(self, epoch):
        self.calls.append(("epoch_ended", epoch.metrics["loss"]))

    def run_ended(self, result):
        self.calls.append("run_ended")


class Failing(Recorder):
    def epoch_ended(self, epoch):
        super().epoch_ended(epoch)
        raise ConnectionError("the server is gone")


def test_a_tracker_that_fails_warns_once_and_the_others_continue(play):
    before, failing, after = Recorder(), Failing(), Recorder()
    with pytest.warns(TransferWarning) as warned:
        play.whole(Trackers([before, failing, after]))
    assert [str(warning.message) for warning in warned] == [
        "Tracker Failing failed in epoch_ended: ConnectionError: the server is gone. The run continues without it."
    ]
    losses = [("epoch_ended", loss) for loss in (0.75, 0.5, 0.25)]
    assert before.calls == after.calls == ["run_started", *losses, "run_ended"]
    assert failing.calls == ["run_started", losses[0]]


def test_a_signal_to_stop_passes_through_a_tracker(play):
    class Stopped(Tracker):
        def epoch_ended(self, epoch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play.whole(Trackers([Stopped()]))


class Counter(Tracker):
    """Counts epochs over the processes of a run."""

    epochs = 0

    def epoch_ended(self, epoch):
        self.epochs += 1

    def get_state(self):
        return {"epochs": self.epochs}

    def set_state(self, state):
        self.epochs = state["epochs"]


def test_states_are_restored_to_their_own_tracker(play):
    first, second = Counter(), Counter()
    before = Trackers([first, Recorder(), second])
    play.train(before)
    second.epochs = 7
    resumed = [Recorder(), Counter(), Counter(), Counter()]
    after = Trackers(resumed)
    after.set_state(before.get_state())
    assert [tracker.epochs for tracker in resumed[1:]] == [3, 7, 0]
    assert after.run_epochs == 3


def test_an_error_in_get_state_is_a_failure_of_the_tracker():
    class Broken(Tracker):
        def get_state(self):
            raise OSError("no file")

    with pytest.warns(TransferWarning, match="Broken failed in get_state: OSError: no file"):
        state = Trackers([Broken(), Counter()]).get_state()
    assert state["trackers"] == {"Broken-1": None, "Counter-1": {"epochs": 0}}


class LoggerSettings(Section):
    every: StrictInt = Field(default=1, description="epochs between two lines")


class Logger(Tracker):
    Settings = LoggerSettings


def test_settings_are_checked_when_a_tracker_is_created():
    assert Logger(every=3).settings.every == 3
    assert Logger().settings.every == 1
    with pytest.raises(ConfigError, match=r"Logger: evry: .*not permitted.*Settings: every\."):
        Logger(evry=3)
    with pytest.raises(ConfigError, match=r"Logger: every: .*valid integer"):
        Logger(every="often")
    with pytest.raises(ConfigError, match=r"Recorder: every: .*Settings: none"):
        type("Recorder", (Tracker,), {})(every=1)


def test_trackers_are_made_by_name_or_given_as_objects(monkeypatch):
    monkeypatch.setattr(TRACKERS, "_values", {**TRACKERS._values, "logger": Logger})
    own = Recorder()
    made = make_trackers([NamedSettings(name="logger", every=5)], [own, "logger"])
    assert [type(tracker) for tracker in made] == [Logger, Recorder, Logger]
    assert (made[0].settings.every, made[1], made[2].settings.every) == (5, own, 1)
    with pytest.raises(ConfigError, match=r"no tracker named 'tensorbord'\. Did you mean tensorboard"):
        make_trackers([], ["tensorbord"])
    with pytest.raises(ConfigError, match=r"expected Tracker objects or names. Received: .*callbacks=\[...\]"):
        make_trackers([], [object()])


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_package_that_is_missing_is_named_with_the_extra_before_training(name, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ConfigError) as raised:
        make_trackers([NamedSettings(name=name)])
    assert f"pip install 'keras-transfer[{name}]'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_package_lacks_is_named():
    with pytest.raises(ConfigError, match="tracker mlflow needs the package no_such_package"):
        import_package("no_such_package.inner", tracker="mlflow")


def test_the_seam_imports_neither_tensorflow_nor_a_tracker():
    code = (
        "import sys, keras_transfer.trackers; "
        "print({'tensorflow', 'keras', 'tensorboard', 'mlflow', 'wandb', 'trackio'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_parameters_are_flat_and_plain(tmp_path):
    recipe = {"seed": 0, "data": {"test": 0.2, "folds": None}, "head": {"label_texts": {"black cat": "black"}}}
    assert list_parameters(RunStarted(tmp_path, recipe, git_commit="ab", fingerprints={"test": "cd"})) == {
        "seed": 0,
        "data.test": 0.2,
        "data.folds": "null",
        "head.label_texts": '{"black cat": "black"}',
        "git_commit": "ab",
        "fingerprint.test": "cd",
    }
    assert "git_commit" not in list_parameters(RunStarted(tmp_path, recipe))


def test_a_run_of_one_phase_has_its_metrics_once():
    phase = PhaseStarted("full", 1, 1, 8, 10)
    metrics = list_epoch_metrics(EpochEnded(phase, 2, 2, {"loss": 0.5}, 3.0))
    assert metrics == {"loss": 0.5, "seconds": 3.0, "phase": 1.0}


def test_the_name_of_a_phase_is_part_of_metric_names():
    phase = PhaseStarted("stages 3: last", 2, 2, 8, 10)
    assert list_epoch_metrics(EpochEnded(phase, 1, 3, {"loss": 0.5}, 3.0))["phase_2_stages_3_last/loss"] == 0.5


def test_metrics_of_a_report_are_its_numbers_for_the_whole_split():
    metrics = {"n": 4, "auroc": None, "confusion": [[1, 2]], "gain": {"points": 0.5, "sure": True}}
    report = ReportMade("test", {**metrics, "classes": {"black cat": {"f1": 0.5}, "dog": {"f1": 1.0}}})
    assert list_report_metrics(report) == {"test/n": 4.0, "test/gain.points": 0.5}


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_git_commit() is None
    git(tmp_path, "init", "--quiet")
    assert find_git_commit() is None  # nothing is committed yet
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert len(head) == 40
    assert find_git_commit() == head
    (tmp_path / "untracked.txt").write_text("2")
    assert find_git_commit() == head
    (tmp_path / "train.py").write_text("2")
    assert find_git_commit() == f"{head}-dirty"
    monkeypatch.setenv("PATH", "")
    assert find_git_commit() is None


def test_a_tracker_that_does_nothing_satisfies_the_contract():
    check_tracker(Tracker())
    check_tracker(Trackers([Counter(), Counter()]))


class Raising(Tracker):
    def report_made(self, report):
        raise ValueError("no such figure")


class Writing(Tracker):
    def run_ended(self, result):
        (result.folder / "metrics.json").write_text("{}")


class Random(Tracker):
    def epoch_ended(self, epoch):
        import random

        random.random()


class Changing(Tracker):
    def epoch_ended(self, epoch):
        epoch.metrics["loss"] = 0.0


class Holding(Tracker):
    def get_state(self):
        return {"client": object()}


@pytest.mark.parametrize(
    ("tracker", "problem"),
    [
        (Raising, "no such figure"),
        (Random, "epoch_ended does not use global random states"),
        (Changing, "epoch_ended leaves what it receives as it is"),
        (Writing, "files of the run folder stay as they are"),
        (Holding, r"get_state returns mappings .* Received: .*it\['client'\] is of type object"),
    ],
)
def test_what_breaks_the_contract_is_found(tracker, problem):
    with pytest.raises((AssertionError, ValueError), match=problem), warnings.catch_warnings():
        check_tracker(tracker())
