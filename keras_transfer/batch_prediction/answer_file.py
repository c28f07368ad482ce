"""A table that is written in parts next to it, and published atomically.

The parts are in a folder, ``answers.csv.parts``, until they are joined. Each is written atomically, with a JSON file of
metadata; ``job.json`` describes the job. A process that is killed leaves the folder behind, and the next one continues
with the missing parts.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from keras_transfer.console.commands import echo
from keras_transfer.data.tables.tables import some
from keras_transfer.data.tables.write import join_parts, write_part
from keras_transfer.errors import CheckpointError, ConfigError, TransferError
from keras_transfer.run.predicted import check_out
from keras_transfer.storage.atomic import LOCK, UNFINISHED, FolderLock, whole

JOB, JOINED = "job.json", "joined.json"


class Job(BaseModel):
    """Identifies what the predictions are for.

    Attributes:
        format: Of this file.
        version: Of keras_transfer.
        run: Identifies the run and its state.
        inputs: Identifies the inputs and their content.
        rows: How many inputs there are.
        piece_rows: Maximum number of rows of a part.
        settings: Other settings on which the predictions depend.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1] = 1
    version: str
    run: str
    inputs: str
    rows: int
    piece_rows: int
    settings: dict[str, Any]


class PartFacts(BaseModel):
    """The metadata of a part.

    Attributes:
        rows: How many it has.
        broken: How many inputs could not be read.
        abstained: How many predictions abstain; None if abstention is not used.
        answers: The names of values of predictions; none if no input can be read.
        renamed: Names of prediction columns in the table, by the names that the inputs already use.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rows: int
    bytes: int
    broken: int
    abstained: int | None
    columns: list[str]
    answers: list[str]
    renamed: dict[str, str]


class AnswerFile:
    """A table of predictions, and the folder of its parts.

    Args:
        out: The table. Its folder is made if it does not exist.
        resume: Whether an earlier process may have started the job.

    Attributes:
        job: The job of an earlier process, if there was one.
        is_started: Whether there was an earlier process.
        is_finished: Whether it has written the table.

    Raises:
        ConfigError: The table exists, or cannot be written.
        CheckpointError: An earlier process has started the job, and ``resume`` is false.
    """

    def __init__(self, out: Path, *, resume: bool, suffixes: Sequence[str]) -> None:
        self.out, self._resume = out, resume
        self.folder = out.with_name(f"{out.name}.parts")
        self._lock = FolderLock(self.folder, writes=f"{out}")
        self.facts: dict[int, PartFacts] = {}
        self.job: Job | None = None
        self.is_finished = resume and self._remove_if_joined()
        if not self.is_finished:
            check_out(out, suffixes)
            self.job = self._find_job()
        self.is_started = self.is_finished or self.job is not None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock out other processes until the block ends; if it fails, add how to continue to the error.

        Raises:
            CheckpointError: Another process writes the same table.
        """
        with self._lock:
            if self.job is not None:
                self.facts = self._read_facts()
            try:
                yield
            except TransferError as error:
                hint = self._end()
                if not hint:
                    raise
                raise type(error)(f"{error}\n{hint}") from error
            except BaseException:
                hint = self._end()
                if hint:
                    echo(hint, err=True)
                raise

    def begin(self, job: Job) -> None:
        """Create the folder of the parts, or check that an earlier process had the same job.

        Raises:
            ConfigError: The earlier process had another job.
            CheckpointError: The folder cannot be created, or another process has started.
        """
        if self.job is not None:
            check_same(self.job, job, self.folder)
            return
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be made: {error.strerror}. Name another --out.") from error
        self._lock.take()
        if (self.folder / JOB).exists():
            raise self._unexpected()
        self.job = job
        with whole(self.folder / JOB) as unfinished:
            unfinished.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def add(self, number: int, table: pd.DataFrame, **facts: Any) -> None:
        """Write a part.

        Args:
            table: All columns; they are the same for all parts.
            **facts: The other fields of :class:`PartFacts`.

        Raises:
            CheckpointError: It cannot be written.
        """
        file, columns = self._part(number), list(map(str, table.columns))
        write_part(file, table)
        known = PartFacts(rows=len(table), bytes=file.stat().st_size, columns=columns, **facts)
        with whole(self._facts_file(number)) as unfinished:
            unfinished.write_text(known.model_dump_json(), encoding="utf-8")
        self.facts[number] = known

    def join(self) -> None:
        """Write the table from its parts, and remove them.

        Raises:
            CheckpointError: It cannot be written, or exists.
        """
        numbers = sorted(self.facts)
        columns = self.facts[numbers[0]].columns
        try:
            with whole(self.out) as unfinished:
                join_parts(unfinished, [self._part(number) for number in numbers], columns)
                if self.out.exists():
                    raise CheckpointError(f"{self.out} was created by another process. Move or rename it.")
                self._mark_joined(unfinished)
        except BaseException:
            with suppress(OSError):
                self.out.with_name(UNFINISHED + self.out.name).unlink(missing_ok=True)
            raise
        shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06}{self.out.suffix.lower()}"

    def _facts_file(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def _find_job(self) -> Job | None:
        """The job of an earlier process."""
        if not self.folder.is_dir() or self.folder.is_symlink():
            if self.folder.exists() or self.folder.is_symlink():
                raise CheckpointError(
                    f"{self.folder} is not a folder, and the parts of {self.out} would be written there. Choose "
                    "another --out."
                )
            return None
        names = {entry.name for entry in self.folder.iterdir()} - {LOCK, UNFINISHED + JOB}
        if JOB not in names:
            if names:
                raise CheckpointError(
                    f"{self.folder} holds other files, and the parts of {self.out} would be written there: "
                    f"{some(sorted(names), 5)}. Choose another --out."
                )
            return None
        if not self._resume:
            raise self._unexpected()
        try:
            return Job.model_validate_json((self.folder / JOB).read_bytes())
        except (OSError, ValidationError) as error:
            raise CheckpointError(
                f"{self.folder / JOB} is damaged, or of another version. Remove {self.folder}, and start over."
            ) from error

    def _unexpected(self) -> CheckpointError:
        return CheckpointError(
            f"{self.folder} holds the parts of an earlier call that did not finish. Add --resume to continue it, "
            "remove the folder to start over, or choose another --out."
        )

    def _read_facts(self) -> dict[int, PartFacts]:
        """A part counts only if its metadata exist, too, and it has the recorded size."""
        found = {}
        for file in self.folder.glob("*.json"):
            if file.stem.isdecimal():
                with suppress(OSError, ValidationError):
                    facts = PartFacts.model_validate_json(file.read_bytes())
                    if self._part(int(file.stem)).stat().st_size == facts.bytes:
                        found[int(file.stem)] = facts
        return found

    def _end(self) -> str:
        """Remove the folder if it has no parts; return how to continue if it has some."""
        rows = sum(facts.rows for facts in self.facts.values())
        if rows and self.job is not None:
            return f"Predictions for {rows:,} of {self.job.rows:,} rows are in {self.folder}. Continue with --resume."
        if self.job is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        return ""

    def _mark_joined(self, unfinished: Path) -> None:
        """Record that the table is complete: a process killed before the parts are removed has then finished."""
        status = unfinished.stat()
        with whole(self.folder / JOINED) as file:
            file.write_text(json.dumps([status.st_size, status.st_mtime_ns]), encoding="utf-8")

    def _remove_if_joined(self) -> bool:
        try:
            marked = json.loads((self.folder / JOINED).read_bytes())
            status = self.out.stat()
        except (OSError, ValueError):
            return False
        if marked != [status.st_size, status.st_mtime_ns]:
            return False
        self.facts = self._read_facts()
        shutil.rmtree(self.folder, ignore_errors=True)
        return True


def check_same(started: Job, now: Job, folder: Path) -> None:
    """Refuse to continue a different job.

    Raises:
        ConfigError: With the differences.
    """
    changes = []
    if started.version != now.version:
        changes.append(f"keras_transfer was {started.version} and is {now.version}")
    if started.run != now.run:
        changes.append("the run is a different one, or has changed")
    if started.inputs != now.inputs:
        changes.append(f"the inputs have changed ({started.rows:,} rows then, {now.rows:,} now)")
    for name in started.settings.keys() | now.settings.keys():
        old, new = started.settings.get(name), now.settings.get(name)
        if old != new:
            changes.append(f"{name} was {_show(old)} and is {_show(new)}")
    if changes:
        raise ConfigError(
            f"--resume: {folder} was started for something else: {'; '.join(sorted(changes))}. Give the same command, "
            "remove the folder to start over, or choose another --out."
        )


def _show(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return some([str(one) for one in value], 5) or "none"
    return str(value)
