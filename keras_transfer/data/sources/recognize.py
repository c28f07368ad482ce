"""What the examples of a source are, as far as its files, its columns or its name show it."""

from collections.abc import Iterable
from pathlib import Path

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.example_kinds import EXAMPLE_KINDS, find_example_kind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.find import find_source_kind
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.texts import is_text_file
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, load_table

_OTHERS = frozenset((*TABLE_SUFFIXES, ".json", ".arrow", ".md", ".yaml", ".yml"))


def may_hold(name: str, config: DataConfig) -> bool:
    """Return whether a source may hold examples of the kind that a data section reads.

    Raises:
        DataError: There is no such source, or it is a table that cannot be read.
    """
    find_source_kind(name, config)
    if name in SAMPLES:
        return SAMPLES[name].examples == config.example_kind
    path = Path(name).expanduser()
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        if getattr(config, "bytes", None) is not None:
            return True
        table = load_table(path, encoding=config.encoding, delimiter=config.delimiter)
        kind = find_example_kind(config)
        wanted = kind.columns(config)
        if not set(wanted.values()) <= set(table.columns):
            return False
        # Tables of images and of recordings look alike, apart from what the paths end with.
        paths = table[wanted["path"]].tolist() if kind.suffixes else []
        found = _kinds_of(Path(str(value)).suffix for value in paths)
        return kind.name in found or not found
    if path.is_dir():
        files = list_files(path).files
        # Files that lie beside the class folders are no examples.
        files = [file for file in files if file.parent != path] or files
        found = _kinds_of(file.suffix for file in files)
        if any(is_text_file(file) and file.suffix.lower() not in _OTHERS for file in files):
            found.add("text")
        return config.example_kind in found or not found
    return True


def _kinds_of(suffixes: Iterable[str]) -> set[str]:
    """The kinds of examples that files with these suffixes are; texts have any."""
    ends = {suffix.lower() for suffix in suffixes}
    return {
        name for name in EXAMPLE_KINDS if ends & {*EXAMPLE_KINDS[name].suffixes, *EXAMPLE_KINDS[name].other_suffixes}
    }
