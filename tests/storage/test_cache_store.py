"""Entries that are whole or not there, and a budget that holds."""

import errno
import os
import warnings

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
    shapes = [FIRST.shape, SECOND.shape]
    return store.write(key, "some features", shapes=shapes, dtype=dtype, batches=batches or pieces())


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features", max_bytes=1_000_000)


def again(store):
    """The same folder, as another process sees it."""
    return FeatureStore(store._folder, max_bytes=store._max_bytes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_was_written_is_found_by_another_process(store, dtype):
    write(store, dtype=dtype)
    first, second = again(store).find("key")
    assert first.dtype == dtype
    np.testing.assert_array_equal(first, FIRST)
    np.testing.assert_array_equal(second, SECOND)
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    assert again(store).find("another") is None


def test_interrupted_writing_leaves_no_entry(store):
    def interrupted():
        yield FIRST[0, :2], SECOND[0, :2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(store, batches=interrupted())
    assert store.find("key") is None
    assert list(store._folder.iterdir()) == []


def test_an_entry_is_invisible_until_it_is_whole(store):
    def watched():
        for piece in pieces():
            assert again(store).find("key") is None
            assert again(store).entries() == []
            yield piece

    assert write(store, batches=watched()) is not None


def test_of_two_processes_that_write_at_once_the_first_wins(store):
    def second_process_is_faster():
        yield from pieces()
        write(again(store))

    first, _ = write(store, batches=second_process_is_faster())
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


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove_a_file, spoil_the_record])
def test_a_damaged_entry_is_removed_with_a_warning(store, damage):
    write(store)
    damage(store._folder / "key")
    with pytest.warns(TransferWarning, match=r"key are damaged .* computed again"):
        assert again(store).find("key") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again(store).find("key") is None
        assert write(again(store)) is not None


def test_a_full_disk_is_a_warning_and_leaves_nothing(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(feature_store, "_write_arrays", full)
    with pytest.warns(TransferWarning, match=r"No space left on device.*without the cache"):
        assert write(store) is None
    assert list(store._folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "features", max_bytes=1000)
    with pytest.warns(TransferWarning, match="cannot be cached in"):
        assert write(store) is None
    assert store.entries() == []


def test_what_is_larger_than_the_budget_is_not_written(tmp_path):
    store = FeatureStore(tmp_path / "features", max_bytes=(24 + 6) * 4 - 1)
    with pytest.warns(TransferWarning, match=r"120 bytes.*cache.max_bytes.*119"):
        assert write(store) is None


def test_the_least_recently_used_goes_first(tmp_path):
    store = FeatureStore(tmp_path / "features", max_bytes=1000)  # an entry takes some 450
    write(store, "a")
    write(store, "b")
    for key, age in (("a", 100), ("b", 200)):
        meta = store._folder / key / "entry.json"
        os.utime(meta, (meta.stat().st_atime, meta.stat().st_mtime - age))
    mapped, _ = store.find("b")  # used just now
    write(store, "c")
    assert {entry.key for entry in store.entries()} == {"b", "c"}
    store.clear()
    assert store.entries() == []
    np.testing.assert_array_equal(mapped, FIRST)  # whoever has it mapped keeps it


def test_what_was_left_by_a_process_that_died_is_cleared_after_a_day(store):
    write(store, "a")
    old, new = (store._folder / f".unfinished-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
    two_days_ago = old.stat().st_mtime - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    write(store, "b")
    assert new.exists()
    assert not old.exists()


def test_entries_tell_what_they_are(store):
    write(store)
    (entry,) = store.entries()
    assert (entry.key, entry.description) == ("key", "some features")
    assert entry.size > (24 + 6) * 4
