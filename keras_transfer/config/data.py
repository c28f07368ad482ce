"""The data section of a recipe: where examples come from, and how they are divided and read."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, StrictBool, StrictInt, StrictStr

from keras_transfer.config.section import Count, FileName, Name, Rate, Section, Share


def _check_encoding(name: str) -> str:
    try:
        is_known = name == "auto" or "a".encode(name).decode(name) == "a"
    except (LookupError, ValueError):
        is_known = False
    if not is_known:
        raise ValueError("unknown encoding. Use auto, utf-8, cp1252, utf-16 or another one that Python supports")
    return name


def _check_delimiter(name: str) -> str:
    if name not in ("auto", "tab", "\\t") and (len(name) != 1 or name in '\r\n"' or ord(name) > 0xFFFF):
        raise ValueError("expected auto, tab or one character")
    return name


class SourceKeys(Section):
    """A source, and the format of its tables."""

    source: StrictStr = Field(
        description="sample set | folder | .csv, .tsv, .jsonl or .parquet file | tfds:NAME or tfds:NAME/CONFIG[SPLIT]"
    )
    encoding: Annotated[StrictStr, AfterValidator(_check_encoding)] = Field(
        default="auto",
        description="encoding of CSV, JSONL and text files, such as cp1252; auto: by a byte order mark, else UTF-8",
    )
    delimiter: Annotated[StrictStr, AfterValidator(_check_delimiter)] = Field(
        default="auto", description="between the fields of a CSV: auto | tab | one character"
    )
    folders: Literal["auto", "classes", "splits"] = Field(
        default="auto",
        description="sub-folders of a folder: splits with classes in them | classes with files at any depth; auto: "
        "splits if one is named train, and each class must have files of its own",
    )


class PathKeys(Section):
    """How the paths in a table are resolved to files."""

    root: StrictStr | None = Field(
        default=None, description="folder that the paths in the table are relative to; the table's own by default"
    )
    suffix: Annotated[StrictStr, Field(pattern=r"^(auto|\..+)$")] = Field(
        default="auto",
        description="added to each path, such as .jpg; auto: to paths without a file, if one fits all",
    )


TABLE_KEYS = ("root", "suffix", "encoding", "delimiter")
"""How a table is read that is not the source of a run: options of ``predict`` and ``evaluate``."""


class OtherSource(PathKeys, SourceKeys):
    """A source of validation or test rows, with its own keys; the columns are those of the data section."""


_AUTO, _AUTO_SHARE = "auto", 0.15


class DataConfig(SourceKeys):
    """The source of the examples, and how they are split."""

    example_kind: ClassVar[str]
    """What the examples are, as ``keras_transfer.data.sources.EXAMPLE_KINDS`` calls it; a subclass sets it."""

    # Set if the section was made for a source other than data.source: for messages, and for ambiguous paths.
    _prefix: str = PrivateAttr(default="data.")
    _main_root: str | None = PrivateAttr(default=None)

    data_dir: StrictStr | None = Field(
        default=None, description="folder of prepared TFDS datasets; TFDS' own by default"
    )
    validation: Share | StrictStr | OtherSource = Field(
        default=_AUTO,
        description="share of the rows left after the test rows, or another source, by name or as a mapping with a "
        f"root of its own; 0 for none; auto: {_AUTO_SHARE:g}, or none if there are too few rows",
    )
    test: Share | StrictStr | OtherSource = Field(
        default=0.2,
        description="share of all rows, or another source, by name or as a mapping with a root of its own; 0 for none",
    )
    stratify: list[StrictStr] = Field(
        default=["label"], min_length=1, description="columns whose values have the same shares in every split"
    )
    target: Literal["class", "multilabel", "number"] = Field(
        default="class", description="one class out of several | any number of labels | numbers"
    )
    label: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = Field(
        default="label",
        description="column of the class or of lists of labels; a list of columns for labels of 0 and 1, or numbers",
    )
    separator: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None, description="multilabel: text between the labels in a single column; lists need none"
    )
    classes: Annotated[list[Name], Field(min_length=1)] | None = Field(
        default=None,
        description="classes or labels to use, in the order of the outputs; rows of other classes are left out; all by "
        "default, numbers in numeric order",
    )
    relabel: dict[Name, Name] | FileName = Field(
        default={},
        description="new names of classes or labels, as {old: new}; several may get one name. Or a CSV file of new "
        "labels of rows, with the columns example and label",
    )
    merge_labels: StrictBool | None = Field(
        default=None,
        description="names that differ only in case, blanks, Unicode form, invisible characters or the form of a "
        "number: true merges them, false keeps them apart; an error by default",
    )
    split: StrictStr | None = Field(
        default=None, description="column with train, validation or test; a split that it does not name is drawn"
    )
    group: StrictStr | None = Field(
        default=None, description="column of groups; all rows of a group are in the same split"
    )
    exclude: FileName | None = Field(
        default=None,
        description="CSV file of rows to leave out, with a column example, as `keras-transfer audit` writes it",
    )
    splits_of: StrictStr | None = Field(
        default=None, description="folder of an earlier run; rows that it knew keep the splits that they had there"
    )
    folds: Annotated[StrictInt, Field(ge=2)] | None = Field(
        default=None,
        description="number of folds for cross-validation: one run per fold, with the fold as its test rows",
    )
    fold: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="run only this fold, counted from 1; all folds by default"
    )
    repeats: Count = Field(
        default=1, description="number of runs, with seed, seed + 1 and so on, which draw other splits"
    )
    per_class: Count | None = Field(
        default=None, description="number of training rows per class, drawn by seed; all by default"
    )
    leaks: Literal["warn", "error", "off"] = Field(
        default="warn", description="what happens if examples appear in two splits; off: they are not searched for"
    )
    weight: StrictStr | None = Field(default=None, description="column of the weights of examples in training")

    @property
    def label_columns(self) -> list[str]:
        """The columns in :attr:`label`."""
        return [self.label] if isinstance(self.label, str) else self.label

    @property
    def renamed(self) -> Mapping[str, str]:
        """The new names of classes or labels; :attr:`relabel` may also be a table of rows."""
        return {} if isinstance(self.relabel, str) else self.relabel

    @property
    def part(self) -> str:
        """The source that the section is for: ``train``, or the split that has a source of its own."""
        return self._prefix.removeprefix("data.").removesuffix(".") or "train"

    def own_source(self, part: str) -> OtherSource | None:
        """Return the source of ``validation`` or ``test``; None if a share is set."""
        value = getattr(self, part, None)
        if part == "validation" and value == _AUTO:
            return None
        if isinstance(value, str):
            return OtherSource(source=value)
        return value if isinstance(value, OtherSource) else None

    def share(self, part: str) -> float:
        """Return the share of rows that are drawn for ``validation`` or ``test``; 0 if it has a source of its own."""
        value = getattr(self, part)
        if part == "validation" and value == _AUTO:
            return _AUTO_SHARE
        return value if isinstance(value, float) else 0.0

    @property
    def validates_if_possible(self) -> bool:
        """Whether too few rows are allowed: all of them are then training rows, and none is a validation row."""
        return self.validation == _AUTO

    def with_validation(self) -> Self:
        """Return the section for a recipe that needs validation rows: too few rows are then an error."""
        return self.model_copy(update={"validation": _AUTO_SHARE}) if self.validates_if_possible else self

    @property
    def sources(self) -> list[str]:
        """The names of all sources, that of the training rows first."""
        others = (self.own_source(part) for part in ("validation", "test"))
        return [self.source, *(other.source for other in others if other is not None)]

    def for_source(self, other: OtherSource, *, prefix: str) -> Self:
        """Return the section as it applies to a source other than :attr:`source`.

        Columns are the same. Settings for the files of :attr:`source`, such as their root, do not apply.

        Args:
            other: The other source.
            prefix: The prefix of its keys in messages: ``data.test.``.
        """
        own = {key: getattr(other, key) for key in OtherSource.model_fields if key in type(self).model_fields}
        section = self.model_copy(update=own)
        section._prefix = prefix
        section._main_root = getattr(self, "root", None)
        return section

    def key_of(self, key: str) -> str:
        """Return a source's key for messages: ``data.root``, or for another source ``data.test.root``."""
        if self._prefix == "--" and key not in TABLE_KEYS:
            return f"{key} (evaluate(data={{'source': ..., {key!r}: ...}}) in Python)"
        return f"{self._prefix}{key}"

    @property
    def main_root(self) -> str | None:
        """The root of ``data.source``, if this section is for another source."""
        return self._main_root

    @property
    def is_several_runs(self) -> bool:
        """Whether a recipe describes several runs, for :func:`keras_transfer.cross_validate`."""
        return self.repeats > 1 or (self.folds is not None and self.fold is None)


class FileDataConfig(PathKeys, DataConfig):
    """The source of examples that are files, and how they are split."""

    path: StrictStr = Field(default="path", description="column of the paths of files")
    bytes: StrictStr | None = Field(
        default=None,
        description="column of encoded files in Parquet or Arrow; data.source is a file, a folder or a/*.parquet",
    )
    broken: Literal["error", "skip"] = Field(default="error", description="what happens to files that cannot be read")


class ImageDataConfig(FileDataConfig):
    """The source of the images, and how they are split and read."""

    example_kind: ClassVar[str] = "image"

    image_size: Annotated[StrictInt, Field(ge=16, le=2048)] | None = Field(
        default=None, description="height and width in pixels; the backbone's default size by default"
    )
    channels: Annotated[StrictInt, Field(ge=1, le=256)] = Field(
        default=3, description="1: greyscale; 3: RGB; other numbers: as in the files, with an adapted first convolution"
    )
    # With the largest size, four channels are as many values as TensorFlow decodes.
    max_pixels: Annotated[StrictInt, Field(ge=1, lt=2**27)] = Field(
        default=100_000_000, description="larger images are refused by their header, without decoding them"
    )
    resize: Literal["crop", "pad", "stretch"] = Field(default="crop", description="how images are made square")


class TextDataConfig(DataConfig):
    """The source of the texts, and how they are split and read."""

    example_kind: ClassVar[str] = "text"

    text: StrictStr = Field(default="text", description="column of the texts")
    text_pair: StrictStr | None = Field(default=None, description="column of the second texts, for pairs")
    broken: Literal["error", "skip", "replace"] = Field(
        default="error",
        description="what happens to texts that are empty or not UTF-8; replace: U+FFFD for invalid bytes",
    )
    sequence_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] = Field(
        default="auto", description="longest text in tokens, in training; auto: 99 % of the training texts fit"
    )
    predict_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] | None = Field(
        default=None,
        description="longest text in tokens, in evaluation and predictions; as sequence_length by default",
    )


class AudioDataConfig(FileDataConfig):
    """The source of the recordings, and how they are split and read."""

    example_kind: ClassVar[str] = "audio"

    start: StrictStr | None = Field(
        default=None, description="column of where in its file a clip starts, in seconds; empty: at the start"
    )
    end: StrictStr | None = Field(
        default=None, description="column of where in its file a clip ends, in seconds; empty: at the end"
    )
    seconds: Rate | Literal["auto"] = Field(
        default="auto",
        description="what the network hears at once; auto: 95 % of the training recordings are whole, up to 30 s and "
        "what the backbone takes",
    )
    padding: Literal["silence", "repeat"] = Field(default="silence", description="how shorter recordings are filled up")
    max_seconds: Rate = Field(
        default=600.0, description="longer recordings are refused by their header, without decoding them"
    )
    sample_rate: Annotated[StrictInt, Field(ge=1000, le=768_000)] | None = Field(
        default=None, description="Hz of arrays from Python that come without one; files have theirs"
    )
    image_size: Annotated[StrictInt, Field(ge=16, le=2048)] | None = Field(
        default=None,
        description="backbones for images: height and width of the spectrogram; the backbone's default size by default",
    )


class SpeechDataConfig(AudioDataConfig):
    """The source of the transcribed recordings, and how they are split and read."""

    example_kind: ClassVar[str] = "speech"

    target: Literal["transcript"] = Field(  # type: ignore[assignment]
        default="transcript", description="what is said in the recording"
    )
    label: StrictStr = Field(default="text", description="column of the transcripts")
    normalization: Literal["whitespace", "lower", "words"] = Field(
        default="whitespace",
        description="of transcripts, for training and scoring alike; whitespace: NFC, one space between words; lower: "
        "also lower case; words: also without punctuation, other than apostrophes and hyphens within words",
    )
    seconds: Rate | Literal["auto"] = Field(
        default="auto",
        description="longest training or validation recording, which the network hears at once; auto: that of the "
        "longest one, up to 30 s and what the backbone takes",
    )
