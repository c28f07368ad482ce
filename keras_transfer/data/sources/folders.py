"""Folders with one sub-folder per class, and the meaning of sub-folders: splits, or classes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import is_hidden, list_files, list_visible, note_hidden
from keras_transfer.data.sources.shards import reads_shards
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.tables.split_names import describe_names, find_split, find_twins
from keras_transfer.data.tables.tables import is_utf8, some
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Where the class folders of a source are.

    Attributes:
        parts: By split, the folder that contains the class folders; the split is "" if that is the source itself.
        unlabelled: Folders with the name of a split that contain files but no class folders.
    """

    parts: Mapping[str, Path]
    unlabelled: Sequence[Path] = ()
    notes: tuple[str, ...] = ()


def find_layout(root: Path, folders: Sequence[Path], *, asked: str) -> Layout:
    """Determine whether sub-folders are splits or classes.

    They are splits if one is named ``train`` or ``Training`` and contains folders.

    Args:
        folders: Its sub-folders that are not hidden.
        asked: The value of ``data.folders``.

    Raises:
        DataError: They are ambiguous, or two folders have names of the same split.
    """
    named = {folder: find_split(folder.name) for folder in folders}
    train = [folder for folder, split in named.items() if split == "train"]
    if asked == "splits" and not train:
        names = some([folder.name for folder in folders]) or "none"
        raise DataError(f"data.folders=splits: {root} has no folder named train. Its folders: {names}. Rename one.")
    if asked == "classes" or not train:
        if asked == "auto":
            _refuse_unlabelled_class(root, folders)
        return Layout({"": root})
    classes = [folder.name for folder, split in named.items() if split is None]
    if asked == "auto" and classes and not any(map(_has_folders, train)):
        raise DataError(
            f"Folder {train[0]} has no folders in it, so {train[0].name} could be a class, as {some(classes, 3)}, or "
            "the training rows. If it is a class, set data.folders=classes. If not, put its files into a folder per "
            "class."
        )
    for split, twins in find_twins(folder.name for folder in folders).items():
        raise DataError(
            f"{root} has {len(twins)} folders for the {split} split: {' and '.join(twins)}. Keep one, or merge them; "
            "if these are classes, set data.folders=classes."
        )
    return _make_layout(root, {folder: split for folder, split in named.items() if split is not None})


def _make_layout(root: Path, named: Mapping[Path, str]) -> Layout:
    unlabelled = [
        folder
        for folder, split in named.items()
        if split != "train" and not _has_folders(folder) and _count_files(folder)
    ]
    parts = {split: folder for folder, split in named.items() if folder not in unlabelled}
    names = describe_names(folder.name for folder in parts.values())
    notes = [] if names is None else [f"Splits by folder: {names}"]
    for folder in unlabelled:
        notes.append(
            f"Without labels: the {_count_files(folder):,} files of {folder.name}/ are in no class folder, and belong "
            f"to no split. Predict for them with: keras-transfer predict RUN {folder}"
        )
    return Layout(parts, unlabelled, tuple(notes))


def refuse_nested(root: Path, split: str, folder: Path, taken: Sequence[Path], kind: str) -> None:
    """Refuse a class folder that only contains folders: these may be the classes, or the class folder a split.

    Args:
        split: The split of the class folder; "" if the source has no splits.

    Raises:
        DataError: With both interpretations.
    """
    if any(file.parent == folder for file in taken):
        return
    inside = sorted({file.relative_to(folder).parts[0] for file in taken})
    key = "splits" if split else "classes"
    looks = "" if split or find_split(folder.name) is None else f" If {folder.name} is a split, add a folder train."
    raise DataError(
        f"Class folder {folder} has no {kind} of its own, only folders: {some(inside, 5)}. If {folder.name} is a "
        f"class, and {kind} at any depth belong to it, set data.folders={key}. If these folders are the classes, use "
        f"data.source={folder}, or move them to {root if not split else folder.parent}.{looks}"
    )


def _refuse_unlabelled_class(root: Path, folders: Sequence[Path]) -> None:
    """Refuse a test folder next to classes: without class folders in it, it may be a class, or rows to predict."""
    for folder in folders:
        if find_split(folder.name) == "test" and len(folders) > 2 and not _has_folders(folder):
            raise DataError(
                f"Folder {folder} could be a class, or unlabelled rows for `keras-transfer predict`. If it is a class, "
                f"set data.folders=classes. If not, move it out of {root}."
            )


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() and not is_hidden(entry.name) for entry in folder.iterdir())


def _count_files(folder: Path) -> int:
    return sum(entry.is_file() and not is_hidden(entry.name) for entry in folder.iterdir())


class Folders(SourceKind):
    """Folders with one sub-folder per class, or only files if labels are not read."""

    name, form = "folder", "a folder"

    def claims(self, name: str, config: DataConfig) -> bool:
        """Return whether it is a folder, but not one of shards."""
        # As a path, "" would be the working folder.
        return bool(name) and Path(name).expanduser().is_dir() and not reads_shards(name, config)

    def read(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Source:
        root = Path(self.absolute(name))
        if reads_labels(config) and config.target != "class" and not examples.has_table(root, config):
            raise DataError(examples.explain_folder(name, config))
        return examples.from_folder(name, root, config)

    def unused_keys(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> Mapping[str, str]:
        keys = ["path", "bytes", "text", "root", "suffix", "delimiter"]
        # With another target, the problem is that a folder only has classes.
        wants_classes = reads_labels(config) and config.target == "class"
        if wants_classes and not examples.has_table(Path(self.absolute(name)), config):
            keys += ["label", *examples.further_columns(config)]
        if not examples.reads_text_files:
            keys.append("encoding")
        return dict.fromkeys(
            keys, f"only tables have columns, and {name} is a folder, whose sub-folders are the classes"
        )

    def has_labels(self, name: str, config: DataConfig, examples: ExampleKind[Any]) -> bool:
        return examples.has_classes(Path(name).expanduser())

    def check_whole(self, source: Source) -> None:
        splits = sorted(set(source.rows["split"]))
        if len(splits) > 1:
            raise DataError(
                f"{source.name} has folders for the splits {', '.join(splits)}. Name the one to use, such as "
                f"{source.name}/test."
            )

    def absolute(self, name: str) -> str:
        return str(Path(name).expanduser().resolve())


def read_classes(
    root: Path, kind: str, take: Callable[[Path], bool], *, folders: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """List the files of a folder with one sub-folder per class, or with train/, validation/ and test/ above those.

    Args:
        kind: The word for the files in messages: ``images``.
        take: Whether a file is an example; hidden files are always left out.
        folders: ``data.folders``: what the sub-folders are.

    Returns:
        One row per file, in the order of the paths: ``path`` (relative to the root), ``label`` and ``split``. And lines
        on what was ignored: files next to the class folders, links to folders, and hidden files.

    Raises:
        DataError: There are no classes, a class has no files, or a folder cannot be read.
    """
    try:
        entries, hidden = list_visible(root)
        layout = find_layout(root, [entry for entry in entries if entry.is_dir()], asked=folders)
        parts = layout.parts
        inside = {name: (entries, 0) if name == "" else list_visible(folder) for name, folder in parts.items()}
        beside = [entry for visible, _ in inside.values() for entry in visible if not entry.is_dir()]
        if "" not in parts:
            beside += [entry for entry in entries if entry not in (*parts.values(), *layout.unlabelled)]
        found = [
            _class_rows(root, split, inside[split][0], folder, kind, take, nested=folders != "auto")
            for split, folder in parts.items()
        ]
    except OSError as error:
        raise DataError(f"Cannot read {error.filename}: {error.strerror}. Fix or remove it.") from error
    records = [record for rows, _, _ in found for record in rows]
    hidden += sum(count for _, count in inside.values()) + sum(count for _, _, count in found)
    ignored = {
        f"not in a class folder of {root}": beside,
        "links to folders inside a class, which are not followed": [link for _, links, _ in found for link in links],
    }
    notes = [
        f"Ignored, {reason}: {some(sorted(entry.relative_to(root).as_posix() for entry in entries))}"
        for reason, entries in ignored.items()
        if entries
    ]
    notes += note_hidden(root, hidden)
    return pd.DataFrame(records, columns=["path", "label", "split"]), (*layout.notes, *notes)


def _class_rows(
    root: Path,
    split: str,
    visible: Sequence[Path],
    folder: Path,
    kind: str,
    take: Callable[[Path], bool],
    *,
    nested: bool,
) -> tuple[list[tuple[str, str, str]], list[Path], int]:
    """One row per file, links to folders in the classes (which are not followed), and the number of hidden files."""
    records: list[tuple[str, str, str]] = []
    links: list[Path] = []
    hidden = 0
    for class_folder in (entry for entry in visible if entry.is_dir()):
        if class_folder.is_symlink() and root.is_relative_to(class_folder.resolve()):
            raise DataError(f"Class folder {class_folder} is a link to a folder that contains it. Remove the link.")
        found = list_files(class_folder)
        if found.special:
            raise DataError(
                f"Class folder {class_folder} has {len(found.special)} pipes or devices, which are not files: "
                f"{some([entry.name for entry in found.special])}. Remove them."
            )
        files, hidden = found.files, hidden + found.hidden
        links += found.links
        taken = [file for file in files if take(file)]
        if not taken:
            others = Counter(file.suffix.lower() or file.name for file in files).most_common()
            held = f"has no {kind}: {some([f'{n} {suffix}' for suffix, n in others])}" if files else "is empty"
            raise DataError(f"Class folder {class_folder} {held}. Put {kind} into it, or remove it.")
        if not nested:
            refuse_nested(root, split, class_folder, taken, kind)
        records += [(file.relative_to(root).as_posix(), class_folder.name, split) for file in taken]
    if not records:
        raise DataError(
            f"Folder {folder} has no classes. Put each class's {kind} into a sub-folder named after the class."
        )
    unwritten = [path for path, _, _ in records if not is_utf8(path)]
    if unwritten:
        raise DataError(
            f"Folder {folder} has {len(unwritten)} files whose names are not UTF-8: {some(unwritten)}. Rename them."
        )
    return records, links, hidden
