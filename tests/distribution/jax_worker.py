"""A process of runs of ``pebble``, one after the other: RECIPE RUN [KEY=VALUE]... [-- RUN [KEY=VALUE]...]...

Not a test: tests start it. RUN is followed by --resume if it is to be resumed.
"""

import itertools
import sys

from conftest import add_pebble

from keras_transfer import Recipe, TransferError


def main(recipe: str, *arguments: str) -> None:
    add_pebble()
    for divides, group in itertools.groupby(arguments, "--".__eq__):
        if not divides:
            folder, *rest = group
            overrides = [argument for argument in rest if argument != "--resume"]
            Recipe.from_file(recipe, overrides).fit(folder, resume="--resume" in rest)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except TransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
