"""How many rows of each class or label every split has."""

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.classes import MOST_OPEN, MOST_ROWS


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
