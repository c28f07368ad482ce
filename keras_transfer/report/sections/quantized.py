"""What exports with quantized weights lost, according to their checks."""

from dataclasses import dataclass
from pathlib import Path

from keras_transfer.errors import ExportError
from keras_transfer.export import MetricDrop, find_exporter
from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render
from keras_transfer.run.folder import EXPORT, MODEL
from keras_transfer.run.run import Run

_MOST = 20


@dataclass(frozen=True)
class Quantized:
    """A quantized export.

    Attributes:
        size_bytes: Size of the model's file or files, without other files.
    """

    path: str
    size_bytes: int
    drop: MetricDrop

    @property
    def change(self) -> float:
        """The change of the metric; less than 0 if it is worse. Never -0."""
        return 0.0 - self.drop.drop

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the change."""
        low, high = self.drop.interval
        return 0.0 - high, 0.0 - low

    @property
    def allowed(self) -> float:
        """The lowest change with which an export is written."""
        return 0.0 - self.drop.max_drop


def quantized(content: Content) -> Section | None:
    """Return the metric of each quantized export in the run folder beside that of the model."""
    found = [] if content.runs else find_quantized(content.run)
    if not found:
        return None
    figure = found[0].drop.figure
    body = render(
        "quantized.html",
        exports=found[-_MOST:],
        model_bytes=_size(content.run.folder / MODEL),
        metric=figure.name.replace("_", " "),
        is_error=figure.is_error,
        spec=".4g" if figure.is_error else ".1%",
        change_spec="+.3g" if figure.is_error else "+.2%",
    )
    return Section("quantized", "Quantized exports", body)


def find_quantized(run: Run) -> list[Quantized]:
    """Return the quantized exports in a run folder, without those that are damaged or unchecked."""
    found = []
    for path in sorted((run.folder / EXPORT).glob("*/*")):
        exporter = find_exporter(path)
        if exporter is None:
            continue
        try:
            description = exporter.read_description(path)
        except ExportError:  # damaged, or its runtime is not installed
            continue
        drop = None if description.proof is None else MetricDrop.from_json(description.proof)
        if drop is not None:
            name = path.relative_to(run.folder).as_posix()
            found.append(Quantized(name, _size(exporter.find_artifact(path)), drop))
    return found


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
