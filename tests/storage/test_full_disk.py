"""A disk that fills up while a run writes: earlier files are intact, and the run continues once there is space.

The disk is a small file system in memory, which takes the right to mount one.
"""

import json
import shutil
import subprocess
import warnings

import numpy as np
import pytest
import yaml

from keras_transfer import CheckpointError, ImageClassification, TransferWarning

ROOM = 64 * 2**20


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """An empty disk that can be made larger and smaller."""
    folder = tmp_path_factory.mktemp("disk")
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no right to mount a file system")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
        return folder

    yield resize
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, make_images, pebble):
    images = make_images(tmp_path_factory.mktemp("data") / "images", {"cat": 12, "dog": 12}, size=20)
    return ImageClassification(
        {"source": str(images), "image_size": 16},
        backbone="pebble",
        policy="full",
        training={"epochs": 2, "batch_size": 4},
        checkpoint={"every_steps": 2},
        deterministic=True,
        export={"formats": []},
    )


@pytest.fixture(scope="module")
def unbroken(recipe, tmp_path_factory):
    return recipe.fit(tmp_path_factory.mktemp("unbroken") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 1.5])
def test_a_run_on_a_full_disk_ends_with_one_line_and_continues_once_there_is_space(disk, recipe, unbroken, share):
    # A run ends well without its page and its plot; while it trains, it needs room for two checkpoints.
    needed = [file for file in unbroken.folder.rglob("*") if file.is_file() and file.suffix not in (".html", ".png")]
    used = sum(file.stat().st_size for file in needed)
    folder = disk(int(share * used)) / "run"
    with warnings.catch_warnings(), pytest.raises(CheckpointError) as raised:
        warnings.simplefilter("ignore", TransferWarning)
        recipe.fit(folder)
    message = str(raised.value)
    assert "No space left on device" in message and str(folder) in message and "\n" not in message
    for file in folder.glob("*.json"):
        json.loads(file.read_text())

    disk(ROOM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TransferWarning)
        run = recipe.fit(folder, resume=True)
    for mine, theirs in zip(run.model.weights, unbroken.model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == yaml.safe_load(
        (unbroken.folder / "recipe.yaml").read_text()
    )
    shutil.rmtree(folder)
