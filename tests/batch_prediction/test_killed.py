"""Processes that are really killed: the one that writes a table, and one that Ray has started."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

pytestmark = pytest.mark.slow

ROWS = 20_000


@pytest.fixture(scope="module")
def files(finished_run):
    return sorted((finished_run.folder.parent / "images").glob("*/*"))[::7]


@pytest.fixture(scope="module")
def table(files, tmp_path_factory):
    """Many rows that name a few files by turns."""
    file = tmp_path_factory.mktemp("table") / "in.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["id", "path"])
        rows.writerows([number, files[number % len(files)]] for number in range(ROWS))
    return file


def start(run, table, *words):
    command = [sys.executable, "-m", "keras_transfer.cli", "predict", str(run.folder), str(table), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(out, count, process):
    limit = time.monotonic() + 500
    while time.monotonic() < limit and process.poll() is None:
        if len(list(Path(f"{out}.parts").glob("0*.json"))) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def check_answers(run, files, out):
    """Each row once, in order, with the prediction of its file."""
    expected = [list(one.probabilities.values()) for one in run.predict(files)]
    rows = parquet.read_table(out)
    assert rows["id"].to_pylist() == [str(number) for number in range(ROWS)]
    found = np.stack([rows[f"probability_{name}"].to_numpy() for name in ("cat", "dog")], axis=1)
    np.testing.assert_allclose(found, [expected[number % len(files)] for number in range(ROWS)], atol=1e-5)


def test_a_killed_process_is_resumed(finished_run, files, table, tmp_path):
    out = tmp_path / "out.parquet"
    process = start(finished_run, table, "--out", out)
    wait_for_parts(out, 2, process)
    time.sleep(0.3)  # in the middle of the next one
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    kept = {file.name: file.stat().st_mtime_ns for file in Path(f"{out}.parts").glob("0*.parquet")}
    assert 2 <= len(kept) < 5
    other = start(finished_run, table, "--out", out, "--top-k", 1, "--resume")
    assert "top_k was None and is 1" in other.communicate(timeout=500)[1] and other.returncode == 2
    process = start(finished_run, table, "--out", out, "--resume")
    wait_for_parts(out, len(kept) + 1, process)
    assert kept.items() <= {f.name: f.stat().st_mtime_ns for f in Path(f"{out}.parts").glob("0*.parquet")}.items()
    second = start(finished_run, table, "--out", out, "--resume")
    assert process.wait(500) == 0, process.communicate()
    second.communicate(timeout=500)
    assert second.returncode in (0, 2)  # refused, or too late to overlap the first one
    check_answers(finished_run, files, out)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def find_actors():
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text()
        except (OSError, ValueError):
            continue
        if words.startswith("ray::") and "_Process" in words:
            yield int(process.name)


def test_a_process_of_ray_is_killed(finished_run, files, table, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    out = tmp_path / "out.parquet"
    process = start(finished_run, table, "--out", out, "--engine", "ray", "--skip-broken")
    wait_for_parts(out, 1, process)
    killed = next(find_actors())
    os.kill(killed, signal.SIGKILL)
    _, said = process.communicate(timeout=590)
    assert process.returncode == 0, said
    assert killed not in set(find_actors())
    check_answers(finished_run, files, out)
