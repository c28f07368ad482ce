"""How many rows of each class or label every split has."""

from collections.abc import Mapping
from typing import Any

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.classes import MOST_ROWS


def counts(content: Content) -> Section | None:
    """Return the rows per class or label and split, or the range of each number."""
    if content.runs:  # each has other splits
        return None
    splits = content.run.record["splits"]
    if any("numbers" in split for split in splits.values()):
        return _ranges(content, splits)
    key = next((key for key in ("classes", "labels") if key in splits["train"]), None)
    if key is None:
        return None
    names = [name for name, split in splits.items() if split["count"]]
    rows = [
        (name, [split[key].get(name, 0) for split in splits.values() if split["count"]])
        for name in content.names[:MOST_ROWS]
    ]
    body = render(
        "counts.html",
        splits=names,
        rows=rows,
        most=max((value for _, values in rows for value in values), default=0) or 1,
        totals=[splits[name]["count"] for name in names],
        what="class" if key == "classes" else "label",
        more=max(len(content.names) - MOST_ROWS, 0),
    )
    return Section("counts", f"Rows per {'class' if key == 'classes' else 'label'}", body)


def _ranges(content: Content, splits: Mapping[str, Any]) -> Section:
    rows = [
        (name, split, part["count"], part["numbers"][name])
        for name in content.names[:MOST_ROWS]
        for split, part in splits.items()
        if name in part.get("numbers", {})
    ]
    more = max(len(content.names) - MOST_ROWS, 0)
    return Section("counts", "Range of the numbers", render("ranges.html", rows=rows, more=more))
