"""Find out what the name of a source refers to, and read folders of classes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.data.sources.base import PYTHON, TFDS, Source
from keras_transfer.data.sources.samples import Samples
from keras_transfer.data.tables.tables import SPLIT_NAMES, TABLE_SUFFIXES, check_columns, check_weights, is_utf8, some
from keras_transfer.data.targets.read import read_targets
from keras_transfer.errors import DataError
from keras_transfer.registry import did_you_mean


def find_source(
    name: str,
    config: DataConfig,
    *,
    samples: Samples,
    read_folder: Callable[[Path], Source],
    read_table: Callable[[Path], Source],
    read_tfds: Callable[[], Source],
) -> Source:
    """Find out what a source's name stands for, and read it.

    Args:
        name: A registered sample set, a folder, a table or a dataset of TFDS.
        config: Names the column of weights, which is checked and made numbers of, and what the examples are told as.
        samples: The sample sets.
        read_folder: Reads a folder, by its absolute path.
        read_table: Reads a table, by its absolute path.
        read_tfds: Reads the dataset.

    Returns:
        The source.

    Raises:
        DataError: There is no such source, or what reads it refuses it.
    """
    path = Path(name).expanduser()
    if name in samples:
        source = _choose_targets(samples[name](), config)
    elif name.startswith(TFDS):
        source = read_tfds()
    elif path.is_dir():
        if config.target != "class":
            raise DataError(
                f"Data source {name} is a folder, whose sub-folders are classes; data.target is {config.target}. "
                f"Name a table ({', '.join(TABLE_SUFFIXES)}) with the columns of data.label."
            )
        source = read_folder(path.resolve())
    elif path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        source = read_table(path.resolve())
    elif path.is_file():
        raise DataError(
            f"Data source {name} is a file of an unknown kind. Known: {', '.join(TABLE_SUFFIXES)}, or a folder."
        )
    elif name.startswith(PYTHON):
        raise DataError(f"{name} was given from Python and is not kept. Give it again: evaluate(data=...).")
    else:
        hint = did_you_mean(name, samples)
        raise DataError(
            f"Data source {name!r} is neither a folder, a table nor a sample set. Looked in {path.resolve()}. "
            f"Sample sets: {', '.join(samples)}.{f' {hint}' if hint.startswith('Did') else ''}"
        )
    return check_source(source, config)


def check_source(source: Source, config: DataConfig) -> Source:
    """Make numbers of a source's weights, and name classes that are hardly told apart.

    Raises:
        DataError: The weights are none.
    """
    alike = Counter(name.casefold() for name in source.class_names)
    twins = [name for name in source.class_names if alike[name.casefold()] > 1]
    if twins:
        note = f"Classes whose names differ in case alone: {some(map(repr, twins))}. Are they one?"
        source = replace(source, notes=(*source.notes, note))
    if config.weight is None:
        return source
    weights = check_weights(source.name, source.rows, config.weight)
    return replace(source, rows=source.rows.assign(**{config.weight: weights}))


def _choose_targets(source: Source, config: DataConfig) -> Source:
    """A sample set has classes of its own; its further columns can be told in their place."""
    if config.target == "class" and config.label_columns == ["label"]:
        return source
    rows = source.rows
    check_columns(Path(source.name), list(map(str, rows.columns)), config, {})
    labels, names = read_targets(Path(source.name), rows, config)
    return replace(source, rows=rows.assign(label=pd.Series(labels, rows.index, object)), class_names=names)


def read_classes(root: Path, kind: str, take: Callable[[Path], bool]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """List the files of a folder with one sub-folder a class, or with train/, validation/ and test/ above those.

    Args:
        root: The folder.
        kind: What the files are, for messages: ``images``.
        take: Whether a file is such a one; hidden ones are left out in any case.

    Returns:
        A row a file, in the order of the paths: ``path`` (relative to the root), ``label`` and ``split``. And lines on
        what was left out: what lies beside the classes, and links to folders.

    Raises:
        DataError: It has no classes, a class has no files, or a folder cannot be read.
    """
    try:
        entries = _visible(root)
        folders = {folder.name: folder for folder in entries if folder.is_dir()}
        parts = {name: folder for name, folder in folders.items() if name in SPLIT_NAMES}
        if "train" not in folders:
            parts = {"": root}
        beside = [entry for folder in parts.values() for entry in _visible(folder) if not entry.is_dir()]
        if "" not in parts:
            beside += [entry for entry in entries if entry not in parts.values()]
        found = [_class_rows(root, split, folder, kind, take) for split, folder in parts.items()]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}. Mend or remove it.") from error
    records = [record for rows, _ in found for record in rows]
    left_out = {
        f"they lie beside the classes of {root}": beside,
        "links to folders inside a class are not followed": [link for _, links in found for link in links],
    }
    notes = tuple(
        f"Left out, for {reason}: {some(sorted(entry.relative_to(root).as_posix() for entry in entries))}"
        for reason, entries in left_out.items()
        if entries
    )
    return pd.DataFrame(records, columns=["path", "label", "split"]), notes


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__")))


def _class_rows(
    root: Path, split: str, folder: Path, kind: str, take: Callable[[Path], bool]
) -> tuple[list[tuple[str, str, str]], list[Path]]:
    """A row a file, and the links to folders inside the classes, which are not followed."""
    records, links = [], []
    for class_folder in (entry for entry in _visible(folder) if entry.is_dir()):
        if class_folder.is_symlink() and root.is_relative_to(class_folder.resolve()):
            raise DataError(f"Class folder {class_folder} is a link to a folder that it lies in. Remove the link.")
        entries = [
            entry
            for entry in sorted(class_folder.rglob("*"))
            if not any(part.startswith(".") for part in entry.relative_to(class_folder).parts)
        ]
        # A link that leads nowhere, or in a circle, is named later, with what else cannot be read.
        files = [entry for entry in entries if entry.is_file() or (entry.is_symlink() and not entry.exists())]
        links += [entry for entry in entries if entry.is_symlink() and entry.is_dir()]
        taken = [file for file in files if take(file)]
        if not taken:
            others = Counter(file.suffix.lower() or file.name for file in files).most_common()
            held = f"holds no {kind}: {some([f'{n} {suffix}' for suffix, n in others])}" if files else "is empty"
            raise DataError(f"Class folder {class_folder} {held}. Put {kind} into it, or remove it.")
        records += [(file.relative_to(root).as_posix(), class_folder.name, split) for file in taken]
    if not records:
        raise DataError(
            f"Folder {folder} has no classes. Put each class's {kind} into a sub-folder named after the class."
        )
    unwritten = [path.encode("utf-8", "backslashreplace").decode() for path, _, _ in records if not is_utf8(path)]
    if unwritten:
        raise DataError(
            f"Folder {folder} has {len(unwritten)} files whose names are no UTF-8: {some(unwritten)}. Rename them."
        )
    return records, links
