"""Several processes on one machine: what they write, and how they end."""

import os
import signal
import subprocess
import sys
import time

from keras_transfer.launch.local import find_free_addresses, launch


def python(code):
    return [sys.executable, "-c", code]


def test_lines_start_with_the_worker_number_and_the_exit_code_is_0(capfd):
    code = "import sys; print('out'); print('told', file=sys.stderr)"
    assert launch([python(code), python(code)]) == 0
    out, told = capfd.readouterr()
    assert sorted(out.splitlines()) == ["[0] out", "[1] out"]
    assert sorted(told.splitlines()) == ["[0] told", "[1] told"]


def test_each_worker_uses_its_share_of_the_cores_unless_it_is_set(capfd, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    code = "import os; print(os.environ['TF_NUM_INTRAOP_THREADS'])"
    assert launch([python(code)] * 3) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] 2", "[1] 2", "[2] 2"]
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    assert launch([python(code)]) == 0
    assert capfd.readouterr().out == "[0] 5\n"


def test_when_one_dies_all_end_with_its_exit_code(capfd, monkeypatch):
    monkeypatch.setattr("keras_transfer.launch.local.GRACE_SECONDS", 0.5)
    started = time.monotonic()
    assert launch([python("import time; time.sleep(60)"), python("import sys; sys.exit(2)")]) == 2
    assert time.monotonic() - started < 20
    assert capfd.readouterr().err == "Worker 1 ended first, with exit code 2.\n"
    assert launch([python("import time; time.sleep(60)"), python("import os; os.kill(os.getpid(), 9)")]) == 137
    assert capfd.readouterr().err == "Worker 1 ended first, with exit code 137.\n"


def test_sigterm_is_sent_to_all(tmp_path):
    worker = (
        "import pathlib, signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).write_text('told'), sys.exit(143)));"
        "print('ready', flush=True);"
        # A signal between the line and a long sleep would be handled after it.
        "[time.sleep(0.1) for _ in range(600)]"
    )
    files = [str(tmp_path / name) for name in ("a", "b")]
    code = (
        "import sys; from keras_transfer.launch.local import launch;"
        f"sys.exit(launch([[sys.executable, '-c', {worker!r}, file] for file in {files!r}]))"
    )
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    assert sorted(process.stdout.readline() for _ in files) == ["[0] ready\n", "[1] ready\n"]
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 143
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "told"


def test_every_worker_has_its_own_port():
    addresses = find_free_addresses(4)
    assert len(set(addresses)) == 4
    assert all(address.startswith("localhost:") for address in addresses)
