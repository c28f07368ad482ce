"""The contract of an exporter."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_transfer.errors import CheckpointError, ConfigError, ExportError
from keras_transfer.export.base import Exporter, Served
from keras_transfer.run.run import Run


def check_exporter(exporter: Exporter, run: Run) -> None:
    """Check that an exporter fulfils its contract: export a finished run several times.

    The checks: a fresh process loads the artifact, whose predictions match those of the run and which has its class
    names in order; the files of the run do not change; an export into an existing folder is refused, and that folder is
    not changed; an export whose predictions differ, and one that fails halfway, raise errors and leave no files;
    settings are plain JSON, and an unknown one is an error.

    Args:
        exporter: The exporter, with the settings to check.
        run: A finished run. It is copied, and not changed.

    Raises:
        AssertionError: The exporter does not fulfil the contract.

    Example:
        >>> from keras_transfer import EXPORTERS, Run
        >>> check_exporter(EXPORTERS["saved_model"](), Run("runs/cats"))  # doctest: +SKIP
    """
    _check_settings(exporter)
    _check(exporter, exporter.probe.is_file(), "probe is a file", exporter.probe)
    with tempfile.TemporaryDirectory() as scratch:
        own = Run(shutil.copytree(run.folder, Path(scratch) / "run"))
        before = _files(own.folder)
        folder, parity = own.export(Path(scratch) / "out" / "1", format=exporter)
        samples = len(list((own.folder / "samples").iterdir()))
        if exporter.quantize is None:
            _check(exporter, parity.examples == samples > 0, "the proof compares all examples of the run", parity)
        _check(exporter, _files(own.folder) == before, "an export does not change the run folder", own.folder)
        _check(exporter, bool(_files(folder)), "an export is a folder with files", folder)
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        _check(exporter, not links, "an export has no links", links)
        _check_existing(exporter, own, folder)
        _check_failures(exporter, own, folder, Path(scratch) / "failed")


def _check_settings(exporter: Exporter) -> None:
    settings = exporter.settings.model_dump(mode="json")
    try:
        json.dumps(settings)
    except TypeError as error:
        _check(exporter, False, "settings are plain JSON", error)
    again = type(exporter)(**settings).settings
    _check(exporter, again == exporter.settings, "settings read back as themselves", again)
    try:
        type(exporter)(no_such_setting_7f3a=1)
    except ConfigError as error:
        _check(exporter, "no_such_setting_7f3a" in str(error), "an unknown setting is named", error)
    else:
        _check(exporter, False, "an unknown setting is a ConfigError", None)


def _check_existing(exporter: Exporter, run: Run, folder: Path) -> None:
    before = _files(folder)
    try:
        run.export(folder, format=exporter)
    except CheckpointError as error:
        _check(exporter, str(folder) in str(error), "the error names the folder that exists", error)
    else:
        _check(exporter, False, "a folder that exists is a CheckpointError", folder)
    _check(exporter, _files(folder) == before, "a folder that exists is not changed", folder)


def _check_failures(exporter: Exporter, run: Run, written: Path, folder: Path) -> None:
    if exporter.backend not in (None, keras.backend.backend()):
        return  # a process on another backend writes it, as the format's own class does

    def write_half(self: Exporter, served: Served, artifact: Path) -> None:
        shutil.copytree(written, artifact, dirs_exist_ok=True)
        raise OSError("ended halfway")

    def write_others(self: Exporter, served: Served, artifact: Path) -> None:
        names = tuple(f"other {name}" for name in served.head.names)
        exporter.write(replace(served, head=replace(served.head, names=names)), artifact)

    cases = {"ends halfway": (write_half, "ended halfway"), "has other class names": (write_others, "other")}
    for case, (write, word) in cases.items():
        failing = type("Failing", (type(exporter),), {"write": write})(**exporter.settings.model_dump())
        try:
            run.export(folder / "1", format=failing)
        except ExportError as error:
            _check(exporter, word in str(error), f"the error says why an export that {case} failed", error)
        else:
            _check(exporter, False, f"an export that {case} is an ExportError", None)
        _check(exporter, not folder.exists(), f"an export that {case} leaves no files", folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def _check(exporter: Exporter, holds: bool, rule: str, received: Any) -> None:
    if not holds:
        raise AssertionError(f"The contract of exporter {exporter.name!r}: {rule}. Received: {received!r}.")
