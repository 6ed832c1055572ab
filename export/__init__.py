"""Export: SavedModels for TF Serving, TFLite files for devices."""

from tfgen.export.cards import read as card
from tfgen.export.client import Client
from tfgen.export.to_saved_model import saved_model
from tfgen.export.to_tflite import tflite

__all__ = ["Client", "card", "saved_model", "tflite"]
