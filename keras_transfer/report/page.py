"""report.html: a run on one page, for a browser."""

import re
from collections.abc import Mapping
from pathlib import Path

from keras_transfer.data.splits.splits import Splits
from keras_transfer.heads.evaluation import Floats
from keras_transfer.report.content import Content, read_content, read_other_content
from keras_transfer.report.html import render_page
from keras_transfer.report.sections import SECTIONS
from keras_transfer.report.sections.header import make_header
from keras_transfer.run.folder import REPORT
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
        run: The run.
        splits: The run's data, if it is in memory; else it is read again, if it is on this machine.
        predicted: Predictions by split, if they are in memory.
        file: Where to; by default report.html in the run folder.

    Returns:
        The file.

    Raises:
        CheckpointError: The run folder is damaged, or the file cannot be written.
    """
    return write_content(read_content(run, splits, predicted), file or run.folder / REPORT)


def write_source_page(run: Run, data: str, *, root: str | None = None, file: Path | None = None) -> Path:
    """Evaluate a run on another source, and write the page of that.

    Args:
        run: The run.
        data: The source, as :meth:`Run.evaluate` takes it.
        root: As there.
        file: Where to; by default report-NAME.html in the run folder.

    Returns:
        The file.

    Raises:
        DataError: The source cannot be read, or has classes that the model does not know.
        CheckpointError: The file cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(data).name).strip("-.") or "source"
    content = read_other_content(run, run.read_source(data, root=root), data)
    return write_content(content, file or run.folder / f"report-{name}.html")


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
