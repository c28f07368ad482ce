"""Find the kind of source that reads a name, and read it."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_transfer.config.data import DataConfig
from keras_transfer.config.section import is_set
from keras_transfer.data.sources.arrange_labels import arrange_labels
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.corrections import NO_CORRECTIONS, Corrections
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.sources.given_objects import PythonObjects
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.source_kinds import SOURCES, SourceKind
from keras_transfer.data.tables.tables import TABLE_SUFFIXES
from keras_transfer.data.tables.values import check_weights
from keras_transfer.errors import DataError
from keras_transfer.registry import nearest_names


def read_source(
    name: str,
    config: DataConfig,
    given: Any = None,
    *,
    whole: bool = False,
    known: Sequence[str] | None = None,
    corrections: Corrections = NO_CORRECTIONS,
) -> Source:
    """Read a source by its name in a recipe.

    Args:
        name: A sample set, a folder, a table, ``tfds:NAME``, or a name that an installed plugin claims.
        config: The recipe's data section. Without label columns, labels are not read.
        whole: Whether the source is used as one split, so that it must not have several.
        known: The classes or labels of the training rows, if the source has other rows.
        corrections: Rows to leave out, and labels to change, before labels are renamed or merged.

    Raises:
        DataError: There is no such source, several kinds claim its name, or it cannot be read.
    """
    source = corrections.apply(config.part, read_rows(name, config, given, whole=whole), config)
    source = arrange_labels(source, config, known)
    if config.weight is None:
        return source
    weights = check_weights(source.name, source.rows, config.weight)
    return replace(source, rows=source.rows.assign(**{config.weight: weights}))


def read_rows(name: str, config: DataConfig, given: Any = None, *, whole: bool = False) -> Source:
    """Read all rows of a source, with the original labels; :func:`read_source` continues from there."""
    kind = find_source_kind(name, config) if given is None else PythonObjects(given)
    examples = find_example_kind(config)
    _refuse_unused(name, config, kind, whole=whole)
    source = kind.read(name, config, examples)
    examples.check(source, config)
    if whole:
        kind.check_whole(source)
    return source


# Keys that apply to one source; the others, which name columns, apply to all sources of a recipe.
_OF_ONE_SOURCE = ("root", "suffix", "encoding", "delimiter", "folders")


def _refuse_unused(name: str, config: DataConfig, kind: SourceKind, *, whole: bool) -> None:
    """Refuse keys that do not apply to a source, and columns that no source of the recipe has."""
    examples = find_example_kind(config)
    unused = {key: why for key, why in kind.unused_keys(name, config, examples).items() if _is_set(config, key)}
    own = {key: why for key, why in unused.items() if key in _OF_ONE_SOURCE}
    columns = {key: why for key, why in unused.items() if key not in own and not whole}
    for other in config.sources[1:] if columns else ():
        kinds = _claiming(other, config)
        if len(kinds) == 1:
            also = kinds[0].unused_keys(other, config, examples)
            columns = {key: why for key, why in columns.items() if key in also}
        else:
            columns = {}
    for reason in dict.fromkeys([*own.values(), *columns.values()]):
        keys = [config.key_of(key) if key in own else f"data.{key}" for key in (own | columns) if unused[key] == reason]
        raise DataError(f"{' and '.join(keys)}: {reason}. Leave this out, or use a table.")


def _is_set(config: DataConfig, key: str) -> bool:
    return key in type(config).model_fields and is_set(config, key)


def has_labels(name: str, config: DataConfig, given: Any = None) -> bool:
    """Return whether a source has labels that a classifier could learn.

    Raises:
        DataError: There is no such source, or it is a table that cannot be read.
    """
    kind = find_source_kind(name, config) if given is None else PythonObjects(given)
    return kind.has_labels(name, config, find_example_kind(config))


def find_source_kind(name: str, config: DataConfig, *, examples: Collection[str] = ()) -> SourceKind:
    """Return the only kind of source that claims a name, ignoring kinds that another one refines.

    Args:
        examples: Kinds of examples whose sample sets a message offers; by default that of the section.

    Raises:
        DataError: None claims it, or several do.
    """
    kinds = _claiming(name, config)
    if not kinds:
        raise _not_found(name, examples or (config.example_kind,))
    if len(kinds) > 1:
        ways = " and as ".join(f"{kind.form} ({kind.name})" for kind in kinds)
        raise DataError(
            f"Data source {name!r} is ambiguous: it can be read as {ways}. For a file or a folder, write its path "
            f"(./{name}) or rename it; of two plugins, uninstall one."
        )
    return kinds[0]


def _claiming(name: str, config: DataConfig) -> list[SourceKind]:
    kinds = [kind for kind in (SOURCES[key] for key in SOURCES) if kind.claims(name, config)]
    refined = {kind.refines for kind in kinds}
    return [kind for kind in kinds if kind.name not in refined]


def absolute_name(name: str, config: DataConfig) -> str:
    """Return a name of the same source for any working folder; unchanged if no kind, or several, claim it."""
    kinds = _claiming(name, config)
    return kinds[0].absolute(name) if len(kinds) == 1 else name


def _not_found(name: str, examples: Collection[str]) -> DataError:
    path = Path(name).expanduser()
    if path.is_file():
        return DataError(
            f"Data source {name} is a file of an unknown format. Supported: {', '.join(TABLE_SUFFIXES)}, or a folder."
        )
    kinds = [SOURCES[key] for key in SOURCES]
    forms = [kind.form for kind in kinds if kind.name not in ("python", "sample") and not kind.refines]
    samples = [sample for sample in SAMPLES if SAMPLES[sample].examples in examples]
    near = nearest_names(name, samples)
    prefix = re.match(r"\w\w+:", name)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    if prefix:
        hint = f" No installed package reads sources that start with {prefix[0]!r}."
    return DataError(
        f"Data source {name!r} not found. Looked in {path.resolve()}.{hint} "
        f"Expected {', '.join(forms)}, or a sample set: {', '.join(samples) or 'none'}."
    )
