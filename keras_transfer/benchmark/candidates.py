"""The candidates to measure: the Keras model, the exports of the run, and temporary exports of all other formats."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.errors import ConfigError, ExportError, TransferError
from keras_transfer.export import EXPORTERS, Exporter
from keras_transfer.run.folder import EXPORT, MODEL
from keras_transfer.run.run import Run

KERAS = "keras"
"""What the run's own model is called among the formats."""


@dataclass(frozen=True)
class Candidate:
    """A model to measure.

    Attributes:
        name: The format, and after a colon how it is quantized.
        path: The artifact; of the Keras model, its file. None if there is none.
        exporter: The class of its format; None for the Keras model.
        is_temporary: Whether it was exported for the benchmark alone.
        problem: Why it cannot be measured; None if nothing is known.
    """

    name: str
    path: Path | None
    exporter: type[Exporter] | None = None
    is_temporary: bool = False
    problem: str | None = None

    def measure_size(self) -> int | None:
        """Return the bytes of its file, or of all files in its folder; None if there is none."""
        if self.path is None:
            return None
        path = self.path if self.exporter is None else self.exporter.find_artifact(self.path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)


def check_formats(formats: Sequence[str]) -> None:
    """Refuse names of formats that do not exist, or that do not support their quantization.

    Raises:
        ConfigError: With the alternatives.
    """
    for name in formats:
        if name != KERAS:
            with contextlib.suppress(ExportError):  # missing packages are reported as results
                _make_exporter(name)


def find_candidates(
    run: Run, formats: Sequence[str] | None, scratch: Path, *, report: Callable[[str], None]
) -> Iterator[Candidate]:
    """Find exports in the run folder, and export what is missing.

    Args:
        formats: Names of formats, such as ``onnx`` or ``litert:int8``; None for the Keras model, all formats, and what
            the run has exported in quantized form.

    Yields:
        Each in turn; what comes before may have been measured by then.
    """
    exported = {name: path for kind in EXPORTERS for name, path in _find_exported(run, kind)}
    if formats is None:
        quantized = [name for name in exported if ":" in name]
        formats = [KERAS, *EXPORTERS, *quantized]
    for name in dict.fromkeys(formats):
        if name == KERAS:
            yield Candidate(name, run.folder / MODEL)
        elif name in exported:
            yield Candidate(name, exported[name], EXPORTERS[name.split(":")[0]])
        else:
            report(f"Exporting {name}")
            yield _export(run, name, scratch / name.replace(":", "-") / "1")


def _find_exported(run: Run, kind: str) -> Iterator[tuple[str, Path]]:
    """The readable versions of a format in the run folder, the newest last."""
    versions = [entry for entry in (run.folder / EXPORT / kind).glob("*") if entry.name.isdecimal()]
    for version in sorted(versions, key=lambda entry: int(entry.name)):
        try:
            exporter = EXPORTERS[kind]
            described = exporter.read_description(version) if exporter.recognizes(version) else None
        except TransferError:  # of an earlier version, or damaged: it is exported anew
            continue
        if described is not None:
            yield kind if described.quantize is None else f"{kind}:{described.quantize}", version


def _make_exporter(name: str) -> Exporter:
    kind, colon, quantize = name.partition(":")
    return EXPORTERS[kind](**({"quantize": quantize} if colon else {}))


def _export(run: Run, name: str, folder: Path) -> Candidate:
    kind = name.partition(":")[0]
    try:
        exporter = _make_exporter(name)
        run.export(folder, format=exporter)
        if not exporter.recognizes(folder):
            raise ExportError(
                f"The exporter {kind} does not recognize its own output, so it cannot be measured. Report this to its "
                "maintainers."
            )
    except ConfigError:
        raise
    except TransferError as error:
        return Candidate(name, None, EXPORTERS[kind], problem=str(error))
    return Candidate(name, folder, type(exporter), is_temporary=True)
