"""Predict for any number of inputs, and write a table."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_transfer import __version__
from keras_transfer.batch_prediction.answer_file import AnswerFile, Job
from keras_transfer.batch_prediction.worker import Answered, Engine, Piece, Settings, take_columns
from keras_transfer.console import make_progress
from keras_transfer.console.commands import echo
from keras_transfer.data.inputs import InputStream
from keras_transfer.data.inputs.base import BrokenInputs
from keras_transfer.data.inputs.stream import fingerprint
from keras_transfer.data.tables.stream import PieceSize
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError
from keras_transfer.run.predicted import ERROR
from keras_transfer.storage.content_hashes import hash_content, hash_file
from keras_transfer.storage.sums import SUMS


def identify(path: Path) -> str:
    """Return a hash of a run, from its checksums, or of an exported model, from its content.

    Raises:
        OSError: It cannot be read.
    """
    if path.is_file():
        return hash_file(path)
    sums = path / SUMS
    files = [sums] if sums.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return hash_content(*(f"{file.relative_to(path).as_posix()} {hash_file(file)}".encode() for file in files))


_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts rows.

    Args:
        what: The activity: ``Predicted``.
        total: How many rows there are; None if that is not known yet.
        done: How many were done earlier.
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._line = make_progress()
        self._started = self._shown = time.monotonic()
        self._task = self._line.add_task(what, total=total, completed=done, metrics="")

    def advance(self, rows: int) -> None:
        """Count some rows more."""
        self._done += rows
        now = time.monotonic()
        rate = (self._done - self._before) / max(now - self._started, 1e-6)
        self._line.update(self._task, completed=self._done, metrics=f"{rate:,.0f} rows/s")
        if self._line.disable and now - self._shown >= _SECONDS_BETWEEN_LINES:
            self._shown = now
            echo(self._describe(rate), err=True)

    def _describe(self, rate: float) -> str:
        if self._total is None:
            return f"{self._what} {self._done:,} rows, {rate:,.0f} per second"
        left = describe_seconds((self._total - self._done) / max(rate, 1e-6))
        return f"{self._what} {self._done:,} of {self._total:,} rows, {rate:,.0f} per second, {left} left"


@contextmanager
def showing(what: str, total: int | None, done: int = 0) -> Iterator[Progress]:
    """Show progress while a block runs."""
    progress = Progress(what, total, done)
    with progress._line:
        yield progress


def describe_seconds(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> describe_seconds(4000), describe_seconds(90), describe_seconds(7)
        ('1 h 6 min', '1 min 30 s', '7 s')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


_PIECE_ROWS = range(256, 4097)
# Limit for all predictions of a part, each of which is a Python object.
_PIECE_VALUES = 2**19


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        rows: How many.
        broken: Inputs that could not be read.
        abstained: Predictions that abstain; None if abstention is not used.
        renamed: Names of prediction columns in the table, by the names that the inputs already use.
    """

    rows: int
    broken: int
    abstained: int | None
    renamed: dict[str, str]

    def notes(self) -> list[str]:
        """Return lines for the user."""
        notes = []
        if self.broken:
            notes.append(f"{self.broken:,} of {self.rows:,} inputs cannot be read; their predictions are empty.")
        if self.abstained is not None:
            notes.append(f"{self.abstained:,} of {self.rows - self.broken:,} abstained")
        if self.renamed:
            names = some([f"{free} in place of {name}" for name, free in self.renamed.items()])
            notes.append(f"Columns that the inputs have already: the predictions are in {names}")
        return notes


def predict_to_file(
    inputs: InputStream, file: AnswerFile, settings: Settings, *, run: Path, engine: Engine, outputs: int
) -> Summary:
    """Predict for inputs, and write a table with the predictions in the order of the inputs.

    Raises:
        DataError: Inputs cannot be read; nothing is written.
        ConfigError: The table was started for a different job.
        CheckpointError: The table cannot be written; finished parts are kept.
    """
    if not file.is_finished:
        with file.writing():
            job = _look_through(inputs, file, settings, run=run, engine=engine, outputs=outputs)
            file.begin(job)
            _answer(inputs, file, job, engine)
            file.join()
    facts = [file.facts[number] for number in sorted(file.facts)]
    abstained = [part.abstained for part in facts if part.abstained is not None]
    return Summary(
        rows=sum(part.rows for part in facts),
        broken=sum(part.broken for part in facts),
        abstained=sum(abstained) if abstained else None,
        renamed=facts[-1].renamed if facts else {},
    )


def _look_through(
    inputs: InputStream, file: AnswerFile, settings: Settings, *, run: Path, engine: Engine, outputs: int
) -> Job:
    """Count the inputs, identify them, and find unreadable ones before anything is predicted."""
    piece_rows = min(max(_PIECE_VALUES // outputs, _PIECE_ROWS[0]), _PIECE_ROWS[-1])
    if file.job is not None:
        piece_rows = file.job.piece_rows
    counts: list[int] = []
    prints: list[str] = []
    broken = BrokenInputs()

    def unchecked() -> Iterator[Piece]:
        for number, piece in enumerate(inputs.pieces(PieceSize(piece_rows))):
            counts.append(len(piece.values))
            prints.append(fingerprint(piece))
            if not settings.skip_broken and number not in file.facts:
                yield number, piece

    with showing("Checked", None) as progress:
        for number, problems in engine.apply("check", unchecked()):
            for name, problem in problems:
                broken.add(name, problem)
            progress.advance(counts[number])
    if broken.count:
        raise broken.refusal(sum(counts))
    return Job(
        version=__version__,
        run=identify(run),
        inputs=hash_content(*(each.encode() for each in prints)),
        rows=sum(counts),
        piece_rows=piece_rows,
        settings=settings.to_json(),
    )


def _answer(inputs: InputStream, file: AnswerFile, job: Job, engine: Engine) -> None:
    """Write the missing parts."""
    writer = _Writer(file)
    done = sum(facts.rows for facts in file.facts.values())
    missing = (
        (number, piece)
        for number, piece in enumerate(inputs.pieces(PieceSize(job.piece_rows)))
        if number not in file.facts
    )
    with showing("Predicted", job.rows, done) as progress:
        for number, answered in engine.apply("answer", missing):
            writer.add(number, answered)
            progress.advance(len(answered.own))
    writer.finish()


class _Writer:
    """Adds predictions to the inputs' own columns.

    If all inputs of a part are unreadable, the columns of predictions are unknown: it waits for a part that has them.
    """

    def __init__(self, file: AnswerFile) -> None:
        self._file = file
        known = (facts.answers for facts in file.facts.values() if facts.answers)
        self._names: list[str] | None = next(known, None)
        self._waiting: list[tuple[int, Answered]] = []

    def add(self, number: int, answered: Answered) -> None:
        names = list(answered.answers.columns)
        if not names and self._names is None:
            self._waiting.append((number, answered))
            return
        self._names = self._names or names
        if names and names != self._names:
            raise DataError(
                f"Predictions have different columns from those of earlier rows: {some(names)}. Expected: "
                f"{some(self._names)}. This is a bug in the task; please report it."
            )
        for waiting in (*self._waiting, (number, answered)):
            self._write(*waiting)
        self._waiting = []

    def finish(self) -> None:
        self._names = self._names or []
        for waiting in self._waiting:
            self._write(*waiting)

    def _write(self, number: int, answered: Answered) -> None:
        names = self._names or []
        answers = take_columns(answered.answers, names)
        if answered.errors is not None:
            answers[ERROR] = pd.Series(list(answered.errors), answers.index, dtype=object)
        renamed = name_apart(list(answers.columns), list(answered.own.columns))
        table = pd.concat([answered.own, answers.rename(columns=renamed)], axis=1)
        self._file.add(
            number, table, broken=answered.broken, abstained=answered.abstained, answers=names, renamed=renamed
        )


def name_apart(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Return unused names for columns whose own names are in use."""
    used, renamed = set(taken), {}
    for name in names:
        free, number = name, 1
        while free in used:
            number += 1
            free = f"{name}_{number}"
        used.add(free)
        if free != name:
            renamed[name] = free
    return renamed
