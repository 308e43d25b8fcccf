"""Deep Image Prior: a network with random weights, trained on one damaged picture alone, repairs it."""

import lazy_loader

# The names in __init__.pyi, each imported at first use: the command answers --help without PyTorch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
