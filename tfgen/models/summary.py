"""The parts of a model with their shapes and numbers of weights: summaries and plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError

Shape = tuple["int | None", ...]


class Row(keras.layers.Layer):
    """A part of a model as one row of its summary: a Keras layer that computes nothing.

    Args:
        name: name of the part.
        output_shapes: the shape of its output with the batch axis, or those of several outputs; the
            first one is the input of the next part.
        layers: the Keras layers that hold its weights.
        rows: the parts that it consists of, which `expand_nested=True` shows.
    """

    def __init__(
        self,
        name: str,
        output_shapes: Shape | tuple[Shape, ...],
        layers: Iterable[keras.Layer] = (),
        rows: Iterable[keras.Layer] = (),
    ) -> None:
        held = list(layers)
        trainable = any(layer.trainable for layer in held) if held else True
        super().__init__(name=name, trainable=trainable)
        self.output_shapes = output_shapes
        self._held = held
        self.layers = list(rows)  # Keras' name for the nested layers

    def build(self, input_shape: Shape) -> None:
        """Nothing: the weights exist."""

    def compute_output_shape(self, input_shape: Shape) -> Shape | tuple[Shape, ...]:
        return self.output_shapes

    def call(self, inputs: Any) -> Any:
        raise InputError(
            f"{self.name} describes a part of a model and computes nothing: call the model itself"
        )


def row(kind: str, *arguments: Any, **options: Any) -> Row:
    """A `Row` whose class has the name that summaries show."""
    return type(kind, (Row,), {})(*arguments, **options)


def row_of(
    bijector: FlowBijector,
    name: str | None = None,
    output_shapes: Shape | tuple[Shape, ...] | None = None,
) -> Row:
    """The row of a bijector, in the direction from data to latents."""
    nested: list[keras.Layer] = [row_of(inner) for inner in bijector.inner_bijectors]
    nested += [layer for layer in bijector._own_layers if isinstance(layer, keras.Model)]
    found = row(
        type(bijector).__name__,
        name or bijector.name,
        output_shapes or (None, *bijector.latent_shape),
        layers=bijector.layers,
        rows=nested,
    )
    found.build((None, *bijector.data_shape))
    return found


class Summarized(keras.Model):
    """The methods `summary` and `outline` of a model, which defines `_rows`."""

    image_shape: tuple[int, ...]

    def _rows(self) -> list[Row]:
        """The parts in the order from an image to its log-probability."""
        raise NotImplementedError

    def outline(self) -> keras.Model:
        """The parts of the model as a functional Keras model, to look at and to plot.

        `keras.utils.plot_model(model.outline(), show_shapes=True)` draws it; this needs the extra
        `plot`, and Graphviz. The outline has the model's weights, but cannot be called on data.

        Example:

        >>> import tfgen
        >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
        >>> for part in model.outline().layers:
        ...     print(part.name, type(part).__name__)
        images InputLayer
        encoder Sequential
        posterior GaussianPosterior
        prior NormalPrior
        decoder Sequential
        likelihood Bernoulli
        """
        value = images = keras.Input(self.image_shape, dtype="uint8", name="images")
        for part in self._rows():
            outputs = part(value)
            value = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
        return keras.Model(images, value, name=self.name)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print the parts of the model in the order from an image to its log-probability.

        Args:
            line_length, positions, print_fn, show_trainable, layer_range: as for
                `keras.Model.summary`.
            expand_nested: whether to show what the parts consist of.
        """
        outline = self.outline()
        outline.compiled = self.compiled
        if self.compiled:
            outline.optimizer = self.optimizer
        outline.summary(
            line_length=line_length,
            positions=positions,
            print_fn=print_fn,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
            layer_range=layer_range,
        )
