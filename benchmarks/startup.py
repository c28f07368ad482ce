"""Seconds from a command to its answer: `keras-transfer list`, against Python importing Keras alone."""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    commands = {
        "keras-transfer list": [sys.executable, "-m", "keras_transfer.cli", "list"],
        "python -c 'import keras'": [sys.executable, "-c", "import keras"],
    }
    for command in commands.values():
        seconds(command)
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(f"{name:<26} median {statistics.median(values):.3f} s  (min {min(values):.3f}, max {max(values):.3f})")
    ratio = statistics.median(times["keras-transfer list"]) / statistics.median(times["python -c 'import keras'"])
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    main(**vars(parser.parse_args()))
