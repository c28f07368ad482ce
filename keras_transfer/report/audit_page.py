"""audit.html: what an audit found, on one page, with the style of report.html."""

import base64
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from keras_transfer.audit.result import FINDINGS, Audit
from keras_transfer.data.checks.findings import KINDS, Finding
from keras_transfer.report.html import Section, render, render_page
from keras_transfer.storage.atomic import whole

AUDIT_PAGE = "audit.html"
MOST_ROWS = 24
"""Of each kind; audit.csv has all of them."""


def write_audit_page(audit: Audit, folder: Path) -> Path:
    """Write the page of an audit.

    Raises:
        CheckpointError: It cannot be written.
    """
    title = f"Audit: {audit.source}"
    counts = ", ".join(f"{count:,} {name}" for name, count in audit.rows.items() if count)
    found = "1 finding" if len(audit) == 1 else f"{len(audit):,} findings"
    summary = f"{counts} rows; {found}." if len(audit) else f"{counts} rows. Nothing was found."
    header = render("audit_header.html", title=title, notes=(summary, *audit.notes))
    sections = [_make_section(kind, audit) for kind in audit.counts]
    with whole(folder / AUDIT_PAGE) as unfinished:
        unfinished.write_text(render_page(title, header, sections), encoding="utf-8")
    return folder / AUDIT_PAGE


def _make_section(kind: str, audit: Audit) -> Section:
    found = [one for one in audit.findings if one.kind == kind]
    shown = found[:MOST_ROWS]
    body = render(
        "audit.html",
        meaning=KINDS.get(kind, ""),
        title=_title(kind),
        rows=[(one, _show(one, audit)) for one in shown],
        columns=_columns(shown),
        more=len(found) - len(shown),
        file=FINDINGS,
    )
    return Section(kind.replace("_", "-"), f"{_title(kind)} ({len(found):,})", body)


def _title(kind: str) -> str:
    return kind.replace("_", " ").capitalize()


def _columns(findings: Sequence[Finding]) -> list[str]:
    """The columns that are not empty."""
    columns = ("example", "split", "label", "suggested_label", "detail")
    return [column for column in columns if any(getattr(one, column) for one in findings)]


def _show(finding: Finding, audit: Audit) -> Markup:
    """What a reader sees of an example: a small image or the start of a text."""
    preview = audit.previews.get((finding.split, finding.example))
    if isinstance(preview, bytes):
        content = base64.b64encode(preview).decode("ascii")
        # The name is beside it.
        return Markup('<img alt="" width="96" src="data:image/jpeg;base64,{}"><br>').format(content)
    return render("preview.html", text=preview) if preview else Markup("")
