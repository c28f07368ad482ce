"""Recordings, and clips of recordings, as a kind of examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config.data import AudioDataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import WHOLE, GivenRecordings, Recordings, take_recording
from keras_transfer.data.formats.recordings import AUDIO_SUFFIXES, require_audio
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.file_examples import FileKind
from keras_transfer.data.sources.python_contents import ContentForm
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, kind_of, some
from keras_transfer.data.tables.values import to_numbers
from keras_transfer.errors import DataError

_LARGEST_INT16 = 2**15


class AudioKind(FileKind[AudioDataConfig]):
    """Recordings: files, whose paths are the rows of a table, or the encoded bytes of files; or clips of them."""

    name, plural = "audio", "recordings"
    suffixes = (*AUDIO_SUFFIXES, *(suffix.upper() for suffix in AUDIO_SUFFIXES))
    other_suffixes = (".m4a", ".aac", ".wma", ".amr", ".webm")

    def further_columns(self, config: AudioDataConfig) -> Mapping[str, str]:
        keys = {"start": config.start, "end": config.end}
        return {key: column for key, column in keys.items() if column is not None}

    def form(self, config: AudioDataConfig) -> ContentForm:
        """Return that a recording is samples with their rate, or bytes; samples are encoded without loss."""

        def encode(value: Any) -> bytes:
            taken = take_recording(value, config.sample_rate)
            return GivenRecordings(("",), (taken,)).read(0)

        return ContentForm("audio", 1, encode)

    def arrange(self, name: str, rows: pd.DataFrame, config: AudioDataConfig) -> pd.DataFrame:
        """Return rows by path and by the starts of clips; no two may be the same clip."""
        spans = _read_spans(name, rows, config)
        if spans is None:
            return super().arrange(name, rows, config)
        keys = list(zip(rows["path"].tolist(), *spans.T.tolist(), strict=True))
        again = pd.Series(keys, dtype=object).duplicated().tolist()
        repeated = [key for key, is_again in zip(keys, again, strict=True) if is_again]
        if repeated:
            shown = some([f"{path} from {start:g} to {end:g} s" for path, start, end in repeated])
            raise DataError(f"Data source {name} names {len(repeated)} clips twice: {shown}. Keep one row for each.")
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return rows.iloc[order].reset_index(drop=True)

    def check(self, source: Source, config: AudioDataConfig) -> None:
        """Refuse starts and ends that are not numbers, and a machine without packages for recordings."""
        require_audio()
        _read_spans(source.name, source.rows, config)

    def from_tfds(self, name: str, dataset: Any, config: AudioDataConfig) -> Source:
        import tensorflow_datasets as tfds

        from keras_transfer.data.sources.tfds import TfdsForm, read_tfds_files

        def encode(value: Any, feature: Any) -> bytes:
            return self.form(config).encode((_scale(np.asarray(value)), feature.sample_rate or config.sample_rate))

        form = TfdsForm("audio", tfds.features.Audio, encode, facts=[config.sample_rate])
        return read_tfds_files(name, dataset, config, form)

    def to_examples(self, source: Source, rows: pd.DataFrame, config: AudioDataConfig) -> Examples:
        """Return files, or rows of the cache's array of bytes, each with the span of its clip."""
        spans = _read_spans(source.name, rows, config)
        if source.encoded is not None:
            return Recordings(source.encoded.select(rows.index.to_numpy()), spans)
        return Recordings(Files(source.root, tuple(rows["path"])), spans)


def _read_spans(name: str, rows: pd.DataFrame, config: AudioDataConfig) -> NDArray[np.float64] | None:
    """The spans of clips; None if the rows have no such columns, as for folders."""
    columns = config.start, config.end
    if not any(column in rows.columns for column in columns):
        return None
    times = [_read_times(name, rows, column, default) for column, default in zip(columns, WHOLE, strict=True)]
    return np.stack(times, 1)


def _read_times(name: str, rows: pd.DataFrame, column: str | None, default: float) -> NDArray[np.float64]:
    """A column of times in seconds; the default for all rows if there is no such column."""
    if column is None or column not in rows.columns:
        return np.full(len(rows), default)
    values = rows[column].tolist()
    times = to_times(values, default)
    wrong = np.flatnonzero(np.isnan(times)).tolist()
    if wrong:
        shown = some([f"{values[row]!r:.40} ({kind_of(values[row])}) in row {row + 1}" for row in wrong])
        raise DataError(f"{name}: column {column!r} has values that are not seconds: {shown}. Write 83.5, not 1:23.5.")
    return times


def to_times(values: Sequence[Any], default: float) -> NDArray[np.float64]:
    """Return times in seconds as ``float64[n]``: NaN for a value that is not a finite number."""
    absent = np.array([value is None or value != value or str(value).strip() == "" for value in values], bool)
    numbers = to_numbers(values)
    return np.where(absent, default, np.where(np.isfinite(numbers), numbers, np.nan))


def _scale(values: NDArray[Any]) -> NDArray[Any]:
    """Scale samples: TFDS stores 16-bit samples as int64, whatever the files had, with channels on the last axis."""
    if values.dtype.kind in "iu":
        largest = int(np.abs(values).max(initial=0))
        if largest > _LARGEST_INT16:
            raise ValueError(f"expected samples of 16 bits. Received values up to {largest:,}")
        values = values / float(_LARGEST_INT16)
    return values.mean(axis=1) if values.ndim == 2 else values


class SpeechKind(AudioKind):
    """Recordings labelled with transcripts; folders of classes have none."""

    name = "speech"

    def explain_folder(self, name: str, config: AudioDataConfig) -> str:
        return (
            f"Data source {name} is a folder of recordings without transcripts. Expected a table "
            f"({', '.join(TABLE_SUFFIXES)}) with the columns {config.path} and {', '.join(config.label_columns)}, a "
            "folder with metadata.csv, or one as Common Voice or LibriSpeech have it (docs/recordings.md)."
        )
