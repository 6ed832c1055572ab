"""Export: SavedModels for TF Serving, TFLite files for devices."""

from tfgen.export.to_saved_model import saved_model
from tfgen.export.to_tflite import tflite

__all__ = ["saved_model", "tflite"]
