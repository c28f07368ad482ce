"""Where examples come from: a folder, a table, a registered sample set. Each becomes one table of rows.

What pictures and texts share is here, and pictures; ``text_sources.py`` has texts.
"""

import importlib.util
import posixpath
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from keras_transfer.config import DataConfig, PictureDataConfig
from keras_transfer.data.tables import (
    TABLE_SUFFIXES,
    check_columns,
    check_filled,
    check_weights,
    check_written,
    is_utf8,
    load_table,
    read_labels,
    some,
)
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry, did_you_mean

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """Labelled examples before they are divided.

    Attributes:
        name: What the recipe calls it.
        root: The folder that the rows' names are relative to; a table whose rows are the examples.
        rows: A row an example, in an order that is the same on every machine: ``path`` (relative to the root), or for
            texts ``name`` (the same, or the row of a table), ``text`` and for pairs ``text_pair``; ``label`` (class
            name), ``split`` (train, validation or test where the source says so, else empty) and whatever further
            columns the source has.
        class_names: The classes in the order of the model's outputs.
    """

    name: str
    root: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]


Samples = Registry[Callable[[], Source]]
SAMPLES: Samples = Registry("sample set", DataError)


def read_source(name: str, config: PictureDataConfig) -> Source:
    """Read a source of pictures by its name in a recipe.

    Args:
        name: A registered sample set, a folder, or a ``.csv``, ``.jsonl`` or ``.parquet`` file.
        config: Says which columns of a table hold what.

    Returns:
        The source.

    Raises:
        DataError: There is no such source, or it does not hold labelled pictures.
    """
    return find_source(
        name,
        config,
        samples=SAMPLES,
        read_folder=lambda root: _read_folder(name, root),
        read_table=lambda file: _read_table(name, file, config),
    )


def find_source(
    name: str,
    config: DataConfig,
    *,
    samples: Samples,
    read_folder: Callable[[Path], Source],
    read_table: Callable[[Path], Source],
) -> Source:
    """Find out what a source's name stands for, and read it.

    Args:
        name: A registered sample set, a folder or a table.
        config: Names the column of weights, which is checked and made numbers of.
        samples: The sample sets.
        read_folder: Reads a folder, by its absolute path.
        read_table: Reads a table, by its absolute path.

    Returns:
        The source.

    Raises:
        DataError: There is no such source, or what reads it refuses it.
    """
    path = Path(name).expanduser()
    if name in samples:
        source = samples[name]()
    elif path.is_dir():
        source = read_folder(path.resolve())
    elif path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        source = read_table(path.resolve())
    elif path.is_file():
        raise DataError(
            f"Data source {name} is a file of an unknown kind. Known: {', '.join(TABLE_SUFFIXES)}, or a folder."
        )
    else:
        hint = did_you_mean(name, samples)
        raise DataError(
            f"Data source {name!r} is neither a folder, a table nor a sample set. Looked in {path.resolve()}. "
            f"Sample sets: {', '.join(samples)}.{f' {hint}' if hint.startswith('Did') else ''}"
        )
    if config.weight is None:
        return source
    weights = check_weights(source.name, source.rows, config.weight)
    return replace(source, rows=source.rows.assign(**{config.weight: weights}))


def read_classes(root: Path, kind: str, take: Callable[[Path], bool]) -> pd.DataFrame:
    """List the files of a folder with one sub-folder a class, or with train/, validation/ and test/ above those.

    Args:
        root: The folder.
        kind: What the files are, for messages: ``pictures``.
        take: Whether a file is such a one; hidden ones are left out in any case.

    Returns:
        A row a file, in the order of the paths: ``path`` (relative to the root), ``label`` and ``split``.

    Raises:
        DataError: It has no classes, or a class has no files.
    """
    folders = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
    if "train" in folders:
        parts = [(name, folder) for name, folder in folders.items() if name in SPLIT_NAMES]
    else:
        parts = [("", root)]
    records = [record for split, folder in parts for record in _class_rows(root, split, folder, kind, take)]
    return pd.DataFrame(records, columns=["path", "label", "split"])


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__")))


def _class_rows(
    root: Path, split: str, folder: Path, kind: str, take: Callable[[Path], bool]
) -> list[tuple[str, str, str]]:
    records = []
    for class_folder in (entry for entry in _visible(folder) if entry.is_dir()):
        files = [
            file
            for file in sorted(class_folder.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(class_folder).parts)
        ]
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
    return records


def find_package(sample: str, module: str, package: str) -> Path:
    """Return the folder of a package that carries a sample set, without importing it.

    Args:
        sample: The sample set, for messages.
        module: What the package is imported as.
        package: What it is installed as.

    Raises:
        DataError: It is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Sample set {sample} needs the package {package}. Run: pip install 'keras-transfer[samples]'")
    return Path(spec.submodule_search_locations[0])


def _read_folder(name: str, root: Path) -> Source:
    rows = read_classes(root, "pictures", lambda file: True)
    return Source(name, root, rows, tuple(sorted(set(rows["label"]))))


def _read_table(name: str, file: Path, config: PictureDataConfig) -> Source:
    table = load_table(file)
    stratify = [column for column in config.stratify if column != "label"]
    check_columns(file, table, [config.path, config.label, *stratify], "data.path, data.label and data.stratify")
    check_filled(file, table, config.path)
    for column in (config.path, *stratify):
        check_written(file, table, column)
    rows = table.drop(columns=[config.path, config.label, "split"], errors="ignore")
    # ./a.png and a.png are one picture.
    paths = [posixpath.normpath(str(path)) for path in table[config.path]]
    rows = rows.assign(path=paths, label=read_labels(file, table, config.label), split="")
    missing = [path for path in rows["path"] if not (file.parent / path).is_file()]
    if missing:
        raise DataError(
            f"{file} names {len(missing)} of {len(rows)} files that are not there: {some(missing)}. "
            f"Paths are relative to {file.parent}."
        )
    repeated = rows["path"][rows["path"].duplicated()].tolist()
    if repeated:
        raise DataError(
            f"Data source {name} names {len(repeated)} pictures twice: {some(repeated)}. Keep one row of each."
        )
    rows = rows.sort_values("path", kind="stable", ignore_index=True)
    return Source(name, file.parent, rows, tuple(sorted(set(rows["label"]))))


def _solar_cells() -> Source:
    """2,624 photos of solar cells under current (elpv-dataset; Buerhop-Lutz et al. 2018, Deitsch et al. 2019)."""
    root = find_package("solar_cells", "elpv_dataset", "elpv-dataset") / "data"
    rows = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "cell_type"])
    # Experts gave 0, 1/3, 2/3 or 1: how sure they are that the cell is defective.
    defective = rows["probability"] >= 0.5
    rows["label"] = defective.map({True: "defective", False: "functional"})
    rows["certainty"] = (2 * rows["probability"] - 1).abs()
    rows["split"] = ""
    return Source("solar_cells", root, rows, ("functional", "defective"))


def _cells_of(cell_type: str) -> Callable[[], Source]:
    def read() -> Source:
        whole = _solar_cells()
        rows = whole.rows[whole.rows["cell_type"] == cell_type].reset_index(drop=True)
        return replace(whole, name=f"solar_cells_{cell_type}", rows=rows)

    return read


SAMPLES.add("solar_cells", _solar_cells)
for _type in ("mono", "poly"):  # 1,074 monocrystalline and 1,550 polycrystalline cells
    SAMPLES.add(f"solar_cells_{_type}", _cells_of(_type))
