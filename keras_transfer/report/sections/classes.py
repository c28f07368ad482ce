"""A row for each class, label or number: results, and how many rows every split has."""

from collections.abc import Sequence
from functools import singledispatch

from markupsafe import Markup

from keras_transfer.heads import ClassificationReport, MultilabelReport, RegressionReport
from keras_transfer.heads.classification import ClassReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.heads.multilabel import LabelReport
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

MOST_ROWS = 200
"""Of a table; metrics.json has all of them."""

MOST_OPEN = 30
"""Rows of a table that is shown as a whole; a longer one is folded."""

_MOST_NAMED, _MOST_WORST = 20, 15


def per_class(content: Content) -> Section | None:
    """Return precision, recall and F1 of each class or label, and the errors of each number."""
    return None if content.report is None else _table(content.report)


@singledispatch
def _table(report: Report) -> Section | None:
    return None


@_table.register
def _(report: ClassificationReport) -> Section:
    return Section("classes", "Results per class", _results(report, report.classes, labels=False))


@_table.register
def _(report: MultilabelReport) -> Section:
    return Section("classes", "Results per label", _results(report, report.labels, labels=True))


def _results(
    report: ClassificationReport | MultilabelReport, rows: Sequence[ClassReport | LabelReport], *, labels: bool
) -> Markup:
    measured = [one for one in rows if one.f1 is not None]
    return render(
        "classes.html",
        report=report,
        worst=sorted(measured, key=lambda one: one.f1 or 0.0)[:_MOST_WORST] if len(rows) > MOST_OPEN else (),
        classes=rows[:MOST_ROWS],
        more=max(len(rows) - MOST_ROWS, 0),
        labels=labels,
        without=report.without_rows[:_MOST_NAMED],
    )


@_table.register
def _(report: RegressionReport) -> Section:
    rows, more = report.numbers[:MOST_ROWS], max(len(report.numbers) - MOST_ROWS, 0)
    return Section("classes", "Errors per number", render("numbers.html", numbers=rows, more=more))


def counts(content: Content) -> Section | None:
    """Return the rows per class or label and split, or the range of each number."""
    if content.runs:  # each has other splits
        return None
    if content.ranges():
        return _ranges(content)
    key = "classes" if content.counts("classes") else "labels"
    splits = {name: part for name, part in content.counts(key).items() if part}
    if not splits:
        return None
    rows = [(name, [part.get(name, 0) for part in splits.values()]) for name in content.names[:MOST_ROWS]]
    what = "class" if key == "classes" else "label"
    body = render(
        "counts.html",
        splits=list(splits),
        rows=rows,
        most=max((value for _, values in rows for value in values), default=0) or 1,
        totals=[content.run.record["splits"][name]["count"] for name in splits],
        what=what,
        is_folded=len(rows) > MOST_OPEN,
        more=max(len(content.names) - MOST_ROWS, 0),
    )
    return Section("counts", f"Rows per {what}", body)


def _ranges(content: Content) -> Section:
    splits, ranges = content.run.record["splits"], content.ranges()
    rows = [
        (name, split, splits[split]["count"], numbers[name])
        for name in content.names[:MOST_ROWS]
        for split, numbers in ranges.items()
        if name in numbers
    ]
    more = max(len(content.names) - MOST_ROWS, 0)
    return Section("counts", "Range of the numbers", render("ranges.html", rows=rows, more=more))
