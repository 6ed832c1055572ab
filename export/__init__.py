"""Export: SavedModels for TF Serving, TFLite files for devices.

Names are imported when they are first used: a server of SavedModels does not import the models.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["deploy", "serving", "signatures"],
    submod_attrs={
        "cards": ["card"],
        "client": ["Client"],
        "to_saved_model": ["saved_model"],
        "to_tflite": ["tflite"],
    },
)
