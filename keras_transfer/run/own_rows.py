"""The rows of a run's own data."""

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.splits.known import Known, identify
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError
from keras_transfer.run.folder import DATA, UNKNOWN_CONTENT, damaged
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.stored import StoredRun
from keras_transfer.tasks.earlier_runs import rows_of


class RunRows(StoredRun, Predictor):
    """Reads the rows that a run was made of."""

    def load_split(self, name: str) -> Split:
        """Read rows of the run's own data again.

        Args:
            name: ``train``, ``validation`` or ``test``.

        Returns:
            The same rows in the order of data.json.

        Raises:
            DataError: The data is not on this machine, or has changed.
            CheckpointError: The run has no such split.
        """
        rows = self._reload(name)
        if rows.fingerprint(self.target) != self.record["splits"][name]["fingerprint"]:
            raise self._changed(name)
        return rows

    def load_remaining(self, name: str) -> tuple[Examples, list[int | None]]:
        """Read what is left of the run's own data.

        Returns:
            Examples, and for each row of data.json its index among them: None for one that is gone or has changed.

        Raises:
            DataError: The data is not on this machine, or cannot be compared.
            CheckpointError: The run has no such split.
        """
        examples, record = self._reload(name).examples, self.record["splits"][name]
        if len(record.get("hashes", ())) != len(record["rows"]):
            raise self._changed(name)
        there = {key: index for index, key in enumerate(zip(examples.names, identify(examples), strict=True))}
        recorded = zip((row[0] for row in record["rows"]), record["hashes"], strict=True)
        return examples, [there.get(key) for key in recorded]

    def _reload(self, name: str) -> Split:
        """The rows of a split that are still there, whatever is in them."""
        if name not in self.record["splits"]:
            raise damaged(self.folder / DATA, f"it lacks the split {name}")
        # Names that look alike were classes of their own in a run that did not merge them.
        apart = self.config.data.model_copy(update={"merge_labels": bool(self.config.data.merge_labels)})
        splits = self.task.reload_splits(self.config.model_copy(update={"data": apart}), self.record)
        if set(splits.target.names) != set(self.target.names):
            raise self._changed(name)
        rows = {split.name: split for split in splits.with_names(self.target)}[name]
        recorded = {row[0] for row in self.record["splits"][name]["rows"]}
        # What the run's scan left out as broken is left out again.
        rows = rows.select([index for index, name in enumerate(rows.examples.names) if name in recorded])
        if not recorded:
            raise DataError(f"The run has no {name} rows. Name a source with --data.")
        return rows

    def _changed(self, name: str) -> DataError:
        has_hashes = "hashes" in self.record["splits"][name]
        change = "have changed since the run" if has_hashes else UNKNOWN_CONTENT
        return DataError(f"The {name} rows of {self.config.data.source} {change}. Name a source with --data.")

    def known_rows(self) -> Known | None:
        """The rows of which the run has labels; None if an early version wrote it, which knows them by name alone."""
        try:
            return rows_of(self.folder, self.config.data, self.record)
        except KeyError:
            return None
