"""Files, faults and untrusted input: links out of a run folder, closed pipes, signals, odd environments, escapes."""

import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

import keras_transfer
from keras_transfer.config.deciding import convert_earlier
from keras_transfer.config.records import find_problem
from keras_transfer.console import make_console, print_table
from keras_transfer.console.text import one_line, printable
from keras_transfer.distribution import rendezvous
from keras_transfer.distribution.rendezvous import await_workers
from keras_transfer.distribution.workers import Workers
from keras_transfer.errors import CheckpointError, ConfigError, RunInterrupted, TrainingError
from keras_transfer.launch import local
from keras_transfer.launch.local import find_free_addresses
from keras_transfer.run.records import DataRecord, RunState
from keras_transfer.storage.atomic import FolderLock, whole
from keras_transfer.storage.cache_store import cache_folder
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.storage.sums import check_file, check_value, write_sums
from keras_transfer.training.interruption import Interruption

PROGRAM = [sys.executable, "-m", "keras_transfer.cli"]
PACKAGE = str(Path(keras_transfer.__file__).parents[1])


# Untrusted run folders.


@pytest.fixture
def outside(tmp_path):
    """Files of the user next to the run folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("do not touch")
    return folder


@pytest.fixture
def stranger(tmp_path):
    """A folder with the names of a finished run."""
    folder = tmp_path / "run"
    for name in ("samples", "export"):
        (folder / name).mkdir(parents=True)
    for name in ("recipe.yaml", "data.json", "model.keras", "metrics.json"):
        (folder / name).write_text("task: image_classification\n")
    return folder


FILES = (
    "recipe.yaml",
    "data.json",
    "head.json",
    "metrics.json",
    "model.keras",
    "history.jsonl",
    "history.png",
    ".lock",
)
FOLDERS = ("export", "samples", "checkpoints", "tokenizer", "tensorboard")


def put_link(path, target):
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, "thesis.txt") for name in FILES),
        *((name, "") for name in FOLDERS),
        (".unfinished-history.jsonl", "thesis.txt"),
        (".unfinished-checkpoints", ""),
        ("samples/00.png", "thesis.txt"),
        ("export/saved_model", ""),
        ("checkpoints/checkpoint-000001", ""),
        ("tokenizer/assets/vocabulary.txt", "thesis.txt"),
        ("whatever.txt", "absent.txt"),
    ],
)
@pytest.mark.parametrize("words", [("evaluate",), ("run", "--resume")], ids=["evaluate", "resume"])
def test_links_out_of_a_run_folder_are_not_followed(command, stranger, outside, name, target, words):
    (stranger / name).parent.mkdir(parents=True, exist_ok=True)
    put_link(stranger / name, outside / target)
    recipe = ["image/quickstart", "--out"] if words[0] == "run" else []
    result = command(words[0], *recipe, stranger, *words[1:])
    assert result.exit_code == 2
    assert f"{stranger / name} is a link to {outside / target}" in result.stderr
    assert {file.name: file.read_text() for file in outside.iterdir()} == {"thesis.txt": "do not touch"}


@pytest.mark.parametrize("name", ["recipe.yaml", "data.json", "history.jsonl", "samples/00.png", "any"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_named_pipe_or_a_socket_is_refused_without_blocking(command, stranger, name, kind, monkeypatch):
    path = stranger / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(path.parent)  # a socket's name may have 100 characters
        socket.socket(socket.AF_UNIX).bind(path.name)
    result = command("predict", stranger, "x.png")
    assert (result.exit_code, f"{path} is neither a file nor a folder" in result.stderr) == (2, True)


def test_a_folder_in_place_of_a_file_and_the_reverse_are_refused(command, stranger):
    (stranger / "history.jsonl").mkdir()
    assert "history.jsonl is a folder; expected a file" in command("evaluate", stranger).stderr
    (stranger / "history.jsonl").rmdir()
    (stranger / "checkpoints").write_text("")
    assert "checkpoints is a file; expected a folder" in command("evaluate", stranger).stderr


def test_links_within_the_folder_and_the_folder_itself_may_be_links(command, stranger, tmp_path):
    (stranger / "copy.json").symlink_to("data.json")
    (stranger / "export" / "again").symlink_to("..")  # a circle
    (tmp_path / "name").symlink_to(stranger)
    stderr = command("evaluate", tmp_path / "name").stderr
    assert "data: missing" in stderr  # it was read
    assert "is a link" not in stderr


def test_the_runs_of_a_cross_validation_are_in_its_folder(command, outside, tmp_path):
    folder = tmp_path / "five"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("task: image_classification\n")
    (folder / "fold-1").symlink_to(outside)
    (tmp_path / "own.yaml").write_text("task: image_classification\ndata: {source: x, folds: 2}\n")
    result = command("run", tmp_path / "own.yaml", "--out", folder, "--resume")
    assert (result.exit_code, "fold-1 is a link" in result.stderr) == (2, True)


def test_weights_from_a_run_folder_are_not_read_through_a_link(command, stranger, outside):
    put_link(stranger / "model.keras", outside / "thesis.txt")
    result = command("check", "image/quickstart", f"backbone.weights={stranger}")
    assert (result.exit_code, "model.keras is a link" in result.stderr) == (2, True)


def test_writing_replaces_a_link_and_locking_refuses_it(tmp_path, outside):
    (tmp_path / ".unfinished-a.json").symlink_to(outside / "thesis.txt")
    with whole(tmp_path / "a.json") as unfinished:
        unfinished.write_text("{}")
    assert ((tmp_path / "a.json").read_text(), (tmp_path / "a.json").is_symlink()) == ("{}", False)
    (tmp_path / ".lock").symlink_to(outside / "thesis.txt")
    with pytest.raises(CheckpointError, match="is a link"), FolderLock(tmp_path):
        pass
    assert (outside / "thesis.txt").read_text() == "do not touch"


# What is read back has a schema, and a checksum if results depend on it.

SPLIT = {"count": 1, "fingerprint": "ab", "rows": [["a.png", "cat"]]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"predict_length": 128, "pads_to_longest": True, "of a package": [1]}, None),
        ({"splits": []}, "splits: input should be a valid dictionary"),
        ({"splits": {"test": {**SPLIT, "rows": [["a.png"]]}}}, "splits.test.rows.0"),
        ({"splits": {"test": {**SPLIT, "rows": [[1, "cat"]]}}}, "splits.test.rows.0"),
        ({"splits": {"test": {**SPLIT, "count": "1"}}}, "splits.test.count"),
        ({"splits": {"test": {"count": 1, "rows": []}}}, "splits.test.fingerprint: field required"),
        ({"class_names": [1, 2]}, "class_names.0"),
        ({"class_names": ["cat", "cat"]}, "two names are the same"),
        ({"label_names": "cat"}, "label_names"),
        ({"predict_length": "128"}, "predict_length"),
        ({"predict_length": 0}, "predict_length"),
        ({"predict_length": 10**9}, "predict_length"),
        ({"pads_to_longest": "yes"}, "pads_to_longest"),
    ],
)
def test_the_schema_of_data_json(change, problem):
    found = find_problem(DataRecord, {"splits": {"test": SPLIT}, "class_names": ["cat", "dog"], **change})
    assert (found is None) if problem is None else (problem in found)


STATE = {
    "position": {"phase": 0, "epoch": 1, "step": 0},
    "run": {"recipe": {}, "resolved": {}, "environment": {}, "splits": {}, "choice": None},
    "baseline": None,
    "held_out": None,
    "untrained": None,
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"position": None}, "position"),
        ({"position": {"phase": -1, "epoch": 0, "step": 0}}, "position.phase"),
        ({"position": {"phase": 0, "epoch": 1.5, "step": 0}}, "position.epoch"),
        ({"position": {"phase": 0, "epoch": "1", "step": 0}}, "position.epoch"),
        ({"run": []}, "run"),
        ({"run": {**STATE["run"], "recipe": "x"}}, "run.recipe"),
        ({"run": {**STATE["run"], "splits": {"test": 3}}}, "run.splits.test"),
        ({"run": {**STATE["run"], "choice": {"policy": 1}}}, "run.choice.policy"),
        ({"baseline": 7}, "baseline"),
    ],
)
def test_the_schema_of_a_checkpoint(change, problem):
    found = find_problem(RunState, {**STATE, **change})
    assert (found is None) if problem is None else found.startswith(problem)


def test_a_checkpoint_nested_deep_or_without_an_object_counts_as_damaged(tmp_path):
    from safetensors.numpy import save_file

    store = CheckpointStore(tmp_path)
    store.write({"number": 1})
    for number, content in ((2, b"[" * 200_000 + b"]" * 200_000), (3, b"[1]")):
        folder = tmp_path / f"checkpoint-{number:06}"
        folder.mkdir()
        save_file({}, folder / "arrays.safetensors")
        (folder / "state.json").write_bytes(content)
        manifest = {"format": 1, "state.json": hashlib.sha256(content).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "checkpoint-newest").mkdir()  # no name of ours
    with pytest.warns(UserWarning, match="is damaged"):
        assert store.read() == ("checkpoint-000001", {"number": 1})


@pytest.mark.parametrize("name", ["recipe.yaml", "data.json"])
def test_files_nested_200_000_deep_are_one_plain_error(command, stranger, name):
    (stranger / "recipe.yaml").write_text("task: image_classification\ndata: {source: x}\n")
    opening = "a: " + "[" * 200_000 if name == "recipe.yaml" else '{"splits": ' + "[" * 200_000
    (stranger / name).write_text(opening)
    result = command("evaluate", stranger)
    assert (result.exit_code, name in result.stderr, len(result.stderr) < 1000) == (2, True, True)


@pytest.fixture
def sealed(tmp_path):
    """A folder with a vocabulary, whose sums are written."""
    folder = tmp_path / "sealed"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "vocabulary.txt").write_text("[PAD]\ngood\nbad\n")
    (folder / "head.json").write_text("{}")
    write_sums(folder, ("tokenizer", "head.json", "absent.json"), {"recipe": {"seed": 1}})
    return folder


def test_unchanged_files_and_older_folders_without_checksums_pass(sealed):
    for name in ("tokenizer", "head.json", "absent.json"):
        check_file(sealed, name)
    check_value(sealed, "recipe", {"seed": 1}, file="recipe.yaml", problem="changed")
    (sealed / "sums.json").unlink()
    (sealed / "head.json").write_text("[]")
    check_file(sealed, "head.json")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: (f / "tokenizer" / "vocabulary.txt").write_text("[PAD]\nbad\ngood\n"), "content has changed"),
        (lambda f: (f / "tokenizer" / "vocabulary.txt").unlink(), "it is missing"),
        (lambda f: (f / "tokenizer" / "merges.txt").write_text("x"), "was added after the run ended"),
        (lambda f: (f / "sums.json").write_text("{"), "not a file of sums"),
        (lambda f: (f / "sums.json").write_text('{"format": 1, "files": {"a": 1}}'), "not a file of sums"),
        (lambda f: (f / "sums.json").write_text("[" * 200_000), "not a file of sums"),
    ],
    ids=["two words exchanged", "removed", "added", "half", "wrong types", "deep"],
)
def test_a_changed_vocabulary_is_detected(sealed, change, problem):
    change(sealed)
    with pytest.raises(CheckpointError, match=problem):
        check_file(sealed, "tokenizer")


def test_a_changed_value_is_detected(sealed):
    with pytest.raises(CheckpointError, match=r"recipe\.yaml is damaged: the seed has changed"):
        check_value(sealed, "recipe", {"seed": 2}, file="recipe.yaml", problem="the seed has changed")


# What reaches a terminal.

UNSAFE = ["\x1b[31mred", "\x07", "a\rb", "\x9b2J", "\u202egpj.exe", "\u2066x", "\x7f", "a\u2028b", "\udcff"]


@pytest.mark.parametrize("text", UNSAFE)
def test_control_characters_are_escaped(command, text):
    shown = printable(text)
    assert shown == "".join(c if c == "a" or c in "bredgpjxe.[312mJ" else escape(c) for c in text)
    assert json.loads(f'"{shown}"') == text  # in JSON, the escapes are those of JSON
    for words in (["show", text], ["list", text], ["run", "image/quickstart", f"{text}=1"]):
        result = command(*words)
        stderr = result.stderr
        assert result.exit_code == 2
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", stderr), stderr


def escape(character):
    return "\\r" if character == "\r" else f"\\u{ord(character):04x}"


@pytest.mark.parametrize("text", ["قطة", "🐈‍⬛ chat", "two\nlines\tand a tab", "日本", "e\u0301", "C:\\temp"])
def test_names_in_any_script_stay_as_they_are(text):
    assert printable(text) == text


def test_fields_of_a_line_have_no_tabs_or_line_breaks():
    assert one_line("a\tb\nc\x1b") == "a\\tb\\nc\\u001b"


@pytest.mark.parametrize("width", [20, 200])
def test_tables_show_names_escaped_and_aligned(width, capsys):
    print_table(["class", "rows"], [["\x1b[2Jcat", "1"], ["dog\tcat", "22"]], Console(width=width))
    shown = capsys.readouterr().out
    assert "\\u001b[2Jcat" in shown
    assert "dog\\tcat" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f]", shown)
    assert len({len(line) for line in shown.splitlines()}) == 1 or width == 20


def test_a_console_prints_no_control_characters_of_data(capsys):
    make_console().print("name \x1b[31m \u202e", markup=False, highlight=False)
    assert capsys.readouterr().out == "name \\u001b[31m \\u202e\n"


def test_only_the_console_package_prints():
    files = [file for file in Path(keras_transfer.__file__).parent.rglob("*.py") if file.parent.name != "console"]
    found = [
        (file.name, line) for file in files for line in re.findall(r"click\.echo\(|\bConsole\(\)", file.read_text())
    ]
    assert found == []


# Strange environments: real processes, which import no TensorFlow.


def shell(line, **environment):
    own = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONPATH": PACKAGE, **environment}
    program = " ".join(PROGRAM)
    full = line.replace("KT", program)
    return subprocess.run(["bash", "-c", full], env=own, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("line", "environment", "code", "stderr"),
    [
        ("KT list > /dev/full", {}, 2, "stdout cannot be written: No space left on device"),
        ("KT schema > /dev/full", {}, 2, "stdout cannot be written"),
        ("KT schema | head -c 10; exit ${PIPESTATUS[0]}", {}, 0, None),
        ("KT list >&-", {}, 0, None),
        ("KT list 2>&-", {}, 0, None),
        ("KT list >&- 2>&- <&-", {}, 0, None),
        ("KT show nope 2>&-", {}, 2, None),
        ("KT show nope 2>/dev/full", {}, 2, None),
        ("KT list 1>/dev/full 2>/dev/full", {}, 2, None),
        ("KT show $'\\xff\\x1b[1m'", {}, 2, "There is no recipe"),
        ("KT show é", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 2, "There is no recipe"),
        ("KT list", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 0, None),
        ("KT list", {"COLUMNS": "1", "NO_COLOR": "1", "TERM": "dumb"}, 0, None),
        ("KT cache", {"HOME": "", "XDG_CACHE_HOME": "/nonexistent"}, 0, None),
        ("KT list", {"TMPDIR": "/nonexistent", "HOME": "/nonexistent"}, 0, None),
        ("ulimit -n 16; KT list", {}, 0, None),
        ("cd /; KT copy image/quickstart /proc/x.yaml", {}, 2, "/proc/x.yaml cannot be written"),
        ("KT copy image/quickstart $(printf 'a%.0s' {1..300})", {}, 2, "File name too long"),
        ("KT show $(printf 'a%.0s' {1..300})", {}, 2, "File name too long"),
        ("KT show /dev/zero", {}, 2, "it is a folder, a named pipe or a device"),
        ("mkfifo $D/pipe; KT show $D/pipe", {}, 2, "it is a folder, a named pipe or a device"),
        ("KT check image/quickstart", {"KERAS_BACKEND": "torch"}, 2, "Received: KERAS_BACKEND=torch"),
        ("KT check image/quickstart", {"KERAS_BACKEND": "tensorflwo"}, 2, "Received: KERAS_BACKEND=tensorflwo"),
        ("KT backbones", {"TF_USE_LEGACY_KERAS": "1"}, 2, "TF_USE_LEGACY_KERAS asks for Keras 2"),
    ],
)
def test_an_unusual_environment_causes_no_traceback(tmp_path, line, environment, code, stderr):
    result = shell(line, D=str(tmp_path), **environment)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert stderr is None or stderr in result.stderr
    assert stderr is not None or result.stderr == ""


def test_a_user_without_a_home_has_a_cache_in_the_temporary_folder(monkeypatch):
    for name in ("KERAS_TRANSFER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    assert cache_folder().parent == Path(tempfile.gettempdir())


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(28, "No space left on device", "/x/y"), "/x/y: No space left on device. Fix the path"),
        (OSError("only words"), "OSError: only words"),
        (MemoryError(), "not enough memory"),
        (
            type("ResourceExhaustedError", (Exception,), {})("{{node}} /x; No space left on device [Op:SaveV2]"),
            "No space left on device. Make room on the disk",
        ),
        (
            UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"),
            "not valid UTF-8. Received: 'a\\udcff'",
        ),
        (RuntimeError("Could not determine home directory."), "no home directory: HOME is not set"),
    ],
)
def test_an_unexpected_system_error_is_one_plain_line(command, monkeypatch, error, problem):
    def fail(recipe):
        raise error

    monkeypatch.setattr("keras_transfer.cli.recipes._recipe_text", fail)
    result = command("show", "image/quickstart")
    assert (result.exit_code, problem in result.stderr, len(result.stderr.splitlines())) == (2, True, 1), result.stderr


def test_our_own_bugs_are_not_hidden(command, monkeypatch):
    monkeypatch.setattr("keras_transfer.cli.recipes._recipe_text", lambda recipe: {}[recipe])
    with pytest.raises(KeyError):
        command("show", "image/quickstart")


def test_ctrl_c_exits_with_130(command, monkeypatch):
    def interrupt(recipe):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_transfer.cli.recipes._recipe_text", interrupt)
    assert (command("show", "x").exit_code, command("show", "x").stderr) == (130, "Interrupted.\n")


PRINTING_RUN = """
import sys
from keras_transfer import cli
from keras_transfer.console.commands import echo
@cli.main.command("run", context_settings={"ignore_unknown_options": True})
def run():
    for number in range(20000):
        echo(f"epoch {number}")
    open(sys.argv[2], "w").write("done")
    raise SystemExit(int(sys.argv[3]))
cli.main(["run"])
"""


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("pipe", ["| head -1", "> /dev/full", ">&- 2>&-"])
def test_lost_output_neither_ends_a_run_nor_changes_its_exit_code(tmp_path, pipe, code):
    (tmp_path / "run.py").write_text(PRINTING_RUN)
    line = f"{sys.executable} $D/run.py x $D/proof {code} {pipe}; exit ${{PIPESTATUS[0]}}"
    result = shell(line, D=str(tmp_path))
    assert (result.returncode, (tmp_path / "proof").read_text()) == (code, "done"), result.stderr


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_training_is_not_mistaken_for_a_library_error(number):
    def compute_features():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException as error:  # as Keras does when it computes output shapes
            raise ValueError("Could not automatically infer the output shape") from error

    with pytest.raises(RunInterrupted, match=f"was stopped by {number.name}") as caught:
        with Interruption(Path("runs/mine"), grace_seconds=1).listening():
            compute_features()
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_no_except_exception_swallows_a_signal():
    reached = []
    with pytest.raises(RunInterrupted), Interruption(Path("run"), grace_seconds=1).listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            reached.append("swallowed")
        reached.append("continued")
    assert reached == []


def test_several_signals_of_a_closing_terminal_end_the_run_after_its_step():
    interruption = Interruption(Path("run"), grace_seconds=60)
    with pytest.raises(RunInterrupted, match="SIGHUP") as caught:
        with interruption.listening(), interruption.at_a_step():
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
                os.kill(os.getpid(), number)
            interruption.leave()
    assert caught.value.exit_code == 129


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption(Path("run"), grace_seconds=1).listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# Launch.

WORKER = "import os, time; from keras_transfer.launch.local import end_with; end_with(int(os.environ['PARENT'])); " + (
    "print(os.getpid(), flush=True); time.sleep(60)"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_their_parent(number):
    code = "import os, subprocess, sys, time; os.environ['PARENT'] = str(os.getpid());" + (
        f"subprocess.Popen([sys.executable, '-c', {WORKER!r}]); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    worker = int(parent.stdout.readline())
    parent.send_signal(number)
    parent.wait(10)
    limit = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not is_alive(worker)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_launch_passes_a_new_token_to_its_workers_in_their_environment(capfd, monkeypatch):
    assert local.TOKEN == rendezvous.TOKEN
    monkeypatch.delenv(local.TOKEN, raising=False)
    code = f"import os; print(os.environ['{local.TOKEN}'], os.environ['{local.PARENT}'] == str(os.getppid()))"
    tokens = []
    for _ in range(2):
        assert local.launch([[sys.executable, "-c", code]] * 2) == 0
        lines = [line.split() for line in capfd.readouterr().out.splitlines()]
        assert {line[2] for line in lines} == {"True"}
        assert len({line[1] for line in lines}) == 1
        tokens.append(lines[0][1])
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 32


@pytest.fixture
def meet(monkeypatch):
    """``meet(stranger)``: what chief and worker 1 return while an unknown client is connected to the chief's port."""
    monkeypatch.setenv(rendezvous.TOKEN, "secret")
    addresses = tuple(find_free_addresses(2))

    def call(talk, *, seconds=20, indices=(0, 1)):
        results = {}

        def run(place, index):
            try:
                await_workers(Workers(addresses, index), timeout_seconds=seconds)
                results[place] = None
            except (TrainingError, ConfigError) as error:
                results[place] = error

        threads = [threading.Thread(target=run, args=(0, indices[0]))]
        threads[0].start()
        port, strangers = int(addresses[0].rpartition(":")[2]), []
        for content in talk:
            strangers.append(connect(port))
            strangers[-1].sendall(content)
        threads += [threading.Thread(target=run, args=item) for item in enumerate(indices[1:], start=1)]
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(30)
        for stranger in strangers:
            stranger.close()
        return results

    return call


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("localhost", port), timeout=1)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody listens")


@pytest.mark.parametrize(
    "content",
    [
        b"1\n",
        b"99\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"index": 1, "proof": ""}\n',
        b'{"index": 1, "proof": 3}\n',
        b'{"index": "x"}\n',
        b"[" * 4000 + b"\n",
        b"x" * 100_000,
        b"",
        b"\xff\xfe\n",
    ],
)
def test_unknown_connections_to_the_port_are_ignored(meet, content):
    started = time.monotonic()
    assert meet([content] * 3) == {0: None, 1: None}
    assert time.monotonic() - started < 4  # silent clients are not waited for


def test_two_workers_with_one_index_are_still_an_error(meet):
    results = meet([], indices=(0, 2))
    assert all(isinstance(result, ConfigError) for result in results.values())
    assert len(results) == 2


def test_a_proof_is_valid_for_one_token_one_launch_and_one_index(monkeypatch):
    workers = Workers(("a:1", "b:2"), 1)
    monkeypatch.setenv(rendezvous.TOKEN, "secret")
    message = b'[["a:1", "b:2"], "worker", 1]'
    proof = hmac.new(b"secret", message, hashlib.sha256).hexdigest()
    assert rendezvous._prove(workers, "worker", 1) == proof
    assert rendezvous._prove(workers, "worker", 2) != proof
    assert rendezvous._prove(Workers(("a:1", "b:3"), 1), "worker", 1) != proof
    monkeypatch.setenv(rendezvous.TOKEN, "another")
    assert rendezvous._prove(workers, "worker", 1) != proof


# Run folders of earlier versions.

EARLIER = {
    "name": "head",
    "budget_seconds": None,
    "stages": None,
    "batch_norm": "auto",
    "head_solver": "sgd",
    "head_epochs": 2,
    "fine_tune_rate": None,
    "stage_decay": 1.0,
    "groups": 3,
    "group_epochs": 2,
    "rank": 8,
    "lora_layers": "all",
}


@pytest.mark.parametrize(
    ("change", "policy"),
    [
        ({}, {"name": "head", "head_solver": "sgd"}),
        ({"name": "last_stages", "stages": 2}, {"name": "last_stages", "stages": 2, "stage_decay": 1.0}),
        (
            {"name": "full", "stages": 2, "batch_norm": "frozen"},
            {"name": "full", "batch_norm": "frozen", "stage_decay": 1.0},
        ),
        ({"name": "no such policy"}, {**EARLIER, "name": "no such policy"}),
    ],
)
def test_recipes_with_the_keys_of_all_policies_are_converted(change, policy):
    assert convert_earlier({"seed": 1, "policy": {**EARLIER, **change}}) == {"seed": 1, "policy": policy}


def test_a_key_that_was_added_by_hand_stays_an_error():
    assert convert_earlier({"policy": {"name": "full", "stages": 2}})["policy"] == {"name": "full", "stages": 2}
