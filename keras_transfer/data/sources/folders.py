"""Folders with one sub-folder per class."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import ExampleKind
from keras_transfer.data.sources.files import list_files, list_visible, note_hidden
from keras_transfer.data.sources.layout import find_layout, refuse_nested
from keras_transfer.data.sources.shards import reads_shards
from keras_transfer.data.sources.source_kinds import SourceKind
from keras_transfer.data.tables.tables import is_utf8, some
from keras_transfer.errors import DataError


class Folders(SourceKind):
    """Folders with one sub-folder per class, or of loose files if labels are not read."""

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
        # With another target, what is wrong is that a folder has classes alone.
        wants_classes = reads_labels(config) and config.target == "class"
        if wants_classes and not examples.has_table(Path(self.absolute(name)), config):
            keys += ["label", *examples.further_columns(config)]
        if examples.reads_text_files:
            return dict.fromkeys(keys, _no_columns(name))
        return dict.fromkeys([*keys, "encoding"], _no_columns(name))

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


def _no_columns(name: str) -> str:
    return f"only tables have columns, and {name} is a folder, whose sub-folders are the classes"


def read_classes(
    root: Path, kind: str, take: Callable[[Path], bool], *, folders: str = "auto"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """List the files of a folder with one sub-folder per class, or with train/, validation/ and test/ above those.

    Args:
        kind: What messages call the files: ``images``.
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
    """One row per file, the links to folders inside the classes, which are not followed, and the number of hidden."""
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
    unwritten = [path.encode("utf-8", "backslashreplace").decode() for path, _, _ in records if not is_utf8(path)]
    if unwritten:
        raise DataError(
            f"Folder {folder} has {len(unwritten)} files whose names are not UTF-8: {some(unwritten)}. Rename them."
        )
    return records, links, hidden
