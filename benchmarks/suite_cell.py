"""What suite.py hands to the process that computes a cell, and what that process hands back.

A cell is a folder: cell.json, the tables train and test (.csv of images, .jsonl of texts), and in the end predicted.npz
with ``probabilities``, ``float[test rows, classes]``, classes in alphabetical order; of a method with several parts,
with the name of each part behind it. This module imports numpy alone: peers run in environments of their own.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A cell to compute.

    Attributes:
        kind: ``image`` or ``text``.
        classes: In alphabetical order.
        train: Paths of images, or texts, and the index of each one's class.
        test: The same.
        train_rows: The number of each training row in the set's features.
        test_rows: The same of test rows.
        size: Pixels of a side, or the most tokens of a text.
        flips: Axes along which images may be flipped.
        seed: The draw.
        features: A file with ``features``, ``float32[rows, width]`` of every row of the set, ``numbers`` and
            ``seconds`` per row.
        weights: The file or folder of the pretrained network, for peers that lack this project.
        settings: Of the method.
    """

    kind: str
    classes: list[str]
    train: tuple[list[str], list[int]]
    test: tuple[list[str], list[int]]
    train_rows: list[int]
    test_rows: list[int]
    size: int
    flips: list[str]
    seed: int
    features: str
    weights: str
    settings: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write it for the process that computes it."""
        (folder / "cell.json").write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> "Cell":
        """Read it in that process."""
        return Cell(**json.loads((folder / "cell.json").read_text(encoding="utf-8")))


def write_predicted(folder: Path, probabilities: np.ndarray, **facts: Any) -> None:
    """Hand predictions of the test rows back, and facts for the line in the results."""
    write_predictions(folder, {"": probabilities}, **facts)


def write_predictions(folder: Path, predicted: dict[str, np.ndarray], **facts: Any) -> None:
    """Hand back those of several methods that one process computes, by name."""
    arrays = {f"probabilities{name}": np.asarray(each, np.float32) for name, each in predicted.items()}
    np.savez(folder / "predicted.npz", **arrays)
    (folder / "facts.json").write_text(json.dumps(facts))
