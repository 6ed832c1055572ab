"""Names of layers in weight files, declared rather than taken from attributes."""

from __future__ import annotations

from typing import Any

import keras


class LayerOfLayers(keras.layers.Layer):
    """A Keras layer that holds other layers, saved under declared names.

    Keras names the weights in a `.weights.h5` file after the attributes that `dir` lists, private
    ones included: to rename an attribute would make older files unreadable. Here the names come
    from `saved_layers` alone, so a subclass must not hold these layers in other attributes too.

    Args:
        saved_layers: a dict from a name in weight files to a layer, or to a list of layers, which
            weight files number by class.
        name: name of the layer.
    """

    def __init__(self, saved_layers: dict[str, Any], *, name: str) -> None:
        super().__init__(name=name)
        self._saved_layers = saved_layers
        self.built = True

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._saved_layers} - {"_saved_layers"})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_saved_layers"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None
