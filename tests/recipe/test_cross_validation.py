import json

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from keras_transfer import CheckpointError, ConfigError, DataError, ImageClassification, Run, Tracker
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.recipe import cross_validation as module
from keras_transfer.training.checkpointing import Checkpointer

QUICK = {
    "backbone": {"name": "tiny", "weights": "none"},
    "policy": "full",
    "training": {"epochs": 1, "batch_size": 16},
    "export": {"formats": []},
    "image_size": 32,
}


def folds_of(source, folds, seed=0, **options):
    return [
        load_splits(ImageDataConfig(source=str(source), folds=folds, fold=fold, **options), seed=seed)
        for fold in range(1, folds + 1)
    ]


def test_every_row_is_a_test_row_once_and_folds_are_stratified(images):
    folds = folds_of(images, 4, validation=0.25)
    names = [name for splits in folds for name in splits.test.examples.names]
    assert len(names) == len(set(names)) == 32
    for splits in folds:
        assert np.bincount(splits.test.targets).tolist() == [4, 4]
        assert np.bincount(splits.validation.targets).tolist() == [3, 3]
        rest = [*splits.train.examples.names, *splits.validation.examples.names, *splits.test.examples.names]
        assert len(set(rest)) == 32
    again = folds_of(images, 4, validation=0.25)
    assert [s.test.examples.names for s in again] == [s.test.examples.names for s in folds]
    assert folds_of(images, 4, seed=1)[0].test.examples.names != folds[0].test.examples.names


def test_groups_stay_together_in_a_fold(images):
    files = sorted(images.glob("*/*"))
    groups = {str(file): f"g{number % 8}" for number, file in enumerate(files)}
    table = images.parent / "t.csv"
    frame = pd.DataFrame({"path": files, "label": [file.parent.name for file in files], "who": groups.values()})
    frame.to_csv(table, index=False)
    folds = folds_of(table, 4, group="who", validation=0.25)
    homes = [{groups[name] for name in splits.test.examples.names} for splits in folds]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 8
    with pytest.raises(
        DataError, match=r"data\.folds=9 exceeds the number of groups of 'who' in the smallest class of .*: 'cat' has 8"
    ):
        folds_of(table, 9, group="who")


def test_one_run_folder_per_fold_and_a_summary(command, tiny, images, tmp_path):
    recipe = tmp_path / "own.yaml"
    sections = {key: value for key, value in QUICK.items() if key != "image_size"} | {"policy": {"name": "full"}}
    data = {"source": str(images), "image_size": 32, "folds": 2, "validation": 0.25}
    recipe.write_text(yaml.safe_dump({"task": "image_classification", "data": data, **sections}), encoding="utf-8")
    result = command("run", recipe, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    names = ["fold-1", "fold-2"]
    assert summary["runs"] == names
    runs = [Run(tmp_path / "out" / name) for name in names]
    reports = [run.reports["test"] for run in runs]
    values = [report.accuracy for report in reports]
    figure = summary["test"]["accuracy"]
    assert figure["values"] == values
    assert [figure["mean"], figure["std"]] == pytest.approx([np.mean(values), np.std(values, ddof=1)])
    assert summary["confusion"] == np.sum([report.confusion for report in reports], axis=0).tolist()
    assert np.sum(summary["confusion"]) == 32
    # Each is a run like any other.
    again = runs[1].evaluate()
    assert again.confusion == reports[1].confusion
    # The saved model applies its temperature in float32.
    assert again.loss == pytest.approx(reports[1].loss, rel=1e-4)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f'<data value="{figure["mean"]!r}">' in page
    assert "Confusion over 2 runs" in result.output


class _Counts(keras.callbacks.Callback, Tracker):
    """Counts as a callback and as a tracker, for it is both."""

    def __init__(self):
        super().__init__()
        self.steps, self.folders = 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def run_ended(self, result):
        self.folders.append(result.folder.name)


@pytest.mark.slow
def test_callbacks_and_trackers_follow_every_run(tiny, images, tmp_path):
    counts = _Counts()
    quick = QUICK | {"training": {"epochs": 1, "keep": "last", "batch_size": 16}}
    recipe = ImageClassification(str(images), **quick, folds=2, validation=0)
    module.cross_validate(recipe, tmp_path / "out", callbacks=[counts], trackers=[counts])
    assert counts.folders == ["fold-1", "fold-2"]
    assert counts.steps == 2  # 16 training rows are one batch in each


@pytest.mark.slow
def test_runs_that_were_interrupted_are_resumed_with_the_same_recipe(tiny, images, killed, tmp_path):
    def recipe(**options):
        return ImageClassification(str(images), **(QUICK | {"folds": 2} | options))

    killed(lambda: module.cross_validate(recipe(), tmp_path / "out"), Checkpointer, "on_train_batch_end", 2)
    done = (tmp_path / "out" / "fold-1" / "model.keras").stat().st_mtime_ns
    assert not (tmp_path / "out" / "fold-2" / "metrics.json").exists()
    with pytest.raises(ConfigError, match=r"not the recipe[\s\S]*training\.epochs: 1 when the run was started, 2 now"):
        module.cross_validate(recipe(training={"epochs": 2, "batch_size": 16}), tmp_path / "out", resume=True)
    resumed = module.cross_validate(recipe(), tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "fold-1" / "model.keras").stat().st_mtime_ns == done
    assert [run.folder.name for run in resumed.runs] == ["fold-1", "fold-2"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"other is not empty"):
        module.cross_validate(recipe(), tmp_path / "other", resume=True)


@pytest.mark.parametrize(
    ("data", "runs"),
    [
        ({"repeats": 2}, [("repeat-1", 5, None), ("repeat-2", 6, None)]),
        ({"folds": 2, "fold": 2, "repeats": 2}, [("repeat-1-fold-2", 5, 2), ("repeat-2-fold-2", 6, 2)]),
        (
            {"folds": 2, "repeats": 2},
            [(f"repeat-{repeat}-fold-{fold}", 4 + repeat, fold) for repeat in (1, 2) for fold in (1, 2)],
        ),
    ],
)
def test_each_run_has_a_name_a_seed_and_a_fold(tiny, data, runs):
    recipe = ImageClassification("x", seed=5, **data, **QUICK)
    assert recipe.config.data.is_several_runs
    planned = list(module._plan(recipe.config))
    assert [(name, config.seed, config.data.fold) for name, config in planned] == runs
    assert not any(config.data.is_several_runs for _, config in planned)


@pytest.mark.parametrize(
    ("data", "needs"),
    [
        ({"folds": 3, "fold": 4}, ["no fold 4 of data.folds=3"]),
        ({"fold": 1}, ["no fold 1 of data.folds=None"]),
        ({"folds": 3, "test": "elsewhere"}, ["data.test names a source"]),
        ({"folds": 1}, ["data.folds", "greater than or equal to 2"]),
        ({"repeats": 2, "test": 0}, ["data.repeats", "data.test is 0"]),
    ],
)
def test_conflicting_settings_are_refused(tiny, data, needs):
    with pytest.raises(ConfigError) as refusal:
        ImageClassification("x", **data, **QUICK)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_fit_is_one_run(tiny, images):
    with pytest.raises(ConfigError, match=r"several runs\. Use cross_validate"):
        ImageClassification(str(images), folds=3, **QUICK).fit()


def test_more_folds_than_the_smallest_class(images, make_images):
    with pytest.raises(
        DataError, match=r"data\.folds=17 exceeds the number of rows in the smallest class of .*: 'cat' has 16"
    ):
        folds_of(images, 17)
    root = images.parent / "divided"
    make_images(root / "train", {"cat": 4, "dog": 4}, size=8)
    make_images(root / "test", {"cat": 4, "dog": 4}, size=8)
    with pytest.raises(DataError, match=r"defines test rows"):
        folds_of(root, 2)
