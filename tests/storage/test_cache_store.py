"""Entries that are whole or not there, and a budget that holds."""

import errno
import json
import os
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from keras_transfer.errors import TransferWarning
from keras_transfer.storage import cache_store as feature_store
from keras_transfer.storage.cache_store import FeatureStore

FIRST = np.arange(24, dtype="float32").reshape(2, 3, 4)  # two views of three rows
SECOND = np.arange(6, dtype="float32").reshape(2, 3)


def pieces():
    """What the store is given: rows of the first view, then of the second."""
    for view in range(2):
        yield FIRST[view, :2], SECOND[view, :2]
        yield FIRST[view, 2:], SECOND[view, 2:]


def write(store, key="key", *, batches=None, dtype="float32"):
    return store.write(key, "some features", **arrays(dtype), batches=batches or pieces)


def arrays(dtype="float32"):
    return {"shapes": [FIRST.shape, SECOND.shape], "dtype": dtype}


def find(store, key="key", dtype="float32"):
    return store.find(key, **arrays(dtype))


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features", max_bytes=1_000_000)


def again(store):
    """The same folder, as another process sees it."""
    return FeatureStore(store._folder, max_bytes=store._max_bytes)


@pytest.mark.parametrize("held", [1 << 20, 0], ids=["in memory", "in its file"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_was_written_is_found_by_another_process(store, dtype, held, monkeypatch):
    monkeypatch.setattr(feature_store, "_MOST_HELD_BYTES", held)
    write(store, dtype=dtype)
    first, second = find(again(store), dtype=dtype)
    assert first.dtype == dtype
    np.testing.assert_array_equal(first, FIRST)
    np.testing.assert_array_equal(second, SECOND)
    for rows in ([0, 1, 2], [2, 0], [1], []):
        np.testing.assert_array_equal(first.take(1, np.array(rows, int)), FIRST[1][rows])
        np.testing.assert_array_equal(second.take(0, np.array(rows, int)), SECOND[0][rows])
    assert find(again(store), "another", dtype) is None


def test_interrupted_writing_leaves_no_entry(store):
    def interrupted():
        yield FIRST[0, :2], SECOND[0, :2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(store, batches=interrupted)
    assert find(store) is None
    assert list(store._folder.iterdir()) == []


def test_an_entry_is_invisible_until_it_is_whole(store):
    def watched():
        for piece in pieces():
            assert find(again(store)) is None
            assert again(store).entries() == []
            yield piece

    assert write(store, batches=watched) is not None


def test_of_two_processes_that_write_at_once_the_first_wins(store):
    def second_process_is_faster():
        yield from pieces()
        write(again(store))

    first, _ = write(store, batches=second_process_is_faster)
    np.testing.assert_array_equal(first, FIRST)
    assert [entry.key for entry in store.entries()] == ["key"]
    assert [file.name for file in store._folder.iterdir()] == ["key"]


def truncate(folder):
    os.truncate(folder / "0.npy", 100)


def flip_a_bit(folder):
    data = bytearray((folder / "1.npy").read_bytes())
    data[-1] ^= 1
    (folder / "1.npy").write_bytes(data)


def remove_a_file(folder):
    (folder / "1.npy").unlink()


def spoil_the_record(folder):
    (folder / "entry.json").write_text("{")


def rewrite(folder, change):
    record = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(change(record)))


def replace_an_array(array):
    """By another one, under a right checksum."""

    def damage(folder):
        np.save(folder / "0.npy", array)
        checksum = zlib.crc32((folder / "0.npy").read_bytes())
        rewrite(folder, lambda record: {**record, "files": {**record["files"], "0.npy": checksum}})

    return damage


DAMAGE = {
    "truncated": truncate,
    "a flipped bit": flip_a_bit,
    "a missing file": remove_a_file,
    "no JSON": spoil_the_record,
    "a list": lambda folder: rewrite(folder, lambda record: [record]),
    "no files": lambda folder: rewrite(folder, lambda record: {"description": "x"}),
    "files in a list": lambda folder: rewrite(folder, lambda record: {**record, "files": ["0.npy", "1.npy"]}),
    "sums as texts": lambda folder: rewrite(
        folder, lambda record: {**record, "files": {name: str(value) for name, value in record["files"].items()}}
    ),
    "a file elsewhere": lambda folder: rewrite(folder, lambda record: {**record, "files": {"../0.npy": 1}}),
    "one array only": lambda folder: rewrite(
        folder, lambda record: {**record, "files": {"0.npy": record["files"]["0.npy"]}}
    ),
    "another shape": replace_an_array(FIRST[:, :2].copy()),
    "another type": replace_an_array(FIRST.astype("float64")),
    "another order": replace_an_array(np.asfortranarray(FIRST)),
    "deep": lambda folder: (folder / "entry.json").write_text("[" * 200_000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_removed_with_a_warning(store, damage):
    write(store)
    damage(store._folder / "key")
    with pytest.warns(TransferWarning, match=r"key are damaged .* were removed; they will be computed again"):
        assert find(again(store)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(again(store)) is None
        assert write(again(store)) is not None


def refuse(*_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_an_entry_that_cannot_be_touched_is_still_used(store, monkeypatch):
    write(store)
    monkeypatch.setattr(os, "utime", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(find(again(store))[0], FIRST)


def test_a_damaged_entry_that_cannot_be_removed_is_not_used(store, monkeypatch):
    write(store)
    truncate(store._folder / "key")
    monkeypatch.setattr(feature_store.Path, "rename", refuse)
    with pytest.warns(TransferWarning, match=r"damaged .* could not be removed \(Permission denied\)"):
        assert find(again(store)) is None
    assert (store._folder / "key").is_dir()


def test_entries_of_another_user_are_used_and_never_removed(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path / "features", max_bytes=1000)
    write(store, "theirs")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    np.testing.assert_array_equal(find(again(store), "theirs")[0], FIRST)
    for key in "abc":  # an entry takes some 450 bytes; only those of this user count
        monkeypatch.setattr(feature_store, "_is_own", lambda folder: folder.name != "theirs")
        write(store, key)
    assert {"theirs", "c"} <= {entry.key for entry in store.entries()} < {"theirs", "a", "b", "c"}
    cleared = store.clear()
    assert "theirs" not in {entry.key for entry in cleared.removed}
    assert [(entry.key, reason) for entry, reason in cleared.kept] == [("theirs", "it belongs to another user")]
    assert [entry.key for entry in store.entries()] == ["theirs"]


def test_an_array_that_is_truncated_while_in_use_is_an_error(store, monkeypatch):
    monkeypatch.setattr(feature_store, "_MOST_HELD_BYTES", 0)
    first, _ = write(store)
    assert first.problem() is None
    truncate(store._folder / "key")
    with pytest.raises(OSError, match=r"0\.npy was truncated to 100 of 224 bytes"):
        first.take(1, np.array([2, 0]))
    assert "truncated" in first.problem()


def fill_up(monkeypatch, *, everywhere=False):
    """No space where the cache is, or anywhere."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    original, calls = feature_store.write_arrays, []

    def write_arrays(*arguments):
        calls.append(1)
        return full() if everywhere or len(calls) == 1 else original(*arguments)

    monkeypatch.setattr(feature_store, "write_arrays", write_arrays)


@pytest.mark.parametrize("held", [1 << 20, 0], ids=["in memory", "in a temporary file"])
def test_on_a_full_disk_the_arrays_are_available_to_this_process(store, monkeypatch, held):
    fill_up(monkeypatch)
    monkeypatch.setattr(feature_store, "_MOST_HELD_BYTES", held)
    with pytest.warns(TransferWarning, match=r"No space left on device\. They are computed for this run alone\."):
        first, second = write(store)
    np.testing.assert_array_equal(first, FIRST)
    np.testing.assert_array_equal(second.take(1, np.array([2, 0])), SECOND[1][[2, 0]])
    assert find(again(store))[0] is first
    assert list(store._folder.iterdir()) == []
    store.clear()
    assert find(store) is None


def test_without_any_space_nothing_is_written_and_a_warning_is_given(store, monkeypatch):
    fill_up(monkeypatch, everywhere=True)
    with pytest.warns(TransferWarning, match=r"No space left on device; .* at every step, which is slower\."):
        assert write(store) is None
    assert list(store._folder.iterdir()) == []


def test_a_disk_without_enough_space_is_not_filled(store, monkeypatch):
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.warns(TransferWarning, match=r"No space left on device\. They"):
        assert write(store) is not None
    assert list(store._folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "features", max_bytes=1000)
    with pytest.warns(TransferWarning, match="cannot be cached in"):
        np.testing.assert_array_equal(write(store)[0], FIRST)
    assert store.entries() == []


def test_an_entry_larger_than_the_budget_is_not_written(tmp_path):
    store = FeatureStore(tmp_path / "features", max_bytes=(24 + 6) * 4 - 1)
    with pytest.warns(TransferWarning, match=r"120 bytes.*cache.max_bytes.*119"):
        assert write(store) is None


def test_the_least_recently_used_entry_is_removed_first(tmp_path):
    store = FeatureStore(tmp_path / "features", max_bytes=1000)  # an entry takes some 450
    write(store, "a")
    write(store, "b")
    for key, age in (("a", 100), ("b", 200)):
        meta = store._folder / key / "entry.json"
        os.utime(meta, (meta.stat().st_atime, meta.stat().st_mtime - age))
    mapped, _ = find(store, "b")  # used just now
    write(store, "c")
    assert {entry.key for entry in store.entries()} == {"b", "c"}
    store.clear()
    assert store.entries() == []
    np.testing.assert_array_equal(mapped, FIRST)  # a process that has mapped it can still read it


def test_files_of_a_process_that_died_are_cleared_after_a_day(store):
    write(store, "a")
    old, new = (store._folder / f".unfinished-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
    two_days_ago = old.stat().st_mtime - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    write(store, "b")
    assert new.exists()
    assert not old.exists()


def test_entries_have_a_description(store):
    write(store)
    (entry,) = store.entries()
    assert (entry.key, entry.description) == ("key", "some features")
    assert entry.size > (24 + 6) * 4
