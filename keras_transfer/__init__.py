"""Fine-tune pretrained networks with Keras: from a few hundred images, texts or recordings to a model that is served.

Public names, which ``__init__.pyi`` lists, are bound when they are first used: importing this package imports neither
TensorFlow nor Keras.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
