import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import keras_transfer
from keras_transfer import CheckpointError
from keras_transfer.storage.atomic import LOCK, FolderLock, whole

HOLD = """
import sys, time
from pathlib import Path
from keras_transfer.storage.atomic import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_locked_for_other_processes_until_one_dies(tmp_path):
    path = {"PYTHONPATH": str(Path(keras_transfer.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], env=path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"Another process is writing the run in {tmp_path}"):
            FolderLock(tmp_path).take()
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / LOCK).exists()  # it had no time to remove the file, which does not lock out others
    with FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_acquired_once_the_folder_exists_and_only_once(tmp_path):
    folder = tmp_path / "run"
    with FolderLock(folder) as lock:
        assert not folder.exists()
        folder.mkdir()
        lock.take()
        lock.take()
        with pytest.raises(CheckpointError):
            FolderLock(folder).take()
    with FolderLock(folder):
        assert [file.name for file in folder.iterdir()] == [LOCK]


def test_one_thread_at_a_time_holds_a_lock_whose_file_is_removed(tmp_path):
    inside, most, taken, stop = 0, 0, 0, time.monotonic() + 1.0

    def work():
        nonlocal inside, most, taken
        while time.monotonic() < stop:
            try:
                with FolderLock(tmp_path):
                    inside += 1
                    most, taken = max(most, inside), taken + 1
                    time.sleep(0.0005)
                    inside -= 1
            except CheckpointError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, taken > 10) == (1, True)


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("before", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"a\.txt cannot be written: full\. Free disk space"):
        with whole(file) as unfinished:
            unfinished.write_text("aft", encoding="utf-8")
            raise OSError(28, "full")
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("a.txt", "before")]
