"""Find the task that reads a source for which there is no recipe."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transfer.config.catalog import bundled_recipes
from keras_transfer.config.data import DataConfig
from keras_transfer.config.recipe_file import apply_overrides
from keras_transfer.data.sources.example_kinds import EXAMPLE_KINDS, find_example_kind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.find import find_source_kind
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.texts import is_text_file
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, read_table
from keras_transfer.errors import ConfigError
from keras_transfer.tasks import TASKS, TargetTask, Task

_SUFFIXES = (".yaml", ".yml")


def names_recipe(name: str) -> bool:
    """Return whether a name is that of a recipe, and not of a source.

    Raises:
        ConfigError: It is both.
    """
    path, is_bundled = Path(name).expanduser(), name in bundled_recipes()
    if is_bundled and (path.exists() or name in SAMPLES):
        raise ConfigError(
            f"{name} is ambiguous: it is a bundled recipe and also data in {path.resolve()}. For the data, write "
            f"./{name}; for the recipe, copy it with `keras-transfer copy {name} FILE`, and name the file."
        )
    return is_bundled or (path.suffix.lower() in _SUFFIXES and not path.is_dir())


def find_task(source: str, overrides: Sequence[str]) -> str:
    """Return the task that predicts the targets of a source's examples.

    Args:
        source: As ``data.source``.
        overrides: Each of the form ``section.key=value``; their keys narrow down the task, and may name it.

    Raises:
        ConfigError: Several tasks can read the source, or none.
        DataError: The source is a table that cannot be read.
    """
    named = [text.partition("=")[2] for text in overrides if text.startswith("task=")]
    if named:
        return named[-1]
    keys = {text.partition("=")[0].split(".")[1] for text in overrides if text.startswith("data.")}
    known = {name: TASKS[name] for name in TASKS if isinstance(TASKS[name], TargetTask)}
    fitting = {name: task for name, task in known.items() if keys <= set(_data_class(task).model_fields)} or known
    sections = {name: _read_section(task, source, overrides) for name, task in fitting.items()}
    examples = {section.example_kind for section in sections.values()}
    for section in sections.values():
        find_source_kind(source, section, examples=examples)
    found = [name for name, section in sections.items() if may_hold(source, section)]
    if len(found) == 1:
        return found[0]
    if not found:
        columns: dict[str, list[str]] = {}
        for kind, section in {find_example_kind(section): section for section in sections.values()}.items():
            columns.setdefault(next(iter(kind.columns(section))), []).append(kind.plural)
        named_columns = [f"data.{key}=COLUMN ({' or '.join(plurals)})" for key, plurals in columns.items()]
        raise ConfigError(f"The column of examples in {source} is unknown. Set {' or '.join(named_columns)}.")
    raise ConfigError(
        f"{source} is ambiguous: {len(found)} tasks can read it. "
        f"Add one of: {', '.join(f'task={name}' for name in found)}."
    )


def _data_class(task: Task) -> Any:
    return task.config_class.model_fields["data"].annotation


def _read_section(task: Task, source: str, overrides: Sequence[str]) -> Any:
    """The data section for a source; mistakes in it are reported when the recipe is read."""
    values: dict[str, Any] = {"task": task.name, "data": {"source": source}}
    apply_overrides(values, [text for text in overrides if text.startswith("data.")])
    section: Mapping[str, Any] = values["data"]
    known = _data_class(task)
    fields = {key: value for key, value in section.items() if key in known.model_fields}
    try:
        return known.model_validate(fields)
    except ValueError:
        return known.model_validate({"source": source})


_OTHERS = frozenset((*TABLE_SUFFIXES, *_SUFFIXES, ".json", ".arrow", ".md"))


def may_hold(name: str, config: DataConfig) -> bool:
    """Return whether a source can contain examples of the kind that a data section reads.

    Args:
        name: The name of a source that exists.

    Raises:
        DataError: The source is a table that cannot be read.
    """
    if name in SAMPLES:
        return SAMPLES[name].examples == config.example_kind
    path = Path(name).expanduser()
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        if getattr(config, "bytes", None) is not None:
            return True
        table = read_table(path, encoding=config.encoding, delimiter=config.delimiter).frame
        kind = find_example_kind(config)
        wanted = kind.columns(config)
        if not set(wanted.values()) <= set(table.columns):
            return False
        # Tables of images and of recordings look alike, apart from the suffixes of the paths.
        paths = table[wanted["path"]].tolist() if kind.suffixes else []
        found = _kinds_of(Path(str(value)).suffix for value in paths)
        return kind.name in found or not found
    if path.is_dir():
        files = list_files(path).files
        # Files next to the class folders are not examples.
        files = [file for file in files if file.parent != path] or files
        found = _kinds_of(file.suffix for file in files)
        if any(is_text_file(file) and file.suffix.lower() not in _OTHERS for file in files):
            found.add("text")
        return config.example_kind in found or not found
    return True


def _kinds_of(suffixes: Iterable[str]) -> set[str]:
    """The kinds of examples that files with these suffixes can be; texts may have any suffix."""
    ends = {suffix.lower() for suffix in suffixes}
    return {
        name for name in EXAMPLE_KINDS if ends & {*EXAMPLE_KINDS[name].suffixes, *EXAMPLE_KINDS[name].other_suffixes}
    }
