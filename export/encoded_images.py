"""PNG and JPEG files as images, inside a graph."""

from __future__ import annotations

import tensorflow as tf


def possible(image_shape: tuple[int, ...]) -> bool:
    """Whether files can hold images of this shape: grey or RGB.

    >>> from tfgen.export import encoded_images
    >>> encoded_images.possible((8, 8, 1)), encoded_images.possible((8, 8, 2))
    (True, False)
    """
    return image_shape[-1] in (1, 3)


def decode(files: tf.Tensor, image_shape: tuple[int, ...]) -> tf.Tensor:
    """The images in files.

    Colours are converted to grey for a grey model and grey to RGB for an RGB model; transparency is
    dropped. For a file of another size the graph fails with an error that names both sizes: images
    are not resized, because the resizing method would determine their likelihood.

    Shapes: string `[N] -> uint8 [N, H, W, C]`.

    Args:
        files: the contents of PNG or JPEG files.
        image_shape: (H, W, C), C = 1 or 3.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.export import encoded_images
    >>> file = tf.io.encode_png(tf.zeros([8, 8, 1], tf.uint8))
    >>> encoded_images.decode([file, file], (8, 8, 1)).shape
    TensorShape([2, 8, 8, 1])
    """
    height, width, channels = image_shape

    def one(file):
        image = tf.io.decode_image(file, channels=channels, expand_animations=False)
        size = tf.shape(image)[:2]
        message = f"an image must be {height} pixels high and {width} wide, this one is"
        fits = tf.debugging.Assert(tf.reduce_all(size == [height, width]), [message, size])
        with tf.control_dependencies([fits] if fits is not None else []):
            return tf.reshape(image, image_shape)

    return tf.map_fn(
        one, tf.convert_to_tensor(files), fn_output_signature=tf.TensorSpec(image_shape, tf.uint8)
    )
