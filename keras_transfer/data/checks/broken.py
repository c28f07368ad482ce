"""Report examples that cannot be read before training, or leave them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.examples.files import FileExamples
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError, list_lines


@dataclass(frozen=True)
class Scan:
    """The result of a scan.

    Attributes:
        broken: One line for each broken example.
        findings: A finding for each broken example.
    """

    splits: Sequence[Split]
    broken: Sequence[str]
    notes: Sequence[str] = ()
    findings: Sequence[Finding] = ()


def leave_out_broken(
    splits: Sequence[Split],
    problems: Sequence[Mapping[int, str]],
    *,
    broken: str,
    plural: str,
    verdict: str = "cannot be read",
) -> Scan:
    """Report broken examples, or leave them out.

    Args:
        problems: For each split, the problems of broken examples by their rows.
        broken: ``error`` or ``skip``.
        plural: The word for examples in messages: ``images``.

    Returns:
        The splits without their broken examples, and a line and a finding for each.

    Raises:
        DataError: There are broken examples and ``broken`` is ``error``, or all examples of a split are broken.
    """
    places = [cast(FileExamples, split.examples).places for split in splits]
    found = list(
        dict.fromkeys(
            f"{own[row]}: {problem}"
            for own, each in zip(places, problems, strict=True)
            for row, problem in each.items()
        )
    )
    kept = [
        split.select([row for row in range(len(split)) if row not in each])
        for split, each in zip(splits, problems, strict=True)
    ]
    emptied = [split.name for split, rest in zip(splits, kept, strict=True) if len(split) and not len(rest)]
    if found and (broken == "error" or emptied):
        skip = f": no {emptied[0]} row is left" if broken == "skip" else ", or drop them with data.broken=skip"
        raise DataError(
            f"{len(found)} of {sum(map(len, splits))} {plural} {verdict}:\n{list_lines(found)}\n"
            f"Fix or remove them{skip}."
        )
    findings = [
        Finding("broken", split.examples.names[row], split.name, detail=problem)
        for split, each in zip(splits, problems, strict=True)
        for row, problem in each.items()
    ]
    return Scan(kept, found, findings=findings)
