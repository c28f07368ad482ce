import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import keras_transfer

PACKAGE = Path(keras_transfer.__file__).parent
# Imports point left: to a group before, or within a package.
GROUPS = (
    {"errors", "console"},
    {"registry", "storage"},
    {"config", "networks"},
    {"data", "trackers"},
    {"heads", "distribution"},
    {"audit", "backbones"},
    {"model"},
    {"export", "explain"},
    {"tasks", "training", "frozen"},
    {"job", "run"},
    {"batch_prediction", "benchmark", "report"},
    {"recipe", "serving"},
    {"launch"},
    {"cli", "testing"},
)
RANKS = {name: rank for rank, group in enumerate(GROUPS) for name in group}


@functools.cache
def modules():
    return {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def own_imports(tree):
    """The package's modules that a file imports anywhere in it, for type checking alone included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("keras_transfer"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_transfer":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("keras_transfer.") in modules() else node.module


def edges():
    for name, tree in modules().items():
        if name == "__init__":
            continue
        for imported in own_imports(tree):
            target = imported.removeprefix("keras_transfer").removeprefix(".")
            if target:
                yield name, target


def package_of(module):
    return module.split(".")[0]


def test_every_package_has_a_rank():
    assert {package_of(name) for name in modules()} - {"__init__"} == set(RANKS)


def test_the_root_holds_few_modules():
    roots = {"__init__", "errors", "model", "registry"}
    assert {name for name in modules() if "." not in name} == roots


def test_imports_point_left():
    ranks = [((a, b), RANKS[package_of(a)], RANKS[package_of(b)]) for a, b in edges()]
    assert [edge for edge, importing, imported in ranks if imported > importing] == []
    assert ("recipe.base", "run.run") in set(edges())


def test_packages_of_the_same_rank_import_in_one_direction_only():
    pairs = {(package_of(a), package_of(b)) for a, b in edges()}
    assert [(a, b) for a, b in pairs if a != b and (b, a) in pairs] == []


def test_run_does_not_import_recipe():
    assert [edge for edge in edges() if edge[0].startswith("run.") and edge[1].startswith("recipe")] == []


def test_no_cycles():
    graph = {}
    for a, b in edges():
        graph.setdefault(a, set()).add(f"{b}.__init__" if f"{b}.__init__" in modules() else b)
    done, path = set(), []

    def visit(module):
        assert module not in path, f"import cycle: {' -> '.join([*path, module])}"
        if module not in done:
            path.append(module)
            for imported in sorted(graph.get(module, ())):
                visit(imported)
            done.add(path.pop())

    for module in sorted(graph):
        visit(module)


def test_only_training_sets_trainable():
    def assigns(tree):
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            yield from (t for t in targets if isinstance(t, ast.Attribute) and t.attr == "trainable")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
                yield from (a for a in node.args if isinstance(a, ast.Constant) and a.value == "trainable")

    assert [name for name, tree in modules().items() if any(assigns(tree))] == ["training.phase"]


def test_no_private_keras_and_no_assert():
    private = [
        (name, node.lineno)
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(a.name.startswith("keras.src") for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"))
        or (isinstance(node, ast.ImportFrom) and node.module == "keras" and any(a.name == "src" for a in node.names))
        or (isinstance(node, ast.Attribute) and ast.unparse(node).startswith("keras.src"))
    ]
    assert private == []
    asserts = [
        (n, node.lineno) for n, tree in modules().items() for node in ast.walk(tree) if isinstance(node, ast.Assert)
    ]
    assert asserts == []


CALL = "from keras_transfer.cli import main; main({arguments!r}, standalone_mode=False)"


@pytest.mark.parametrize(
    "code",
    [
        "import keras_transfer; keras_transfer.TransferError; keras_transfer.RecipeConfig; dir(keras_transfer)",
        "import keras_transfer.cli",
        CALL.format(arguments=["--help"]),
        CALL.format(arguments=["run", "--help"]),
        CALL.format(arguments=["list"]),
        CALL.format(arguments=["list", "--json"]),
        CALL.format(arguments=["show", "image/quickstart"]),
        CALL.format(arguments=["copy", "image/quickstart", "copied.yaml"]),
        CALL.format(arguments=["cache"]),
        CALL.format(arguments=["schema"]),
    ],
)
def test_modules_that_do_not_need_tensorflow_do_not_import_it(code, tmp_path):
    check = "import sys; heavy = {'tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules); "
    command = [sys.executable, "-c", f"{code}\n{check}sys.exit(f'imported: {{sorted(heavy)}}' if heavy else 0)"]
    # The package is found wherever this process found it.
    path = {"PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
