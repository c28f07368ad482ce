"""The rows of all splits in one list, as findings name them."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.none import NoTarget


@dataclass(frozen=True)
class Rows:
    """Rows of a recipe, those of the training split first.

    Attributes:
        names: The name of each example.
        splits: The split of each.
        labels: The label of each, as :class:`Finding` has it; empty without labels.
    """

    names: Sequence[str]
    splits: Sequence[str]
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def of(splits: Splits) -> "Rows":
        """Return the rows of all splits."""
        parts = [Rows.of_split(split, splits.target) for split in splits]
        return Rows(
            [name for part in parts for name in part.names],
            [name for part in parts for name in part.splits],
            [label for part in parts for label in part.labels],
        )

    @staticmethod
    def of_split(split: Split, target: Target) -> "Rows":
        """Return the rows of one split."""
        labelled = not isinstance(target, NoTarget)
        labels = [target.fingerprint(row) if labelled else "" for row in split.targets]
        return Rows(split.examples.names, [split.name] * len(split), labels)

    def find(self, kind: str, row: int, detail: str, score: float = 1.0, suggested_label: str = "") -> Finding:
        """Return a finding on a row.

        Args:
            kind: One of ``KINDS``.
            score: From 0 to 1.
        """
        return Finding(kind, self.names[row], self.splits[row], self.labels[row], detail, float(score), suggested_label)

    def place(self, row: int) -> str:
        """Return the name and the split of a row, for details."""
        return f"{self.names[row]} ({self.splits[row]})"
