"""report.html, the page of a run, and audit.html, the page of an audit."""

import base64
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from markupsafe import Markup
from rich.console import Console

from keras_transfer.audit.result import FINDINGS, Audit
from keras_transfer.console import print_line
from keras_transfer.data.checks.findings import KINDS, Finding
from keras_transfer.data.splits.splits import Splits
from keras_transfer.errors import TransferWarning
from keras_transfer.heads.evaluation import Floats
from keras_transfer.report.content import Content, read_content, read_other_content
from keras_transfer.report.html import Section, render, render_page
from keras_transfer.report.sections import SECTIONS
from keras_transfer.report.sections.header import make_header
from keras_transfer.run.folder import REPORT
from keras_transfer.run.rows import TableOptions
from keras_transfer.run.run import Run
from keras_transfer.storage.atomic import whole


def write_page(
    run: Run,
    splits: Splits | None = None,
    predicted: Mapping[str, Floats] | None = None,
    *,
    file: Path | None = None,
) -> Path:
    """Write the page of a run on its own rows.

    Args:
        splits: The run's data, if it is in memory; else it is read again, if it is on this machine.
        file: The output file; by default report.html in the run folder.

    Raises:
        CheckpointError: The run folder is damaged, or the file cannot be written.
    """
    return write_content(read_content(run, splits, predicted), file or run.folder / REPORT)


def write_source_page(run: Run, data: str, *, file: Path | None = None, **table: Unpack[TableOptions]) -> Path:
    """Evaluate a run on another source, and write the page with the results.

    Args:
        data: The source, as :meth:`Run.evaluate` takes it.
        file: The output file; by default report-NAME.html in the run folder.
        **table: How a table is read, as :meth:`Run.evaluate` takes it.

    Raises:
        ConfigError: An option for tables is set without a table, or is wrong.
        DataError: The source cannot be read, or has classes that the model was not trained on.
        CheckpointError: The file cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(data).name).strip("-.") or "source"
    content = read_other_content(run, run.read_source(data, **table), data)
    return write_content(content, file or run.folder / f"report-{name}.html")


def try_to_write_page(write: Callable[[], Path], folder: Path, console: Console | None) -> None:
    """Write report.html. The run has already ended successfully: a page that cannot be drawn is only a warning.

    Args:
        console: Prints the location; None for silence.
    """
    try:
        page = write()
    except Exception as error:
        warnings.warn(
            f"{folder / REPORT} could not be written: {error or type(error).__name__}. The run is finished. Try "
            f"again with: keras-transfer report {folder}",
            TransferWarning,
            stacklevel=3,
        )
        return
    if console:
        print_line(f"Report: {page}", console)


def write_content(content: Content, file: Path) -> Path:
    """Write the page of a run with some rows.

    Raises:
        CheckpointError: The file cannot be written.
    """
    page = make_page(content)
    with whole(file) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return file


def make_page(content: Content) -> str:
    """Return the page of a run with some rows, as HTML."""
    sections = [section for make in SECTIONS if (section := make(content)) is not None]
    title, header = make_header(content)
    return render_page(title, header, sections)


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
    summary = f"{counts} rows; {found}." if len(audit) else f"{counts} rows. No problems found."
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
    """The columns that are not empty in all rows."""
    columns = ("example", "split", "label", "suggested_label", "detail")
    return [column for column in columns if any(getattr(one, column) for one in findings)]


def _show(finding: Finding, audit: Audit) -> Markup:
    """A preview of an example: a small image or the start of a text."""
    preview = audit.previews.get((finding.split, finding.example))
    if isinstance(preview, bytes):
        content = base64.b64encode(preview).decode("ascii")
        # The name is next to it.
        return Markup('<img alt="" width="96" src="data:image/jpeg;base64,{}"><br>').format(content)
    return render("preview.html", text=preview) if preview else Markup("")
