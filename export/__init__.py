"""Export: SavedModels for TF Serving, TFLite files for devices.

What is here is imported when it is first used: a server of SavedModels does without the models.
"""

import importlib

_PLACES = {
    "Client": ("client", "Client"),
    "card": ("cards", "read"),
    "saved_model": ("to_saved_model", "saved_model"),
    "tflite": ("to_tflite", "tflite"),
}
__all__ = ["Client", "card", "saved_model", "tflite"]


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__():
    return sorted({*globals(), *__all__})
