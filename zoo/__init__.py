"""Pretrained models, one directory each, and models in run directories.

Only `fetch` uses the network. TensorFlow is imported when a model is loaded, not before.
"""

from tfgen.zoo.pretrained import card, directory, fetch, load, versions
from tfgen.zoo.pretrained import names as list

__all__ = ["card", "directory", "fetch", "list", "load", "versions"]
