"""Recordings of packages of Debian, as tables for recipes and for audio_recipes.py.

Usage: python benchmarks/audio_data.py FOLDER [--only drums|languages|czech]

Writes FOLDER/drums.csv (columns path, label, kit), FOLDER/languages.csv (path, label, package) and FOLDER/czech.csv
(path, text, level), which name files below FOLDER. The packages are downloaded with apt-get, which does not install
them; their SHA-256 sums are checked.

drums: 416 drum sounds of 10 kits (hydrogen-drumkits). languages: five spoken languages in three packages, each
by other speakers: letters and syllables (klettres-data), words (ktuberling-data), and prompts of telephone systems
(asterisk-core-sounds). At most 100 recordings of each language and package, drawn once. czech: all 1,450
utterances of 1 to 5 s with their subtitles, mostly by two speakers (the game Fish Fillets: fillets-ng-data).
"""

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from suite_data import DRUMKITS, DRUMS, FILLETS_CS, KLETTRES, KTUBERLING, Package

_PROMPTS = {
    "en": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    "es": "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    "fr": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
    "it": "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
    "ru": "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
}
PROMPTS = {
    language: Package(f"asterisk-core-sounds-{language}-wav", "1.6.1-1", sha256)
    for language, sha256 in _PROMPTS.items()
}
_FILLETS = Package("fillets-ng-data", "1.0.1-1.1", "25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84")
_SUBTITLE = re.compile(r'dialogId\("([^"]+)",\s*"[^"]*",\s*"(?:[^"\\]|\\.)*"\)\s*dialogStr\("((?:[^"\\]|\\.)*)"\)')
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 5.0
_MOST_PER_LANGUAGE_AND_PACKAGE = 100
_AUDIO = (".wav", ".ogg", ".opus", ".flac", ".aiff")

Row = tuple[Path, str, str]


def drums(folder: Path) -> Iterator[Row]:
    """Which drum it is, by its file's name; kits are groups."""
    root = DRUMKITS.unpack(folder) / "usr/share/hydrogen/data/drumkits"
    for file in _list(root):
        label = next((drum for drum, names in DRUMS.items() if re.search(names, file.stem.lower())), None)
        if label is not None:
            yield file, label, file.parent.name


def languages(folder: Path) -> Iterator[Row]:
    """Which language is spoken; packages are groups."""
    letters = KLETTRES.unpack(folder) / "usr/share/klettres"
    words = KTUBERLING.unpack(folder) / "usr/share/ktuberling/sounds"
    for language, package in PROMPTS.items():
        prompts = package.unpack(folder) / "usr/share/asterisk/sounds"
        sources = {
            "letters": _list(letters / language),
            "words": _list(words / language),
            "prompts": [file for file in _list(prompts) if file.parent.name != "silence"],
        }
        for name, files in sources.items():
            chosen = np.random.default_rng(0).permutation(len(files))[:_MOST_PER_LANGUAGE_AND_PACKAGE]
            yield from ((files[number], language, name) for number in sorted(chosen))


def czech(folder: Path) -> Iterator[Row]:
    """What is said, by the subtitles of the game; its levels are groups."""
    scripts = _FILLETS.unpack(folder) / "usr/share/games/fillets-ng/script"
    sounds = FILLETS_CS.unpack(folder) / "usr/share/games/fillets-ng/sound"
    found = []
    for script in sorted(scripts.glob("*/dialogs_cs.lua")):
        for name, text in _SUBTITLE.findall(script.read_text(encoding="utf-8")):
            file = sounds / script.parent.name / "cs" / f"{name}.ogg"
            if not any(letter.isalpha() for letter in text) or not file.is_file():
                continue
            if _SHORTEST_SECONDS <= soundfile.info(file).duration <= _LONGEST_SECONDS:
                found.append((file, text.replace('\\"', '"'), script.parent.name))
    yield from sorted(found, key=lambda row: row[0])


TABLES = {
    "drums": (drums, ("path", "label", "kit")),
    "languages": (languages, ("path", "label", "package")),
    "czech": (czech, ("path", "text", "level")),
}


def _list(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in _AUDIO and file.is_file())


def main(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        read, columns = TABLES[name]
        rows = list(read(folder))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows((path.relative_to(folder), *rest) for path, *rest in rows)
        counts = ", ".join(f"{len({row[place] for row in rows}):,} of {columns[place]}" for place in (1, 2))
        print(f"{folder / f'{name}.csv'}: {len(rows):,} recordings, {counts}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=TABLES, help="make one of the tables")
    arguments = parser.parse_args()
    main(arguments.folder, [arguments.only] if arguments.only else list(TABLES))
