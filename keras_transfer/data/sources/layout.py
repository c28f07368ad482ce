"""What the sub-folders of a folder are: splits, or classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.data.sources.files import is_hidden
from keras_transfer.data.tables.split_names import describe_names, find_split, find_twins
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Where the class folders of a source are.

    Attributes:
        parts: By split, the folder that has the class folders; the split is "" if they are in the folder itself.
        unlabelled: Folders that are named like a split, and have files but no class folders.
        notes: Lines for the user.
    """

    parts: Mapping[str, Path]
    unlabelled: Sequence[Path] = ()
    notes: tuple[str, ...] = ()


def find_layout(root: Path, folders: Sequence[Path], *, asked: str = "auto") -> Layout:
    """Find out what sub-folders are.

    They are splits if one is named ``train`` or ``Training`` and has folders in it.

    Args:
        folders: Its sub-folders that are not hidden.
        asked: ``data.folders``.

    Raises:
        DataError: They can be read in two ways, or two folders have names of one split.
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
    """Refuse a class folder that has only folders: these may be the classes, or the class folder a split.

    Args:
        split: Of the class folder; "" if the source has no splits.

    Raises:
        DataError: With both readings.
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
    """Refuse a test folder beside classes: without class folders in it, it may be a class, or rows to predict."""
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
