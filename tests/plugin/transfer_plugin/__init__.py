"""One of each kind of thing that can be added to keras_transfer, without changes to it."""
