"""Decoders from bytes to images, one module per format."""
