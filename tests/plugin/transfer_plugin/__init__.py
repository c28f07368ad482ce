"""One of each kind of thing that can be added to keras_transfer, none of which it knows about."""
