"""Run folders that cannot be resumed, or not so: each difference is named, and nothing is touched."""

import shutil
from dataclasses import replace

import keras
import pytest
import yaml

from keras_transfer import ImageClassification, TransferWarning
from keras_transfer.config.recipe_file import write_recipe
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.training.checkpointing import Checkpointer


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_images, pebble, killed):
    """A recipe file, its images, and the folder of its run, which was killed after seven steps."""
    root = tmp_path_factory.mktemp("interrupted")
    images = make_images(root / "images", {"cat": 16, "dog": 16}, size=20)
    recipe = ImageClassification(
        {"source": str(images), "image_size": 16},
        backbone="pebble",
        policy={"name": "head", "head_solver": "sgd"},
        training={"epochs": 3, "batch_size": 4},
        checkpoint={"every_steps": 2},
        export={"formats": []},
        report=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        write_recipe(recipe.config, root / "own.yaml")
        killed(lambda: recipe.fit(root / "run"), Checkpointer, "on_train_batch_end", 8)
    return root


@pytest.fixture
def recipe(place):
    return place / "own.yaml"


@pytest.fixture
def folder(place, tmp_path):
    return shutil.copytree(place / "run", tmp_path / "run")


@pytest.fixture
def unchanged(folder):
    """What was refused has changed nothing."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_resume_without_a_folder(refused, recipe):
    refused("run", recipe, "--resume", needs=["--resume", "Name its folder with --out"])


@pytest.mark.parametrize("kind", ["thesis", "file", "images"])
def test_a_path_that_is_not_a_run(refused, recipe, place, tmp_path, kind):
    out = {"thesis": tmp_path / "thesis", "file": tmp_path / "file", "images": place / "images"}[kind]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("do not touch")
    (tmp_path / "file").write_text("do not touch")
    needs = ["is a file"] if kind == "file" else ["is not a run folder, so it cannot be resumed"]
    refused("run", recipe, "--out", out, "--resume", needs=[out, *needs])


@pytest.mark.usefixtures("unchanged")
def test_an_unfinished_run_is_not_overwritten(refused, recipe, folder):
    refused("run", recipe, "--out", folder, needs=[folder, "holds an unfinished run", "--resume"])


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("words", [["predict", "{run}", "x.png"], ["evaluate", "{run}"], ["export", "{run}"]])
def test_an_unfinished_run_cannot_be_used(refused, folder, words):
    message = refused(*(word.format(run=folder) for word in words), needs=[folder, "has not finished"])
    assert f"keras-transfer run {folder}/recipe.yaml --out {folder} --resume" in message


@pytest.mark.usefixtures("unchanged")
def test_another_recipe_is_refused_with_the_changed_keys(refused, recipe, folder):
    message = refused(
        *("run", recipe, "training.epochs=9", "policy={name: full}", "augmentation.rotation=5.0", "--out", folder),
        "--resume",
        needs=["not the recipe that the run was started with", "or choose another --out"],
        most_lines=6,
    )
    assert message.splitlines()[1:4] == [
        "  policy.name: head when the run was started, full now",
        "  training.epochs: 3 when the run was started, 9 now",
        "  augmentation.rotation: 0.0 when the run was started, 5.0 now",
    ]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("change", "needs"),
    [
        (lambda rows: rows[0].unlink(), ["train count: 21 when the run was started, 20 now"]),
        (lambda rows: rows[0].write_bytes(rows[0].read_bytes() + b" "), ["train: 21 rows as before, but other ones"]),
    ],
    ids=["fewer", "changed"],
)
def test_changed_data_is_refused_with_its_split(refused, place, folder, tmp_path, change, needs):
    kept = shutil.copytree(place / "images", tmp_path / "kept")
    rows = [tmp_path / "run" / "data.json"]
    names = [name for name, _ in yaml.safe_load(rows[0].read_text())["splits"]["train"]["rows"]]
    try:
        change([place / "images" / names[0]])
        refused("run", place / "own.yaml", "--out", folder, "--resume", needs=["The data has changed since", *needs])
    finally:
        shutil.rmtree(place / "images")
        shutil.copytree(kept, place / "images")


def test_no_undamaged_checkpoint(refused, recipe, folder):
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{")
    refused(
        "run",
        recipe,
        "--out",
        folder,
        "--resume",
        needs=["is damaged", "There is no other checkpoint", "another --out"],
    )
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        assert manifest.read_text() == "{"


def spoil(folder, change):
    """Write a checkpoint whose sums are right, and whose content is not that of the run."""
    store = CheckpointStore(folder / "checkpoints")
    _, state = store.read()
    change(state)
    store.write(state)


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        (lambda state: state.update(position={"phase": 98, "epoch": 0, "step": 0}), ["phase 99", "has 1 phases"]),
        (lambda state: state.update(position={"phase": 0, "epoch": 4, "step": 0}), ["epoch 4", "of 3 epochs"]),
        (lambda state: state.update(position={"phase": 0, "epoch": 0, "step": 7}), ["step 7", "6 steps each"]),
        (lambda state: state.update(position=[0, 0, 0]), ["position", "is damaged"]),
        (lambda state: state.update(run=None), ["run", "is damaged"]),
        (lambda state: state["run"].update(recipe=3), ["run.recipe", "is damaged"]),
        (lambda state: state["run"].update(resolved={"task": 5}), ["The recipe in the checkpoint has a mistake"]),
        (lambda state: state["run"]["splits"].pop("train"), ["The checkpoint is damaged", "train"]),
        (lambda state: state.update(weights=7), ["weights cannot be restored"]),
        (lambda state: state.update(weights=[1] * len(state["weights"])), ["weights cannot be restored"]),
        (lambda state: state.update(weights=state["weights"][1:]), ["does not fit the run's weights"]),
        (lambda state: state.update(weights=[w.astype("int64") for w in state["weights"]]), ["shape or type"]),
        (lambda state: state.update(seconds="long"), ["seconds cannot be restored"]),
        (lambda state: state.update(trackers=[]), ["trackers cannot be restored"]),
        (lambda state: state.update(best_weights={"value": "x", "weights": 1}), ["best_weights cannot be restored"]),
        (lambda state: state.update(optimizer={}), ["optimizer"]),
        (lambda state: state.update(trained="all"), ["trained cannot be restored"]),
        (lambda state: state.pop("trained"), ["trained cannot be restored"]),
        (lambda state: state.update(metrics=None, position={"phase": 0, "epoch": 1, "step": 2}), ["metrics"]),
    ],
)
def test_a_checkpoint_with_valid_checksums_and_wrong_content(refused, recipe, folder, change, needs):
    spoil(folder, change)
    refused("run", recipe, "--out", folder, "--resume", needs=needs)


def test_another_trainable_set(refused, recipe, folder, monkeypatch):
    original = Checkpointer.__init__
    monkeypatch.setattr(
        Checkpointer,
        "__init__",
        lambda self, checkpoints, phase: original(self, checkpoints, replace(phase, trained=phase.trained[1:])),
    )
    refused(
        *("run", recipe, "--out", folder, "--resume"),
        needs=[
            "Phase 1 trains 1 variables now, and trained 2 when the run was started: 0 were frozen then, 1 are frozen"
        ],
    )


def test_a_newer_keras_is_a_warning_and_more_checkpoints_are_the_same_recipe(folder, command, monkeypatch):
    from keras_transfer.distribution import environment

    original = environment.version
    monkeypatch.setattr(environment, "version", lambda name: "99.1" if name == "keras" else original(name))
    with pytest.warns(TransferWarning) as caught:
        result = command("run", folder / "recipe.yaml", "checkpoint.every_steps=5", "--out", folder, "--resume")
    assert result.exit_code == 0, result.output
    assert "Resumed from checkpoint-000005 at phase 1, epoch 2, step 1" in result.stdout
    (warning,) = (str(w.message) for w in caught if "may differ in the last digits" in str(w.message))
    assert f"  versions.keras: {keras.__version__} when the run was started, 99.1 now" in warning


def test_a_run_with_nothing_to_resume_starts_with_a_warning(recipe, tmp_path, command, killed):
    with pytest.warns(TransferWarning, match=r"no checkpoint to resume from in .*new/checkpoints: the run starts from"):
        killed(
            lambda: command("run", recipe, "--out", tmp_path / "new", "--resume"), Checkpointer, "on_train_batch_end"
        )
    assert (tmp_path / "new" / "checkpoints" / "checkpoint-000001").is_dir()
