"""Peak memory of a whole run on all of ELPV, against the same run on an eighth of it."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from keras_transfer.data.sources import SAMPLES

# Peak memory of the children so far can only grow: each run is measured by a process of its own.
MEASURE = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak_mib(table: Path, overrides: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "keras_transfer.cli", "run", "image/solar_cells", f"data.source={table}"]
        command = [*run, *overrides, "--out", f"{folder}/run"]
        result = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE)
    return int(result.stdout) / 1024  # KiB on Linux


def main(rounds: int, overrides: list[str]) -> None:
    source = SAMPLES["solar_cells"].load("solar_cells")
    rows = source.rows.assign(path=[str(source.root / path) for path in source.rows["path"]]).drop(columns="split")
    with tempfile.TemporaryDirectory() as folder:
        peaks: dict[str, list[float]] = {"all": [], "an eighth": []}
        for name, table in (("all", rows), ("an eighth", rows.iloc[::8])):
            file = Path(folder) / f"{name.replace(' ', '_')}.csv"
            table.to_csv(file, index=False)
            peaks[name] = [peak_mib(file, overrides) for _ in range(rounds)]
            print(
                f"{name:<10} {len(table):>5} images  peak {min(peaks[name]):.0f} to {max(peaks[name]):.0f} MiB",
                flush=True,
            )
    print(f"difference {max(peaks['all']) - min(peaks['an eighth']):.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("overrides", nargs="*", default=["training.epochs=1"], help="KEY=VALUE for both runs")
    main(**vars(parser.parse_args()))
