"""Models as devices can run them: TFLite has no networks that compute in bfloat16."""

from tfgen.export.source import rebuilt


def in_float32(model):
    """The model with the same weights and networks that compute in float32.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`; itself where its networks do so already.

    Example:

    >>> import tfgen
    >>> from tfgen.export import on_device
    >>> options = {"latent_dim": 2, "hidden_units": [4], "network_dtype": "bfloat16"}
    >>> model = on_device.in_float32(tfgen.models.VAE((4, 4, 1), **options))
    >>> model.get_config()["network_dtype"] is None
    True
    """
    if _dtype(model.get_config()) == "float32":
        return model
    return rebuilt(model, network_dtype=None)


def protocol(model):
    """In which numbers the networks computed, and do so on a device, in words."""
    dtype = _dtype(model.get_config())
    return "float32" if dtype == "float32" else f"float32, in place of {dtype}"


def _dtype(config):
    return config["network_dtype"] or "float32"
