"""Run folders for the page, made in milliseconds: all that a page reads is real, and the model is an empty file."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_transfer import Run
from keras_transfer.config.recipe_file import parse_recipe, write_recipe
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.heads import make_head
from keras_transfer.heads.evaluation import measure_gain
from keras_transfer.run.folder import seal, write_json
from keras_transfer.run.predictions import Predicted, write_predictions


@dataclass(frozen=True)
class Made:
    """What a run folder is to hold.

    Attributes:
        kind: The target.
        names: Of the outputs.
        rows: By split.
        skill: How far the true output exceeds the noise.
        recipe: Further keys.
        only: The only class of the test rows.
        source: What the recipe calls the data.
    """

    kind: str = "class"
    names: Sequence[str] = ("cat", "dog")
    rows: Mapping[str, int] = field(default_factory=lambda: {"train": 60, "validation": 30, "test": 40})
    skill: float = 2.0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    only: int | None = None
    source: str = "images"
    with_predictions: bool = True
    with_gain: bool = True
    seed: int = 0


def _draw_targets(made: Made, split: str, n: int, random: np.random.Generator) -> Any:
    outputs = len(made.names)
    if made.kind == "class":
        targets = np.resize(np.arange(outputs), n)
        return np.full(n, made.only) if made.only is not None and split == "test" else random.permutation(targets)
    if made.kind == "multilabel":
        return (random.random((n, outputs)) < 0.3).astype(np.float32)
    return (random.normal(size=(n, outputs)) * 7 + 50).astype(np.float32)


def _predict(made: Made, targets: Any, random: np.random.Generator) -> Any:
    shape = (len(targets), len(made.names))
    if made.kind == "class":
        logits = random.normal(size=shape) + made.skill * np.eye(shape[1])[targets]
        odds = np.exp(logits)
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    if made.kind == "multilabel":
        return (1 / (1 + np.exp(-random.normal(size=shape) - made.skill * (2 * targets - 1)))).astype(np.float32)
    return (targets + random.normal(size=shape) * 5 / made.skill).astype(np.float32)


_EPOCHS = (("head", 1, 0.61, 0.71, 0.64, 0.7), ("stages", 1, 0.5, 0.8, 0.52, 0.77), ("stages", 2, 0.3, 0.9, 0.45, 0.81))
_COLUMNS = ("phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy")
_HISTORY = [{**dict(zip(_COLUMNS, epoch, strict=True)), "seconds": 2.5} for epoch in _EPOCHS]
_ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux",
    "versions": {"keras-transfer": "0.1.0", "keras": "3.15.1"},
    "backend": "tensorflow",
    "cpu_count": 2,
    "devices": ["/physical_device:CPU:0"],
    "seed": 0,
}


def _write_run(folder: Path, made: Made) -> Run:
    random = np.random.default_rng(made.seed)
    values = {"task": "image_classification", "data": {"source": made.source, "target": made.kind}, **made.recipe}
    if made.kind != "class":
        values["data"] = {**values["data"], "label": list(made.names)}
    config = parse_recipe(values, known={}, where="The recipe")
    target = TARGETS[made.kind](tuple(made.names))
    targets = {name: _draw_targets(made, name, n, random) for name, n in made.rows.items()}
    head: Any = make_head(config, target.names, targets["train"])
    folder.mkdir(parents=True)
    write_recipe(config, folder / "recipe.yaml")
    write_json(folder / "environment.json", _ENVIRONMENT)
    splits = {
        name: {
            "count": len(part),
            **target.describe(part),
            "fingerprint": "0",
            "rows": [[f"{name}/{row:05}.png", target.decode(value)] for row, value in enumerate(part)],
            "hashes": ["0"] * len(part),
        }
        for name, part in targets.items()
    }
    write_json(folder / "data.json", {target.names_key: list(target.names), "notes": [], "splits": splits})
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in _HISTORY), encoding="utf-8")
    predicted = {name: _predict(made, targets[name], random) for name in ("validation", "test") if made.rows[name]}
    if made.rows["validation"]:
        head = head.calibrate(predicted["validation"], targets["validation"])
    predicted = {name: np.asarray(head.calibrated(rows), np.float32) for name, rows in predicted.items()}
    reports = [head.report(name, rows, targets[name]) for name, rows in predicted.items()]
    if made.with_gain:
        weaker = {name: _predict(replace(made, skill=made.skill / 2), targets[name], random) for name in predicted}
        reports = [replace(report, gain=_gain(head, report, predicted, weaker, targets)) for report in reports]
    write_json(folder / "metrics.json", {report.split: report.to_json() for report in reports})
    if head.facts:
        write_json(folder / "head.json", head.facts)
    if made.with_predictions:
        write_predictions(folder, {name: Predicted(rows, targets[name]) for name, rows in predicted.items()})
    (folder / "model.keras").write_bytes(b"")
    seal(folder)
    return Run(folder)


def _gain(head: Any, report: Any, predicted: Any, weaker: Any, targets: Any) -> Any:
    name = report.split
    return measure_gain(
        head.figure,
        lambda rows, counts: head.score(rows, targets[name], counts),
        predicted[name],
        weaker[name],
        head_seconds=2.0,
        seconds=60.0,
    )


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Run]:
    """``write_run(folder, kind="class", names=("cat", "dog"), ...)``: a finished run of what ``Made`` describes."""
    return lambda folder, **made: _write_run(folder, Made(**made))
