"""PNG and JPEG files as images, inside a graph."""

from __future__ import annotations

import tensorflow as tf

_PNG_START = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR"  # up to the size of the image
_PNG_HEADER = 33  # bytes up to the end of the chunk with size, bit depth and colour type
_PIXELS_AT_A_TIME = 2**20  # of images that are decoded in parallel
_LUMA = (19595, 38470, 7471)  # of red, green and blue, times 2**16


def possible(image_shape: tuple[int, ...]) -> bool:
    """Whether files can hold images of this shape: grey or RGB.

    >>> from tfgen.export import encoded_images
    >>> encoded_images.possible((8, 8, 1)), encoded_images.possible((8, 8, 2))
    (True, False)
    """
    return image_shape[-1] in (1, 3)


def decode(files: tf.Tensor, image_shape: tuple[int, ...]) -> tf.Tensor:
    """The images in files, as `tfgen score` reads them.

    Transparent pixels show a white background, 16-bit grey becomes 8-bit by dividing by 257, and
    colour becomes grey with the luma weights of ITU-R 601. Of an animated PNG file the first
    picture is used. In contrast to `tfgen score`, a file of another size is refused, before it is
    decoded: images are not resized, because the resizing method would determine their likelihood.
    The orientation in EXIF data is ignored.

    Shapes: string `[N] -> uint8 [N, H, W, C]`.

    Args:
        files: the contents of PNG or JPEG files.
        image_shape: (H, W, C), C = 1 or 3.

    Source: `tfgen.data.formats.pillow_images`; `AlphaComposite.c` and `Convert.c` of Pillow.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.export import encoded_images
    >>> file = tf.io.encode_png(tf.zeros([8, 8, 1], tf.uint8))
    >>> encoded_images.decode([file, file], (8, 8, 1)).shape
    TensorShape([2, 8, 8, 1])
    """
    height, width, channels = image_shape

    def one(file):
        # Another chunk before IHDR, which decoders skip, could hide the size of the image.
        is_png = tf.strings.substr(file, 0, len(_PNG_START)) == _PNG_START
        is_jpeg = tf.strings.substr(file, 0, 3) == b"\xff\xd8\xff"
        complete = is_jpeg | (is_png & (tf.strings.length(file) > _PNG_HEADER))
        known = _assertion(complete, "an image must be a complete PNG or JPEG file")
        with tf.control_dependencies(known):
            file = tf.identity(file)
        size = tf.cond(
            is_png,
            lambda: tf.reverse(_integers(file, 16, 8, tf.int32), [0]),
            lambda: tf.image.extract_jpeg_shape(file)[:2],
        )
        message = f"an image must be {height} pixels high and {width} wide, this one is"
        fits = _assertion(tf.reduce_all(size == [height, width]), message, size)
        with tf.control_dependencies(fits):
            file = tf.identity(file)
        image = tf.cond(is_png, lambda: _png(file), lambda: _jpeg(file))
        if channels == 1:
            image = (tf.reduce_sum(image * _LUMA, -1, keepdims=True) + 2**15) // 2**16
        return tf.cast(tf.reshape(image, image_shape), tf.uint8)

    return tf.map_fn(
        one,
        tf.convert_to_tensor(files),
        fn_output_signature=tf.TensorSpec(image_shape, tf.uint8),
        parallel_iterations=max(1, min(10, _PIXELS_AT_A_TIME // (height * width))),
    )


def _png(file):
    """The file as int32 `[H, W, 3]`, over a white background."""
    depth_and_kind = tf.cast(_integers(file, 24, 2, tf.uint8), tf.int32)
    depth, kind = depth_and_kind[0], depth_and_kind[1]
    image = tf.cast(tf.io.decode_png(file, channels=4, dtype=tf.uint16), tf.int32)
    is_fine_colour = (depth == 16) & (kind != 0)  # of which Pillow takes the upper bits
    image = tf.where(is_fine_colour, image // 256, (image + 128) // 257)
    colours, alpha = image[..., :3], image[..., 3:]
    # Where a file has no alpha, TensorFlow fills in the highest value of the file's own depth.
    filled = tf.reduce_all(alpha == tf.bitwise.left_shift(1, depth) - 1)
    alpha = tf.where(filled, 255, alpha)
    blend = (colours * alpha + 255 * (255 - alpha) + 128) * 128
    return ((blend // 256 + blend) // 256) // 128


def _jpeg(file):
    """The file as int32 `[H, W, 3]`."""
    image = tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.cast(image, tf.int32)


def _integers(file, start, count, dtype):
    """Big-endian integers in a file."""
    return tf.io.decode_raw(tf.strings.substr(file, start, count), dtype, little_endian=False)


def _assertion(condition, *message):
    operation = tf.debugging.Assert(condition, message)
    return [] if operation is None else [operation]  # None in eager mode
