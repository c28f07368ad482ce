"""The runs of a cross-validation beside one another."""

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render


def runs(content: Content) -> Section | None:
    """Return each figure of each run, with mean and standard deviation, as summary.json has them."""
    if content.summary is None:
        return None
    names = [run.folder.name for run in content.runs]
    body = render("runs.html", names=names, figures=content.summary["test"])
    return Section("runs", "Runs", body)
