"""A process of suite.py: a recipe on the rows of a cell, with what its settings override. Usage: CELL_FOLDER

It does what `keras-transfer run` does, without writing a run folder or measuring what only report.html shows: the
predictions are those that the run reports.
With --features, the folder's cell has every row of a set: it computes their features by the frozen network.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from suite_cell import Cell, write_predicted

from keras_transfer.data.splits.splits import Split
from keras_transfer.recipe.base import Recipe
from keras_transfer.recipe.prepare import resolve_learning_rate, resolve_policy


def make_recipe(cell: Cell, folder: Path) -> Recipe:
    """Write the tables and the recipe of a cell: the task's defaults but for what a user knows of the set."""
    data: dict[str, Any] = {name: write_table(cell, name, folder) for name in ("train", "test")}
    data["source"] = data.pop("train")
    recipe: dict[str, Any] = {"data": data, "seed": cell.seed, "export": {"formats": []}, "report": False}
    if cell.kind == "image":
        data["image_size"] = cell.size
        flips = {f"{axis}_flip": axis in cell.flips for axis in ("horizontal", "vertical")}
        recipe |= {"task": "image_classification", "augmentation": flips}
    else:
        data["sequence_length"] = cell.size
        recipe |= {"task": "text_classification"}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe))  # JSON is YAML
    overrides = [f"{key}={json.dumps(value)}" for key, value in cell.settings.items() if key != "parts"]
    return Recipe.from_file(file, overrides)


def write_table(cell: Cell, name: str, folder: Path) -> str:
    examples, labels = getattr(cell, name)
    column, file = ("path", f"{name}.csv") if cell.kind == "image" else ("text", f"{name}.jsonl")
    rows = pd.DataFrame({column: examples, "label": [cell.classes[label] for label in labels]})
    if cell.kind == "image":
        rows.to_csv(folder / file, index=False)
    else:
        rows.to_json(folder / file, orient="records", lines=True)
    return str(folder / file)


def compute(cell: Cell, folder: Path) -> None:
    """Train and evaluate."""
    job = make_recipe(cell, folder).prepare()
    job, choice = resolve_policy(job, None)
    job = resolve_learning_rate(job, None)
    evaluation = job.evaluate(job.train())
    facts = {} if choice is None else {"choice": choice.policy}
    write_predicted(folder, evaluation.predicted["test"][find_rows(job.splits.test, cell.test)], **facts)


def find_rows(split: Split, part: tuple[list[str], list[int]]) -> np.ndarray:
    """Return the row of each of a cell's examples in a split, which has an order of its own."""
    examples = split.examples
    names = [text for text, *_ in examples.texts.segments] if hasattr(examples, "texts") else examples.names
    rows = {name: row for row, name in enumerate(names)}
    found = np.array([rows[example] for example in part[0]])
    if split.targets[found].tolist() != part[1]:
        raise ValueError("the labels of the split are not those of the cell")
    return found


def compute_features(cell: Cell, folder: Path) -> None:
    """Compute the features of the frozen network."""
    job = make_recipe(cell, folder).prepare()
    job.batches.cache.pooled(job.model, job.splits.test)  # compiles
    started = time.process_time()
    train = job.batches.cache.pooled(job.model, job.splits.train)[0]
    seconds = (time.process_time() - started) / len(train)
    train = train[find_rows(job.splits.train, cell.train)]
    test = job.batches.cache.pooled(job.model, job.splits.test)[0][find_rows(job.splits.test, cell.test)]
    numbers = [*cell.train_rows, *cell.test_rows]
    np.savez(cell.features, features=np.concatenate([train, test]), numbers=numbers, seconds=seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", action="store_true")
    arguments = parser.parse_args()
    work = compute_features if arguments.features else compute
    work(Cell.read(arguments.folder), arguments.folder)
