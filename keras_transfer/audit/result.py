"""The result of an audit: what was found, as a table in a terminal and as CSV files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from keras_transfer.console import print_line, print_table
from keras_transfer.data.checks.findings import KINDS, Finding, count_kinds, to_frame, write_findings
from keras_transfer.data.tables.write import write_table
from keras_transfer.errors import CheckpointError

FINDINGS, RELABEL = "audit.csv", "relabel.csv"
"""The files that an audit writes: every finding, and the labels that it suggests."""

_MOST_SHOWN = 60


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        source: The source, as the recipe names it.
        rows: The number of rows of each split.
        findings: The most serious kind first; those of a kind by their score.
        notes: Lines on what could not be checked.
        previews: Previews of some findings' examples, by split and name: a small JPEG image, or a text.

    Example:
        >>> audit = Audit("images/", {"train": 3}, (Finding("dark", "night.jpg", "train"),))
        >>> audit.counts, len(audit)
        ({'dark': 1}, 1)
    """

    source: str
    rows: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    previews: Mapping[tuple[str, str], bytes | str] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind, the most serious kind first."""
        return count_kinds(self.findings)

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a DataFrame, one row for each."""
        return to_frame(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON types."""
        findings = self.to_frame().to_dict("records")
        return {"source": self.source, "rows": dict(self.rows), "notes": list(self.notes), "findings": findings}

    def suggested_labels(self) -> pd.DataFrame:
        """Return a table for ``data.relabel``: the examples with a suggested label, each once."""
        best: dict[tuple[str, str], str] = {}
        for one in self.findings:
            if one.example and one.suggested_label:
                best.setdefault((one.example, one.split), one.suggested_label)
        rows = [[example, split, label] for (example, split), label in best.items()]
        return pd.DataFrame(rows, columns=["example", "split", "label"], dtype=object)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write audit.csv, and relabel.csv with the suggested labels.

        Args:
            folder: Made if it does not exist.

        Returns:
            The two files.

        Raises:
            CheckpointError: They cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be made: {error.strerror}. Choose another folder.") from error
        files = folder / FINDINGS, folder / RELABEL
        write_findings(files[0], self.findings)
        write_table(files[1], self.suggested_labels())
        return files

    def print(self, console: Console) -> None:
        """Print how many findings there are of each kind, each with its worst example."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.rows.items() if count)
        print_line(f"Audit of {self.source}: {counts} rows", console)
        for note in self.notes:
            print_line(note, console)
        print_findings(self.findings, console)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print a row for each kind of finding, with its worst example."""
    if not findings:
        print_line("No problems found.", console)
        return
    worst: dict[str, Finding] = {}
    for one in findings:
        worst.setdefault(one.kind, one)
    counts = count_kinds(findings)
    rows = [
        [kind, f"{counts[kind]:,}", KINDS.get(kind, ""), _shorten(one.example or one.label), _shorten(one.detail)]
        for kind, one in worst.items()
    ]
    headings = ["finding", "count", "meaning", "for example", "detail"]
    print_table(headings, rows, console, left=headings[2:])


def _shorten(text: str) -> str:
    """Shorten a long name to its end, which distinguishes it from others more often than its start."""
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2 - 2]}...{text[-_MOST_SHOWN // 2 :]}"
