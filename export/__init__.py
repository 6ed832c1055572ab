"""Export: SavedModels for TF Serving, TFLite files for devices.

Each name is imported when it is first used: a server of SavedModels does not import the models.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfgen.export.cards import read as card
    from tfgen.export.client import Client
    from tfgen.export.to_saved_model import saved_model
    from tfgen.export.to_tflite import tflite

_MODULES = {
    "Client": ("client", "Client"),
    "card": ("cards", "read"),
    "saved_model": ("to_saved_model", "saved_model"),
    "tflite": ("to_tflite", "tflite"),
}
__all__ = ["Client", "card", "saved_model", "tflite"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _MODULES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
