"""``python -m keras_transfer.cli``."""

from keras_transfer.cli import main

if __name__ == "__main__":
    main()
