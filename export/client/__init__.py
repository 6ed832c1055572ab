"""A client of TF Serving and of `tfgen serve`."""

from tfgen.export.client.client import Client

__all__ = ["Client"]
