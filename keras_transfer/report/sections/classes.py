"""A row for each class, label or number."""

from functools import singledispatch

from markupsafe import Markup

from keras_transfer.heads import ClassificationReport
from keras_transfer.heads.evaluation import Report
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render

MOST_ROWS = 200
"""Of a table; metrics.json has all of them."""


def per_class(content: Content) -> Section | None:
    """Return precision, recall and F1 of each class or label, and the errors of each number."""
    if content.report is None:
        return None
    body = _table(content.report)
    return None if body is None else Section("classes", "Results per class", body)


@singledispatch
def _table(report: Report) -> Markup | None:
    return None


@_table.register
def _(report: ClassificationReport) -> Markup:
    return render("classes.html", classes=report.classes[:MOST_ROWS], more=max(len(report.classes) - MOST_ROWS, 0))
