"""What tasks on recordings share."""

from abc import ABC
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.recordings import audit_recordings
from keras_transfer.data.augmentation.from_python import take_sample_function
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.leaks import Repeated
from keras_transfer.data.checks.recordings import find_repeated_recordings, scan_recordings
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.inputs import AudioInputs
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.explain.recordings import draw_preview, find_lengths
from keras_transfer.tasks.base import Task

_PREVIEW_RATE = 16_000


class RecordingTask(Task, ABC):
    """A task whose examples are recordings."""

    def scan(self, config: Any, splits: Sequence[Split]) -> Scan:
        """Scan every recording; results of earlier scans are cached."""
        data = config.data
        return scan_recordings(splits, broken=data.broken, max_seconds=data.max_seconds)

    def find_repeated(self, splits: Sequence[Split]) -> Repeated:
        """Find recordings that are in two splits, and files that have clips in two splits."""
        return find_repeated_recordings(splits)

    def audit(self, config: Any, splits: Splits) -> Sequence[Finding]:
        """Look for recordings that are silent, clipped, of an odd length or duplicates."""
        return audit_recordings(splits)

    def lengths(self, examples: Examples) -> NDArray[np.float64]:
        """Return the durations of recordings; if they are not decoded, their headers are read."""
        return find_lengths(examples)

    def preview(self, examples: Recordings, row: int) -> bytes | str:
        return draw_preview(examples.decode(row, _PREVIEW_RATE), _PREVIEW_RATE)

    def take_augmentation(self, config: Any, value: Any) -> Any:
        return take_sample_function(value)

    def inputs(self, config: Any) -> AudioInputs:
        return AudioInputs(config.data)
