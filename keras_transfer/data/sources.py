"""Where examples come from: a folder, a table, a registered sample set. Each becomes one table of rows."""

import importlib.util
import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from keras_transfer.config import DataConfig
from keras_transfer.errors import DataError
from keras_transfer.registry import Registry, did_you_mean

SPLIT_NAMES = ("train", "validation", "test")
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Source:
    """Labelled pictures before they are divided.

    Attributes:
        name: What the recipe calls it.
        root: The folder that the rows' paths are relative to.
        rows: A row a picture, in an order that is the same on every machine: ``path`` (relative to the root),
            ``label`` (class name), ``split`` (train, validation or test where the source says so, else empty) and
            whatever further columns the source has.
        class_names: The classes in the order of the model's outputs.
    """

    name: str
    root: Path
    rows: pd.DataFrame
    class_names: tuple[str, ...]


SAMPLES: Registry[Callable[[], Source]] = Registry("sample set", DataError)


def read_source(name: str, config: DataConfig) -> Source:
    """Read a source by its name in a recipe.

    Args:
        name: A registered sample set, a folder, or a ``.csv``, ``.jsonl`` or ``.parquet`` file.
        config: Says which columns of a table hold what.

    Returns:
        The source.

    Raises:
        DataError: There is no such source, or it does not hold labelled pictures.
    """
    path = Path(name).expanduser()
    if name in SAMPLES:
        source = SAMPLES[name]()
    elif path.is_dir():
        source = _read_folder(name, path.resolve())
    elif path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        source = _read_table(name, path.resolve(), config)
    elif path.is_file():
        raise DataError(
            f"Data source {name} is a file of an unknown kind. Known: {', '.join(TABLE_SUFFIXES)}, or a folder."
        )
    else:
        raise DataError(
            f"Data source {name!r} is neither a folder, a table nor a sample set. Looked in {path.resolve()}. "
            f"Sample sets: {', '.join(SAMPLES)}. {_nearest_sample(name)}".rstrip()
        )
    if config.weight is not None:
        _check_weights(source, config.weight)
    return source


def _nearest_sample(name: str) -> str:
    hint = did_you_mean(name, SAMPLES)
    return hint if hint.startswith("Did") else ""


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__")))


def _read_folder(name: str, root: Path) -> Source:
    """One sub-folder a class, or train/, validation/ and test/ above those."""
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    split_folders = {folder.name: folder for folder in folders if folder.name in SPLIT_NAMES}
    if "train" in split_folders:
        parts = list(split_folders.items())
    else:
        parts = [("", root)]
    records = [record for split, folder in parts for record in _class_rows(root, split, folder)]
    class_names = sorted({label for _, label, _ in records})
    rows = pd.DataFrame(records, columns=["path", "label", "split"])
    return _checked(Source(name, root, rows, tuple(class_names)))


def _class_rows(root: Path, split: str, folder: Path) -> list[tuple[str, str, str]]:
    records = []
    for class_folder in (entry for entry in _visible(folder) if entry.is_dir()):
        files = [
            file
            for file in sorted(class_folder.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(class_folder).parts)
        ]
        if not files:
            raise DataError(f"Class folder {class_folder} is empty. Put pictures into it, or remove it.")
        records += [(file.relative_to(root).as_posix(), class_folder.name, split) for file in files]
    if not records:
        raise DataError(
            f"Folder {folder} has no classes. Put each class's pictures into a sub-folder named after the class."
        )
    return records


def _read_table(name: str, file: Path, config: DataConfig) -> Source:
    table = _load_table(file, config)
    wanted = [config.path, config.label, *(c for c in config.stratify if c != "label")]
    for column in wanted:
        if column not in table.columns:
            raise DataError(
                f"{file} has no column {column!r}. {did_you_mean(column, map(str, table.columns))} "
                "Name the columns with data.path, data.label and data.stratify."
            )
    if table.empty:
        raise DataError(f"{file} has no rows. Give it a row for each picture.")
    for column in (config.path, config.label):
        _check_filled(file, table, column)
    rows = table.drop(columns=[config.path, config.label, "split"], errors="ignore")
    # ./a.png and a.png are one picture.
    paths = [posixpath.normpath(path) for path in table[config.path].astype(str)]
    rows = rows.assign(path=paths, label=_as_labels(table[config.label]), split="")
    missing = [path for path in rows["path"] if not (file.parent / path).is_file()]
    if missing:
        raise DataError(
            f"{file} names {len(missing)} of {len(rows)} files that are not there: {_some(missing)}. "
            f"Paths are relative to {file.parent}."
        )
    class_names = tuple(sorted(set(rows["label"])))
    rows = rows.sort_values("path", kind="stable", ignore_index=True)
    return _checked(Source(name, file.parent, rows, class_names))


def _load_table(file: Path, config: DataConfig) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".csv":
            # As they stand: a class may be called 007 or NA.
            text = {config.path: str, config.label: str}
            return pd.read_csv(file, dtype=text, keep_default_na=False, na_values=[""])
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file)
        return _load_jsonl(file)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise DataError(f"Table {file} cannot be read: {str(error).splitlines()[0]}. Mend the file.") from error


def _load_jsonl(file: Path) -> pd.DataFrame:
    records = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is no JSON object")
            records += [record] if record else []
    return pd.DataFrame(records)


def _as_labels(column: "pd.Series[str]") -> "pd.Series[str]":
    """Class names are text; a column of whole numbers that pandas read as floats loses its .0 again."""
    whole = pd.api.types.is_float_dtype(column) and bool((column == column.round()).all())
    return column.astype("int64").astype(str) if whole else column.astype(str)


def _check_filled(file: Path, table: pd.DataFrame, column: str) -> None:
    empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    if empty.any():
        numbers = _some([str(number + 1) for number in range(len(table)) if empty.iloc[number]])
        raise DataError(
            f"{file}: column {column!r} is empty in {int(empty.sum())} rows: row {numbers}. Fill or remove them."
        )


def _check_weights(source: Source, column: str) -> None:
    if column not in source.rows.columns:
        hint = did_you_mean(column, map(str, source.rows.columns))
        raise DataError(f"data.weight: {source.name} has no column {column!r}. {hint}")
    weights = pd.to_numeric(source.rows[column], errors="coerce")
    if weights.isna().any() or (weights < 0).any() or not (weights > 0).any():
        raise DataError(
            f"data.weight: column {column!r} of {source.name} must hold numbers of at least 0, not all of them 0."
        )


def _checked(source: Source) -> Source:
    repeated = source.rows["path"][source.rows["path"].duplicated()].tolist()
    if repeated:
        raise DataError(
            f"Data source {source.name} names {len(repeated)} pictures twice: {_some(repeated)}. Keep one row of each."
        )
    return source


def _some(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _solar_cells() -> Source:
    """2,624 photos of solar cells under current (elpv-dataset; Buerhop-Lutz et al. 2018, Deitsch et al. 2019)."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "Sample set solar_cells needs the package elpv-dataset. Run: pip install 'keras-transfer[samples]'"
        )
    root = Path(spec.submodule_search_locations[0]) / "data"
    rows = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "cell_type"])
    # Experts gave 0, 1/3, 2/3 or 1: how sure they are that the cell is defective.
    defective = rows["probability"] >= 0.5
    rows["label"] = defective.map({True: "defective", False: "functional"})
    rows["certainty"] = (2 * rows["probability"] - 1).abs()
    rows["split"] = ""
    return Source("solar_cells", root, rows, ("functional", "defective"))


SAMPLES.add("solar_cells", _solar_cells)
