"""The contracts of a source and of a sample set."""

import os
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.config.data import AudioDataConfig, DataConfig, ImageDataConfig, SpeechDataConfig, TextDataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import EXAMPLE_KINDS, ExampleKind, find_example_kind
from keras_transfer.data.sources.samples import SAMPLES, Sample
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.splits.splits import read_split
from keras_transfer.data.tables.tables import SPLIT_NAMES
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.read import TARGETS

_UNRELATED = ("", "no-such-source-7f3a", "unknown-scheme-7f3a:name", "/no/such/folder-7f3a", "no-such-table-7f3a.csv")


def check_source(source_kind: SourceKind, name: str, config: DataConfig) -> None:
    """Check that a kind of source fulfils its contract: read one of its sources several times.

    The checks: the kind claims the name, and no unrelated ones; two reads give the same rows in the same order; every
    row has a label and a split of those that are allowed, and class names are unique; the examples of all rows have
    unique, relative names, and can be read; the name that a run folder records means the same source from another
    working folder; and the source can be read without its labels.

    Args:
        source_kind: The kind of source.
        name: The name of a source that it reads, as in a recipe.
        config: The recipe's data section for it, with ``source=name``: ``ImageDataConfig``, ``AudioDataConfig``,
            ``SpeechDataConfig`` or ``TextDataConfig``, or the section of a plugin's task.

    Raises:
        AssertionError: The kind of source does not fulfil the contract.

    Example:
        >>> check_source(Sqlite(), "sqlite:reviews.db", TextDataConfig(source="sqlite:reviews.db"))  # doctest: +SKIP
    """
    subject, examples = f"source {source_kind.name!r}", find_example_kind(config)
    _check(subject, source_kind.claims(name, config), "claims() is true for a name that it reads", name)
    stolen = [other for other in _UNRELATED if source_kind.claims(other, config)]
    _check(subject, not stolen, "claims() is false for names of other sources, and for those that do not exist", stolen)
    source = source_kind.read(name, config, examples)
    _check_rows(subject, source, config, examples)
    _check_equal(subject, source, source_kind.read(name, config, examples), "two reads give the same rows in order")
    _check_elsewhere(subject, source_kind, name, config, source)
    _check(
        subject, source_kind.has_labels(name, config, examples), "has_labels() is true for a source with labels", name
    )
    unlabelled = config.model_copy(update={"target": "none", "label": [], "stratify": ["label"], "weight": None})
    without = source_kind.read(name, unlabelled, examples)
    same = len(without.rows) == len(source.rows)
    _check(subject, same, "the source has the same rows if it is read without its labels", len(without.rows))


def check_sample(sample: Sample) -> None:
    """Check that a sample set fulfils its contract: read it twice, and make a split of it.

    The checks: it has a description and a known kind of examples; two reads give the same rows in the same order; every
    row has a label and a split of those that are allowed, and class names are unique and all occur; its examples have
    unique, relative names, and can be read; if it is registered, its name makes a split.

    Args:
        sample: The sample set. Its package is installed.

    Raises:
        AssertionError: The sample set does not fulfil the contract.

    Example:
        >>> from keras_transfer import SAMPLES
        >>> check_sample(SAMPLES["bbc_headlines"])  # doctest: +SKIP
    """
    name = next((known for known in SAMPLES if SAMPLES[known] is sample), "sample")
    subject = f"sample set {name!r}"
    _check(subject, bool(sample.description.strip()), "it has a description", sample.description)
    _check(subject, sample.examples in EXAMPLE_KINDS, "its kind of examples is registered", sample.examples)
    examples = EXAMPLE_KINDS[sample.examples]
    config = _section_of(sample.examples, name)
    source = sample.load(name)
    _check(subject, source.name == name, "the source has the name of the sample set", source.name)
    _check_rows(subject, source, config, examples)
    _check_equal(subject, source, sample.load(name), "two reads give the same rows in order")
    target = TARGETS["class" if config is None else config.target](source.class_names)
    absent = sorted(set(source.class_names) - set(source.rows["label"]))
    _check(subject, not absent or not isinstance(target, ClassTarget), "every class has a row", absent)
    if name in SAMPLES and config is not None:
        split = read_split("all", name, config, target)
        _check(subject, len(split) == len(source.rows), "a recipe that names it reads all rows", len(split))


def _section_of(examples: str, name: str) -> Any:
    sections: dict[str, type[DataConfig]] = {
        "audio": AudioDataConfig,
        "image": ImageDataConfig,
        "speech": SpeechDataConfig,
        "text": TextDataConfig,
    }
    return sections[examples](source=name) if examples in sections else None


def _check_rows(subject: str, source: Source, config: Any, examples: ExampleKind[Any]) -> None:
    rows, names = source.rows, source.class_names
    _check(subject, len(rows) > 0, "there are rows", len(rows))
    _check(subject, rows.index.equals(pd.RangeIndex(len(rows))), "rows are numbered from 0", rows.index[:5].tolist())
    missing = [column for column in ("label", "split") if column not in rows.columns]
    _check(subject, not missing, "rows have the columns label and split", list(rows.columns))
    _check(subject, len(set(names)) == len(names) > 0, "class_names are unique", names)
    splits = sorted(set(rows["split"]) - {"", *SPLIT_NAMES})
    _check(subject, not splits, "split is train, validation, test or empty", splits)
    target = TARGETS["class" if config is None else config.target](names)
    try:
        target.encode(rows["label"])
    except (KeyError, TypeError, ValueError) as error:
        _check(subject, False, "every label is one that class_names has", error)
    if config is not None:
        _check_examples(subject, examples.to_examples(source, rows, config), len(rows))


def _check_examples(subject: str, found: Examples, count: int) -> None:
    names = list(found.names)
    _check(subject, len(found) == len(names) == count, "there is an example per row", len(found))
    _check(subject, len(set(names)) == count, "names of examples are unique", sorted(names)[:5])
    absolute = [n for n in names if PurePosixPath(n).is_absolute() or PureWindowsPath(n).is_absolute()]
    _check(subject, not absolute, "names of examples are not absolute paths", absolute[:5])
    try:
        fingerprints, hashes = found.fingerprints, found.content_hashes
        read = getattr(found, "read", None)
        if read is not None:
            read(0)
    except OSError as error:
        _check(subject, False, "examples can be read", error)
    _check(subject, len(set(fingerprints)) == count, "fingerprints are unique", count)
    _check(subject, len(hashes) == count and all(hashes), "there is a content hash per example", hashes[:5])
    picked = found.select(np.array([count - 1, 0], np.int64))
    _check(subject, list(picked.names) == [names[-1], names[0]], "select() returns examples in order", picked.names)


def _check_equal(subject: str, first: Source, second: Source, rule: str) -> None:
    same = first.class_names == second.class_names and first.rows.equals(second.rows)
    _check(subject, same, rule, second.rows.head(3).to_dict("records"))


def _check_elsewhere(subject: str, kind: SourceKind, name: str, config: DataConfig, source: Source) -> None:
    """Read the source from another working folder, by the name that a run folder records."""
    recorded = kind.absolute(name)
    _check(subject, kind.claims(recorded, config), "claims() is true for what absolute() returns", recorded)
    _check(subject, kind.absolute(recorded) == recorded, "absolute() does not change an absolute name", recorded)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)
        try:
            again = kind.read(recorded, config, find_example_kind(config))
        except Exception as error:
            _check(subject, False, "absolute() names the same source from any working folder", error)
        finally:
            os.chdir(before)
    _check_equal(subject, source, again, "absolute() names the same source from any working folder")


def _check(subject: str, holds: bool, rule: str, received: Any) -> None:
    if not holds:
        raise AssertionError(f"The contract of {subject}: {rule}. Received: {received!r}.")
