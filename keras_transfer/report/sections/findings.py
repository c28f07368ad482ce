"""What a run found in its data: training labels that look wrong, and examples in two splits."""

from collections.abc import Sequence

from markupsafe import Markup

from keras_transfer.data.checks.findings import Finding, read_findings
from keras_transfer.errors import CheckpointError, DataError
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render
from keras_transfer.run.folder import FINDINGS, damaged

MOST_ROWS = 50
"""Of a table; findings.csv has all of them."""


def suspicious_labels(content: Content) -> Section | None:
    """Return the training rows whose labels are probably wrong, by the solved head's held-out predictions."""
    found = _read(content, "suspicious_label")
    if not found:
        return None
    body = _table(
        found,
        "suspicious labels",
        f"{len(found):,} training labels differ from what the solved head predicts for the rows while they are held "
        "out. Look at them: some are wrong labels, others are hard examples.",
    )
    return Section("suspicious-labels", "Suspicious labels", body)


def repeated_examples(content: Content) -> Section | None:
    """Return the training rows that are in another split, too."""
    found = _read(content, "duplicate_in_splits", "near_duplicate_in_splits")
    if not found:
        return None
    body = _table(
        found,
        "examples in two splits",
        f"{len(found):,} training rows are in another split, too, so results on that split are too good. Leave them "
        "out with data.exclude, or keep them together with data.group.",
    )
    return Section("examples-in-two-splits", "Examples in two splits", body)


def _read(content: Content, *kinds: str) -> list[Finding]:
    """The findings of all runs of a page, each once; none for a page on another source."""
    if content.source is not None:
        return []
    findings: dict[Finding, None] = {}
    for run in content.runs or (content.run,):
        file = run.folder / FINDINGS
        if not file.is_file():  # a run of an earlier version
            continue
        try:
            findings |= dict.fromkeys(read_findings(file))
        except (DataError, CheckpointError) as error:
            raise damaged(file, str(error)) from error
    return [one for one in findings if one.kind in kinds]


def _table(findings: Sequence[Finding], title: str, lead: str) -> Markup:
    return render(
        "findings.html",
        lead=lead,
        title=title,
        findings=findings[:MOST_ROWS],
        more=max(len(findings) - MOST_ROWS, 0),
        file=FINDINGS,
        labelled=any(one.label for one in findings),
        suggests=any(one.suggested_label for one in findings),
    )
