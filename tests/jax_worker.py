"""One process of a run of ``pebble``: RECIPE RUN [KEY=VALUE]... Not a test: tests start it."""

import sys

from conftest import add_pebble

from keras_transfer import Recipe, TransferError


def main(recipe: str, folder: str, *overrides: str) -> None:
    add_pebble()
    try:
        Recipe.from_file(recipe, overrides).fit(folder, resume="--resume" in sys.argv)
    except TransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*(argument for argument in sys.argv[1:] if argument != "--resume"))
