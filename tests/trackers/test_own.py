"""The trackers that every run has: history.jsonl, history.png and the progress line."""

import io
import json

import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn

from keras_transfer import TransferWarning
from keras_transfer.testing import check_tracker
from keras_transfer.trackers.built_in import ConsoleTracker, HistoryTracker, PlotTracker
from keras_transfer.trackers.records import PhaseEnded, StepEnded


def test_history_has_a_line_for_each_epoch(play):
    file = play.folder / "history.jsonl"
    file.write_text("what a killed run left\n")
    play.whole(HistoryTracker(file))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"phase": "head", "epoch": 1, "loss": 0.75, "val_loss": 0.875, "strength": 2.0, "seconds": 0.5},
        {"phase": "full", "epoch": 1, "loss": 0.5, "val_loss": 0.625, "seconds": 1.25},
        {"phase": "full", "epoch": 2, "loss": 0.25, "val_loss": 0.375, "seconds": 1.5},
    ]


def test_history_of_a_resumed_run_has_each_epoch_once(play):
    file = play.folder / "history.jsonl"
    first, second = HistoryTracker(file), HistoryTracker(file)
    play.start(first)
    play.train(first, play.epochs[:1])
    state = first.get_state()
    play.train(first, play.epochs[1:2])  # after the last checkpoint
    second.set_state(state)
    play.start(second, resumed=True)
    play.train(second, play.epochs[1:])
    assert [json.loads(line)["loss"] for line in file.read_text().splitlines()] == [0.75, 0.5, 0.25]


def test_a_line_that_cannot_be_written_is_a_warning(play):
    (play.folder / "history.jsonl").mkdir()
    tracker = HistoryTracker(play.folder / "history.jsonl")
    with pytest.warns(TransferWarning, match=r"history\.jsonl lacks a line: Is a directory\. The run continues\."):
        play.train(tracker, play.epochs[:1])


def test_the_plot_is_drawn_from_the_history(play):
    history, image = play.folder / "history.jsonl", play.folder / "history.png"
    play.whole(HistoryTracker(history))
    plot = PlotTracker(history, image)
    play.start(plot)
    image.unlink()
    play.end(plot)
    with Image.open(image) as drawn:
        assert drawn.size == (1080, 420)  # 9 by 3.5 inches at 120 dots


@pytest.fixture
def terminal(monkeypatch):
    """What the progress line writes, as on a terminal; at its end, what is left there."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=200, color_system=None)

    def make():
        columns = (TextColumn("{task.description} {task.completed}/{task.total} {task.fields[metrics]}"),)
        return Progress(*columns, console=console, transient=True, auto_refresh=False)

    monkeypatch.setattr("keras_transfer.trackers.built_in.make_progress", make)
    return file


def test_the_progress_line_moves_and_leaves_a_line_for_each_epoch(play, terminal):
    tracker = ConsoleTracker()
    full = play.epochs[1].phase
    tracker.phase_started(full)
    tracker.step_ended(StepEnded(full, 2, 3, {"loss": 0.3}))
    tracker._progress.refresh()
    tracker.epoch_ended(play.epochs[2])
    tracker.phase_ended(PhaseEnded(full, 2))
    written = terminal.getvalue()
    assert "full epoch 2/2 8/10 loss 0.3000" in written  # 5 steps of the first epoch and 3 of the second
    assert "full epoch 2/2  loss 0.2500  val_loss 0.3750\n" in written


def test_a_solved_head_shows_no_line(play, terminal):
    tracker = ConsoleTracker()
    tracker.phase_started(play.epochs[0].phase)
    tracker.epoch_ended(play.epochs[0])
    assert terminal.getvalue() == ""


def test_the_line_is_removed_when_a_run_fails(play, terminal):
    tracker = ConsoleTracker()
    tracker.phase_started(play.epochs[1].phase)
    tracker.run_failed(KeyboardInterrupt())
    assert tracker._progress is None
    assert terminal.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # cursor shown, line erased


def test_they_satisfy_the_contract(tmp_path, terminal):
    history = tmp_path / "history.jsonl"
    for tracker in (HistoryTracker(history), PlotTracker(history, tmp_path / "history.png"), ConsoleTracker()):
        check_tracker(tracker)
        history.write_text('{"phase": "full", "epoch": 1, "loss": 0.5, "accuracy": 0.5}\n')
