"""A run that is killed anywhere and resumed ends as one that never was: bit for bit."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import soundfile

import keras_transfer.job.job
import keras_transfer.recipe.fitting
import keras_transfer.trackers.built_in
from keras_transfer import (
    AudioClassification,
    CheckpointError,
    ImageClassification,
    Recipe,
    Run,
    RunInterrupted,
    SpeechToText,
    TextClassification,
    TrainingError,
    TransferWarning,
)
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.config.recipe_file import write_recipe
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.heads.calibration import Fitted
from keras_transfer.job.job import Job
from keras_transfer.job.policy_choice import Choice
from keras_transfer.run.writer import RunWriter
from keras_transfer.storage import checkpoint_store as checkpoint
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.training.callbacks import Averages, NanGuard
from keras_transfer.training.checkpointing import Checkpointer, Checkpoints
from keras_transfer.training.interruption import Interruption
from keras_transfer.training.lr_finder import RangeTest

STEPS = 6  # 21 training images, four per step

STEP = (Checkpointer, "on_train_batch_end")
"""Before the checkpoint that the step may be due for; steps that are passed over count too."""
SAVE = (Checkpoints, "save")


@pytest.fixture(scope="module")
def images(tmp_path_factory, make_images):
    return make_images(tmp_path_factory.mktemp("data") / "images", {"cat": 16, "dog": 16}, size=20)


@pytest.fixture
def recipe(images, pebble):
    def make(policy, **sections):
        training = {"epochs": 3, "batch_size": 4, **sections.pop("training", {})}
        checkpoint = {"every_steps": 2, **sections.pop("checkpoint", {})}
        return ImageClassification(
            {"source": str(images), "image_size": 16, **sections.pop("data", {})},
            backbone="pebble",
            policy=policy,
            training=training,
            checkpoint=checkpoint,
            deterministic=True,
            **{"export": {"formats": []}, "report": False, **sections},
        )

    return make


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def metrics(folder):
    reports = json.loads((folder / "metrics.json").read_text())
    for report in reports.values():
        if report.get("gain"):
            report["gain"] = {key: value for key, value in report["gain"].items() if "seconds" not in key}
    return reports


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_same(resumed, unbroken):
    """All but the measured time is identical bit for bit, and the files are the same."""
    assert history(resumed.folder) == history(unbroken.folder)
    for a, b in zip(resumed.model.weights, unbroken.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    assert metrics(resumed.folder) == metrics(unbroken.folder)
    assert files(resumed.folder) == files(unbroken.folder)
    for name in ("recipe.yaml", "data.json"):
        assert (resumed.folder / name).read_text() == (unbroken.folder / name).read_text()


KILLS = {
    # Each process ends at some call: in the middle of an epoch, at its end, in a checkpoint, after a phase.
    "full, mixed images, no cache": (
        "full",
        {"cache": {"views": 0}, "augmentation": {"mixup": 0.4}},
        [(*STEP, 4), (*STEP, STEPS + 5), (keras_transfer.trackers.built_in, "plot_history", 1)],
    ),
    "lp_ft": (
        {"name": "lp_ft", "stage_decay": 0.5},
        {"training": {"l2_sp": 0.01, "keep_metric": "val_auroc"}},
        [(*SAVE, 1), (*STEP, 2 * STEPS + 1), (Job, "evaluate", 1)],
    ),
    "gradual, averages, early stopping": (
        {"name": "gradual", "groups": 2, "group_epochs": 2},
        {"training": {"ema": 0.9, "early_stopping": {"patience": 1}, "learning_rate": 0.05}},
        [(*STEP, 7), (keras_transfer.job.job, "train_phase", 2)],
    ),
    "lora, no validation rows, three batches per update": (
        {"name": "lora", "rank": 2},
        # The checkpoint of step 4 holds the gradients of one batch of three.
        {"training": {"keep": "last", "epochs": 2, "accumulate_steps": 3}, "data": {"validation": 0.0}},
        [(*STEP, STEPS)],
    ),
    "loss, metric and optimizer from Python": (
        "head",
        {
            "loss": keras.losses.CategoricalFocalCrossentropy(from_logits=True),
            "metrics": [keras.metrics.TopKCategoricalAccuracy(2, name="top_2"), keras.metrics.Recall(name="recall")],
            "optimizer": keras.optimizers.SGD(
                keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9), momentum=0.9, use_ema=True
            ),
            "training": {"keep_metric": "val_recall"},
        },
        [(*STEP, STEPS + 2), (Job, "evaluate", 1)],
    ),
    "head on cached views": (
        {"name": "head", "head_solver": "sgd"},
        {"augmentation": {"rotation": 20}, "head": {"hidden": 4}},
        # The first has just taken the checkpoint of the last step of an epoch that was not its last.
        [(*SAVE, 5), (*STEP, 2 * STEPS), (RunWriter, "write_model", 1)],
    ),
}


# test_observers.py resumes a run of two phases by default.
@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_a_killed_and_resumed_run_matches_an_unbroken_one(recipe, tmp_path, killed, name):
    policy, sections, kills = KILLS[name]
    unbroken = recipe(policy, **sections).fit(tmp_path / "unbroken")
    for number, kill in enumerate(kills):
        # A run that was killed before its first checkpoint starts again, with a warning.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TransferWarning)
            killed(lambda n=number: recipe(policy, **sections).fit(tmp_path / "resumed", resume=n > 0), *kill)
    assert (tmp_path / "resumed" / "checkpoints").is_dir()
    assert_same(recipe(policy, **sections).fit(tmp_path / "resumed", resume=True), unbroken)


@pytest.mark.slow
def test_texts_are_resumed_too(tmp_path, killed):
    random = np.random.default_rng(0)
    words = {"cat": ["purr", "sofa", "milk"], "dog": ["bark", "ball", "bone"]}
    rows = [
        {"text": " ".join(random.choice([*words[label], "the", "a"], random.integers(2, 9))), "label": label}
        for label in ("cat", "dog") * 12
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)
    preset = make_preset(tmp_path / "preset", words)

    def fit(folder, **options):
        recipe = TextClassification(
            str(tmp_path / "texts.csv"),
            backbone=str(preset),
            policy={"name": "last_stages", "stages": 1},
            training={"epochs": 2, "batch_size": 4},
            checkpoint={"every_steps": 2},
            export={"formats": []},
            report=False,
            deterministic=True,
        )
        return recipe.fit(tmp_path / folder, **options)

    unbroken = fit("unbroken")
    killed(lambda: fit("resumed"), *STEP, 7)
    assert_same(fit("resumed", resume=True), unbroken)


EVERY_CHANGE = {"gain": 6.0, "noise": 20.0, "speed": 0.1, "time_mask": 0.2, "frequency_mask": 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["audio_classification", "speech_to_text"])
def test_augmented_recordings_are_resumed_too(task, tmp_path, killed, pebble, speech_preset):
    random, lines = np.random.default_rng(0), ["path,text"]
    for number in range(24):
        label, time = ("low", "high")[number % 2], np.arange(8000 + 400 * (number % 5)) / 16_000
        file = tmp_path / "tones" / label / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.2 * np.sin((1500, 6000)[number % 2] * time) + random.normal(0, 0.01, len(time)), 16_000)
        lines.append(f"{file.relative_to(tmp_path)},{label} {number % 3}")
    (tmp_path / "texts.csv").write_text("\n".join(lines))

    def fit(folder, **options):
        training = {"epochs": 2, "batch_size": 4, "accumulate_steps": 2}
        common = {"checkpoint": {"every_steps": 1}, "export": {"formats": []}, "report": False, "deterministic": True}
        if task == "audio_classification":
            recipe = AudioClassification(
                {"source": str(tmp_path / "tones"), "image_size": 16},
                backbone="pebble",
                policy="full",
                augmentation={**EVERY_CHANGE, "shift": 0.1, "mixup": 0.3},
                training=training,
                **common,
            )
        else:
            recipe = SpeechToText(
                {"source": str(tmp_path / "texts.csv")},
                backbone=str(speech_preset("whisper")),
                head={"language": "en", "longest": 4},
                policy={"name": "lora", "rank": 2},
                augmentation=EVERY_CHANGE,
                training=training,
                **common,
            )
        return recipe.fit(tmp_path / folder, **options)

    unbroken = fit("unbroken")
    killed(lambda: fit("resumed"), *STEP, 7)
    assert_same(fit("resumed", resume=True), unbroken)


def make_preset(folder, words):
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "a",
        *(w for some in words.values() for w in some),
    ]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary, lowercase=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    )
    backbone.save_to_preset(str(folder))
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16).save_to_preset(str(folder))
    return folder


QUICK = {"name": "head", "head_solver": "sgd"}
NEVER = {"every_steps": None, "every_seconds": None}


def position(folder):
    return CheckpointStore(folder / "checkpoints").read()[1]["position"]


@pytest.fixture
def sigterm(monkeypatch):
    """``sigterm(owner, "name", 3)`` sends the signal at the third call."""

    def arm(owner, name, number):
        original, calls = getattr(owner, name), []

        def counted(*arguments, **options):
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    return arm


def test_sigterm_takes_a_checkpoint_at_the_next_step_and_exits_with_143(
    recipe, tmp_path, command, sigterm, monkeypatch
):
    file, out = tmp_path / "own.yaml", tmp_path / "run"
    made = recipe(QUICK, checkpoint=NEVER)
    write_recipe(made.config, file)
    sigterm(NanGuard, "on_train_batch_end", STEPS + 3)
    stopped = command("run", file, "--out", out)
    assert stopped.exit_code == 143
    assert stopped.stderr == (
        f"Error: The run in {out} was stopped by SIGTERM. Give the same command with --resume to continue.\n"
    )
    assert position(out) == {"phase": 0, "epoch": 1, "step": 3}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.undo()
    resumed = command("run", file, "--out", out, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "Resumed from checkpoint-000003 at phase 1, epoch 2, step 4" in resumed.stdout
    assert_same(Run(out), made.fit(tmp_path / "unbroken"))
    # Once more there is nothing to do.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = command("run", file, "--out", out, "--resume")
    assert (again.exit_code, again.stdout) == (0, f"The run in {out} is finished.\n")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.slow
def test_sigterm_does_not_wait_for_a_validation(recipe, tmp_path, sigterm, monkeypatch):
    made = recipe(QUICK, checkpoint=NEVER, training={"ema": 0.9, "epochs": 2})
    sigterm(Averages, "on_test_begin", 2)
    with pytest.raises(RunInterrupted, match="was stopped by SIGTERM"):
        made.fit(tmp_path / "run")
    assert position(tmp_path / "run") == {"phase": 0, "epoch": 1, "step": STEPS}
    monkeypatch.undo()
    assert_same(made.fit(tmp_path / "run", resume=True), made.fit(tmp_path / "unbroken"))


def test_sigterm_outside_of_training_is_raised_at_once():
    interruption = Interruption(Path("runs/mine"), grace_seconds=1)
    with pytest.raises(RunInterrupted, match="runs/mine was stopped by SIGTERM"), interruption.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal was not heard")
    assert RunInterrupted.exit_code == 143


def test_a_process_that_catches_the_interruption_is_not_killed(monkeypatch):
    killed = []
    monkeypatch.setattr(Interruption, "_give_up", lambda self: killed.append(self))
    interruption = Interruption(Path("run"), grace_seconds=0.05)
    with interruption.listening(), interruption.at_a_step():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked
    time.sleep(0.2)
    assert killed == []


def test_an_existing_handler_is_left_in_place():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with Interruption(Path("run"), grace_seconds=1).listening():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from keras_transfer.training.interruption import Interruption
interruption = Interruption(Path("run"), grace_seconds=float(sys.argv[1]))
with interruption.listening(), interruption.at_a_step():
    for _ in range(int(sys.argv[2])):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


@pytest.mark.parametrize(("grace", "signals", "code", "said"), [(0.1, 1, 143, "grace_seconds"), (60, 2, -15, "")])
def test_a_long_step_is_interrupted_after_the_grace_period_and_by_a_second_signal(grace, signals, code, said):
    command = [sys.executable, "-c", INTERRUPTED, str(grace), str(signals)]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == code, result.stderr
    assert said in result.stderr


SIGKILLED = """
import os, signal, sys
import keras_transfer.storage.checkpoint_store as checkpoint
from conftest import add_pebble
from keras_transfer import Recipe
add_pebble()
synced, original = 0, checkpoint.sync
def sync(path):
    global synced
    synced += 1
    if synced == 5 * 3 + 2:  # in the middle of the fourth checkpoint
        os.kill(os.getpid(), signal.SIGKILL)
    original(path)
checkpoint.sync = sync
Recipe.from_file(sys.argv[1]).fit(sys.argv[2])
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_writes_a_checkpoint(recipe, tmp_path):
    made = recipe(QUICK)
    write_recipe(made.config, tmp_path / "own.yaml")
    command = [sys.executable, "-c", SIGKILLED, str(tmp_path / "own.yaml"), str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    left = sorted(entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == [".unfinished-checkpoint-000004", "checkpoint-000002", "checkpoint-000003"]
    resumed = Recipe.from_file(tmp_path / "own.yaml").fit(tmp_path / "run", resume=True)
    assert_same(resumed, made.fit(tmp_path / "unbroken"))


@pytest.mark.slow
def test_a_resolved_auto_is_not_resolved_again(recipe, tmp_path, killed, monkeypatch):
    choice = Choice("head", "It is quick.", (), {"head": 1.0}, None)
    monkeypatch.setattr(keras_transfer.recipe.prepare, "choose_policy", lambda job: (job.with_policy("head"), choice))
    made = recipe({"name": "auto", "head_solver": "sgd"})
    killed(lambda: made.fit(tmp_path / "run"), *STEP, 8)

    def again(_):
        pytest.fail("the policy was chosen anew")

    monkeypatch.setattr(keras_transfer.recipe.prepare, "choose_policy", again)
    run = made.fit(tmp_path / "run", resume=True)
    assert run.config.policy.name == "head"
    record = json.loads((run.folder / "choice.json").read_text())
    assert (record["policy"], record["reason"]) == ("head", "It is quick.")
    seconds = sum(json.loads(line)["seconds"] for line in (run.folder / "history.jsonl").read_text().splitlines())
    assert record["seconds"] > seconds  # of both processes


@pytest.mark.slow
def test_a_learning_rate_that_was_found_is_not_searched_again(recipe, tmp_path, killed, monkeypatch):
    found = RangeTest("head", (0.001, 0.002), (1.0, 0.5))
    found.__dict__["learning_rate"] = 0.002
    monkeypatch.setattr(Job, "find_learning_rate", lambda self: found)
    made = recipe(QUICK, training={"learning_rate": "auto"})
    killed(lambda: made.fit(tmp_path / "run"), *STEP, 8)
    monkeypatch.setattr(Job, "find_learning_rate", lambda self: pytest.fail("the rate was looked for again"))
    assert made.fit(tmp_path / "run", resume=True).config.training.learning_rate == 0.002


def test_a_run_that_was_killed_before_or_in_its_export_is_exported(recipe, tmp_path, killed, monkeypatch):
    made = recipe("head", export={"formats": ["saved_model"]})
    killed(lambda: made.fit(tmp_path / "run"), Run, "export")
    exported = []

    def export(self, *, format, data):
        exported.append(self.folder)
        (self.folder / "export" / "saved_model" / "1").mkdir(parents=True)
        return self.folder, None

    monkeypatch.setattr(Run, "export", export)
    for _ in range(2):
        made.fit(tmp_path / "run", resume=True)
    assert exported == [tmp_path / "run"]


@pytest.mark.slow
def test_a_run_that_ends_on_a_full_disk_can_be_resumed(recipe, tmp_path, monkeypatch):
    made = recipe(QUICK)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    written = []
    original = checkpoint.save_file
    monkeypatch.setattr(
        checkpoint, "save_file", lambda *a: (written.append(1), full() if len(written) > 4 else original(*a))
    )
    monkeypatch.setattr(keras.Model, "save", full)
    with (
        pytest.warns(TransferWarning, match="The run continues, and checkpoint-000004 stays"),
        pytest.raises(
            CheckpointError, match=r"model\.keras cannot be written: No space left on device\. Free disk space"
        ),
    ):
        made.fit(tmp_path / "run")
    monkeypatch.undo()
    assert_same(made.fit(tmp_path / "run", resume=True), made.fit(tmp_path / "unbroken"))


def test_a_loss_that_is_nan_or_infinite_leaves_nothing_to_resume(recipe, tmp_path):
    made = recipe("full", training={"learning_rate": 1e38, "warmup": 0.0, "clip_norm": None})
    with pytest.raises(TrainingError, match=r"step \d+.*model\.keras"):
        made.fit(tmp_path / "run")
    assert all(np.isfinite(weight).all() for weight in Run(tmp_path / "run").model.get_weights())
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(CheckpointError, match="its loss became NaN or infinite"):
        made.fit(tmp_path / "run", resume=True)


@pytest.mark.slow
def test_steps_that_are_skipped_are_not_read(images, tmp_path):
    source = shutil.copytree(images, tmp_path / "images")
    rows = load_splits(ImageDataConfig(source=str(source)), seed=0).train
    reader = ImageReader(
        image_size=16, channels=3, resize="crop", augmentation=AugmentationConfig(rotation=20), seed=0, max_pixels=10**6
    )
    targets, weights = np.eye(2, dtype=np.float32)[rows.targets], np.ones(len(rows), np.float32)
    options = {"batch_size": 4, "seed": 0, "epochs": range(3, 5)}
    steps = -(-len(rows) // 4)
    every = list(reader.training_batches(rows, targets, weights, **options).as_numpy_iterator())
    order = list(reader.order(rows, **options).as_numpy_iterator())
    assert len(every) == 2 * steps
    for skip in (0, 3, steps, steps + 5, 2 * steps):
        left = list(reader.training_batches(rows, targets, weights, **options, skip=skip).as_numpy_iterator())
        assert len(left) == 2 * steps - skip
        for a, b in zip(every[skip:], left, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])
    # The images of skipped steps need not even be there.
    for _, skipped in order[steps : steps + 5]:
        for row in skipped:
            Path(rows.examples.files[row]).unlink()
    left = list(reader.training_batches(rows, targets, weights, **options, skip=steps + 5).as_numpy_iterator())
    np.testing.assert_array_equal(left[0][0], every[steps + 5][0])


@pytest.mark.slow
def test_twenty_kills_in_one_run(recipe, tmp_path, killed):
    sections = {"cache": {"views": 0}, "training": {"epochs": 4, "ema": 0.9}}
    random = np.random.default_rng(0)
    unbroken = recipe("lp_ft", **sections).fit(tmp_path / "unbroken")
    for number in range(20):
        kill = (*STEP, int(random.integers(2, 6))) if number % 3 else (*SAVE, int(random.integers(2, 4)))
        try:
            killed(lambda n=number: recipe("lp_ft", **sections).fit(tmp_path / "resumed", resume=n > 0), *kill)
        except pytest.fail.Exception:
            break  # it has finished
    assert number > 5
    assert_same(recipe("lp_ft", **sections).fit(tmp_path / "resumed", resume=True), unbroken)


@pytest.mark.slow
def test_a_solved_head_without_validation_rows_is_calibrated_on_held_out_rows_also_when_resumed(
    recipe, killed, tmp_path
):
    made = recipe("head", data={"validation": 0.0}, training={"keep": "last"})
    unbroken = made.fit(tmp_path / "unbroken")
    rows = len(unbroken.record["splits"]["train"]["rows"])
    assert unbroken.head.calibration.fitted == Fitted("train", rows)
    # The solver has calibrated it on the same rows.
    assert unbroken.head.calibration.values == pytest.approx((1.0,), rel=0.01)
    killed(lambda: made.fit(tmp_path / "run"), RunWriter, "write_model")
    resumed = made.fit(tmp_path / "run", resume=True)
    assert_same(resumed, unbroken)
    assert resumed.head == unbroken.head
