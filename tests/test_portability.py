"""Without what only POSIX systems have: as far as one of them can show it."""

import ast
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_transfer

PACKAGE = Path(keras_transfer.__file__).parent
# What Windows or macOS lack. A module checks for such a feature before it uses it.
POSIX_ALONE = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "getgid", "setsid", "killpg", "getpgid", "mkfifo", "chown", "nice"}
    | {"sync", "sched_getaffinity", "sched_setaffinity", "O_DIRECTORY", "O_DIRECT", "posix_fadvise", "statvfs", "wait3"}
    | {"copy_file_range", "memfd_create", "sendfile", "eventfd"},
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm", "setitimer", "pthread_kill", "sigwait"},
}
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "syslog", "posix"}
HIDDEN = """
import os, signal, sys
for name in {modules!r}:
    sys.modules[name] = None
for module, names in {names!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
"""
# Python's own library uses these on POSIX; this package may not.
KEPT = {"posix", "pwd", "grp", "termios", "getuid", "geteuid", "getgid", "chown", "SIGKILL"}


def test_no_module_uses_posix_only_features():
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in POSIX_ALONE.get(ast.unparse(node.value), ()):
                found.append((file.name, node.lineno, ast.unparse(node)))
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found += [(file.name, node.lineno, name) for name in names if name in MODULES]
    assert found == []


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, make_images):
    folder = tmp_path_factory.mktemp("portable")
    make_images(folder / "images", {"cat": 8, "dog": 8}, size=16)
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Conv2D(4, 3, 2, name="conv")(inputs)
    keras.Model(inputs, outputs, name="small").save(folder / "small.keras")
    (folder / "recipe.yaml").write_text(
        """task: image_classification
data: {source: images, image_size: 16}
backbone: {name: small.keras, input_range: [-1.0, 1.0]}
policy: {name: full}
training: {epochs: 1, batch_size: 8}
export: {formats: []}
""",
        encoding="utf-8",
    )
    return folder / "recipe.yaml"


@pytest.mark.slow
def test_a_run_needs_neither_fcntl_nor_resource(recipe):
    """Train, read the run back and predict, while a second process is locked out of the folder."""
    hidden = {module: sorted(names - KEPT) for module, names in POSIX_ALONE.items()}
    code = HIDDEN.format(modules=sorted(MODULES - KEPT), names=hidden) + (
        """
import importlib, pkgutil
import keras_transfer
from keras_transfer.cli import main
for module in pkgutil.walk_packages(keras_transfer.__path__, "keras_transfer."):
    # What extras need, and a script that runs beside an export.
    is_extra = module.name.endswith((".on_ray", ".ray_cluster")) or module.name.startswith("keras_transfer.trackers.")
    if not is_extra and module.name != "keras_transfer.export.serve":
        importlib.import_module(module.name)
main(["run", "recipe.yaml", "--out", "run"], standalone_mode=False)
from pathlib import Path
from keras_transfer.storage.atomic import FolderLock
with FolderLock(Path("run")):
    try:
        FolderLock(Path("run")).take()
    except keras_transfer.CheckpointError as error:
        print("kept out:", error)
print(sorted(file.name for file in Path("run").iterdir() if file.name.startswith(".")))
print(len(keras_transfer.Run("run").predict([Path("images/cat/000.png")])))
"""
    )
    environment = {"PYTHONPATH": str(PACKAGE.parent), "KERAS_TRANSFER_CACHE": str(recipe.parent / "cache"), "PATH": ""}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=recipe.parent, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-3:] == [
        "kept out: Another process is writing the run in run. Wait for it, or choose another --out.",
        "[]",
        "1",
    ]
