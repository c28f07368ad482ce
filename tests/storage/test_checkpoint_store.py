"""Checkpoints on disk: whole or not there, damaged ones known as such, and a disk that is full."""

import errno
import json
import resource
import shutil

import numpy as np
import pytest

from keras_transfer.errors import CheckpointError, TransferWarning
from keras_transfer.storage import checkpoint_store as checkpoint
from keras_transfer.storage.atomic import whole
from keras_transfer.storage.checkpoint_store import CheckpointStore

FILES = ("arrays.safetensors", "state.json", "manifest.json")


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def state(number):
    kernel = np.full((3, 5), number, np.float32)
    return {"number": number, "weights": [kernel, np.arange(4, dtype=np.int64)], "best": [kernel.copy()]}


def number(store):
    return store.read()[1]["number"]


def test_what_is_read_is_what_was_written(store):
    given = {
        "weights": [np.array(7), np.zeros((0, 3)), np.arange(6, dtype=np.float16).reshape(2, 3).T],
        "seeds": np.array([2**32 - 1, 0], np.uint32),
        "keeper": {"best_loss": float("inf"), "best": None, "wait": 3, "rate": 0.1 + 0.2},
        "history": "é\n",
    }
    store.write(given)
    name, found = store.read()
    assert name == "checkpoint-000001"
    for a, b in zip([*given["weights"], given["seeds"]], [*found["weights"], found["seeds"]], strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    assert found["keeper"] == given["keeper"]
    assert found["history"] == given["history"]


def test_equal_arrays_are_stored_once(store):
    big = np.random.default_rng(0).normal(size=10_000)
    store.write({"weights": big, "best": big.copy(), "last_good": [big]})
    assert (store.folder / "checkpoint-000001" / "arrays.safetensors").stat().st_size < 1.1 * big.nbytes


def test_the_last_two_are_kept(store):
    for count in range(1, 5):
        store.write(state(count))
    assert store.names() == ["checkpoint-000003", "checkpoint-000004"]
    assert sorted(entry.name for entry in store.folder.iterdir()) == store.names()
    assert number(store) == 4


def test_without_checkpoints_nothing_is_read(store):
    assert store.read() is None
    store.folder.mkdir()
    assert store.read() is None


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(store, file, damage):
    for count in (1, 2):
        store.write(state(count))
    spoilt = store.folder / "checkpoint-000002" / file
    content = spoilt.read_bytes()
    # The bytes in the middle: of the arrays, they are numbers or their names.
    places = range(0, len(content), max(len(content) // 7, 1)) if damage == "flipped" else [0]
    for place in places:
        shutil.copytree(store.folder, store.folder.with_name("spoilt"))
        copy = CheckpointStore(store.folder.with_name("spoilt"))
        file_there = copy.folder / "checkpoint-000002" / file
        flipped = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        changed = {"truncated": content[: len(content) // 2], "flipped": flipped, "empty": b"", "missing": None}[damage]
        file_there.unlink()
        if changed is not None:
            file_there.write_bytes(changed)
        with pytest.warns(TransferWarning, match=r"checkpoint-000002 is damaged: .*Using checkpoint-000001 instead"):
            assert number(copy) == 1
        assert copy.names() == ["checkpoint-000001"]
        shutil.rmtree(copy.folder)


def test_if_all_are_damaged_nothing_is_resumed_or_removed(store):
    for count in (1, 2):
        store.write(state(count))
        (store.folder / f"checkpoint-{count:06}" / "state.json").write_text("{")
    with pytest.raises(
        CheckpointError, match=r"000002 is damaged: .*000001 is damaged: .*There is no other checkpoint"
    ):
        store.read()
    assert len(store.names()) == 2


def test_a_kill_at_any_point_of_writing_leaves_the_earlier_ones_intact(store, monkeypatch, killed):
    for count in (1, 2):
        store.write(state(count))
    # A kill leaves everything unchanged, so no cleanup may run.
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
    for point in range(1, 5):
        killed(lambda: store.write(state(3)), checkpoint, "sync", point)
        assert number(store) == 2
        assert (store.folder / ".unfinished-checkpoint-000003").is_dir()
        monkeypatch.undo()
        shutil.rmtree(store.folder / ".unfinished-checkpoint-000003")
        monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.undo()
    killed(lambda: store.write(state(3)), checkpoint, "save_file")
    assert number(store) == 2
    store.write(state(3))
    assert number(store) == 3
    assert sorted(entry.name for entry in store.folder.iterdir()) == store.names()


def test_files_are_synced_to_disk_before_they_are_renamed(store, monkeypatch):
    seen = []
    original = checkpoint.sync
    monkeypatch.setattr(checkpoint, "sync", lambda path: (seen.append(path.name), original(path)))
    store.write(state(1))
    assert seen == [*FILES, ".unfinished-checkpoint-000001", "checkpoints"]


@pytest.fixture
def small_files():
    """No file of this process can grow beyond 20 kB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_earlier_one_with_a_warning(store, small_files):
    store.write(state(1))
    with pytest.warns(TransferWarning, match=r"The checkpoint cannot be written .*continues, and checkpoint-000001"):
        store.write({"weights": np.random.default_rng(0).normal(size=100_000)})
    assert number(store) == 1
    assert sorted(entry.name for entry in store.folder.iterdir()) == ["checkpoint-000001"]


def test_a_full_disk_without_an_earlier_one_ends_the_run(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device\. Free disk space there") as raised:
        store.write(state(1))
    assert raised.value.exit_code == 2
    assert store.names() == []


def test_clearing_takes_effect_at_once(store, killed):
    store.write(state(1))
    killed(store.clear, checkpoint.shutil, "rmtree", 2)
    assert not store.folder.exists()
    store.clear()
    assert list(store.folder.parent.iterdir()) == []


def test_a_checkpoint_of_a_later_format_is_refused(store):
    store.write(state(1))
    manifest = store.folder / "checkpoint-000001" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match=r"expected format 1\. Received: 2"):
        store.read()


def test_a_file_is_written_whole_or_left_unchanged(tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text("before")
    with pytest.raises(CheckpointError, match=r"metrics\.json cannot be written: No space"), whole(file) as unfinished:
        unfinished.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]
    assert file.read_text() == "before"
