"""Files in a graph become the pixels that Pillow reads, and bad ones are refused undecoded."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfgen.data.formats import pillow_images
from tfgen.export import encoded_images

HEIGHT, WIDTH = 6, 5


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, kind, rows):
    """A PNG file of any depth and colour type, some of which Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files():
    generator = np.random.default_rng(0)

    def image(*channels):
        array = generator.integers(0, 256, (HEIGHT, WIDTH, *channels), dtype=np.uint8)
        return Image.fromarray(array)

    def sixteen(kind, channels):
        shape = (HEIGHT, WIDTH, channels)
        array = generator.integers(0, 2**16, shape).astype(">u2")
        return png(WIDTH, HEIGHT, 16, kind, [row.tobytes() for row in array])

    palette = image(3).quantize(8)
    return {
        "grey": saved(image()),
        "colour": saved(image(3)),
        "grey and alpha": saved(image(2)),
        "colour and alpha": saved(image(4)),
        "transparent grey": saved(image(), transparency=5),
        "palette": saved(palette),
        "transparent palette": saved(palette, transparency=3),
        "1 bit": saved(image().convert("1")),
        "animated": saved(image(3), save_all=True, append_images=[image(3)]),
        "16-bit grey": sixteen(0, 1),
        "16-bit colour": sixteen(2, 3),
        "16-bit grey and alpha": sixteen(4, 2),
        "16-bit colour and alpha": sixteen(6, 4),
        "JPEG": saved(image(3), "JPEG", quality=70),
        "grey JPEG": saved(image(), "JPEG"),
    }


@pytest.fixture(scope="module", params=[1, 3])
def decode(request):
    shape = (HEIGHT, WIDTH, request.param)
    signature = [tf.TensorSpec([None], tf.string)]
    graph = tf.function(lambda x: encoded_images.decode(x, shape), input_signature=signature)
    return lambda *files: graph(tf.constant(files)).numpy()


def test_files_of_every_kind_are_read_as_pillow_reads_them(decode):
    found = files()
    decoded = decode(*found.values())
    for (kind, file), image in zip(found.items(), decoded, strict=True):
        expected = pillow_images.pixels(file, image.shape)
        np.testing.assert_array_equal(image, expected, err_msg=kind)


def test_other_files_are_refused(decode):
    good = files()
    # A chunk of unknown type, which decoders skip, with a size that is not the image's.
    large = png(9400, 9400, 8, 0, [b"\0" * 9400] * 9400)
    size = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    hidden = large[:8] + chunk(b"aaAa", size) + large[8:]
    size = f"must be {HEIGHT} pixels high and {WIDTH} wide"
    for file, message in [
        (png(50_000, 50_000, 8, 0, []), size),  # 2.5 GB of pixels
        (saved(Image.new("L", (HEIGHT, WIDTH))), size),
        (saved(Image.new("RGB", (9, 9)), "JPEG"), size),
        (good["colour"][:70], "Invalid PNG data"),
        (good["colour"][:20], "complete PNG or JPEG file"),
        (good["JPEG"][:200], "Invalid JPEG data"),
        (saved(Image.new("L", (WIDTH, HEIGHT)), "GIF"), "PNG or JPEG file"),
        (b"", "PNG or JPEG file"),
        (hidden, "PNG or JPEG file"),  # 4 GB while it is decoded
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode(good["grey"], file)
