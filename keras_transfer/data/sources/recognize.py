"""What the examples of a source are, as far as its files, its columns or its name show it."""

from pathlib import Path

from keras_transfer.config import DataConfig
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.sources.files import list_files
from keras_transfer.data.sources.find import find_source_kind
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.sources.texts import is_text_file
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, load_table

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".npy", ".tif", ".tiff", ".heic"))
_OTHERS = frozenset((*TABLE_SUFFIXES, ".json", ".arrow", ".md", ".yaml", ".yml"))


def may_hold(name: str, config: DataConfig) -> bool:
    """Return whether a source may hold examples of the kind that a data section reads.

    Args:
        name: The source's name.
        config: A data section of one kind of examples, with the columns of the source.

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
        columns = load_table(path, encoding=config.encoding, delimiter=config.delimiter).columns
        return set(find_example_kind(config).columns(config).values()) <= set(columns)
    if path.is_dir():
        files = list_files(path).files
        # Files that lie beside the class folders are no examples.
        files = [file for file in files if file.parent != path] or files
        images = any(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
        texts = any(is_text_file(file) and file.suffix.lower() not in _OTHERS for file in files)
        found = [kind for kind, there in (("image", images), ("text", texts)) if there]
        return config.example_kind in found or not found
    return True
