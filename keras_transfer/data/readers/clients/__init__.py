"""Readers without TensorFlow and this package: programs that are copied into exported models as inputs.py.

Each has ``from_argument``, from an argument of the command line to one input, and ``load``, which takes the model's
folder and its description and returns a function from an input to the model's tensors, without a batch dimension.
"""
