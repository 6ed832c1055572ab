"""Requests whose body is an image file, which TF Serving does not have."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgen.export.serving.proto_tensors import Arrays
from tfgen.export.serving.servable import DEFAULT, Servable
from tfgen.export.serving.statuses import invalid

FIRST_BYTES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
SIGNATURE_NAME = "signature_name"


def is_image(content_type: str, query: Mapping[str, str], body: bytes) -> bool:
    """Whether the body of a Predict request is an image file, by its Content-Type.

    Raises:
        ServingError: INVALID_ARGUMENT: another type of image, a body of another type than its
            Content-Type, an unknown parameter in the URL.
    """
    actual = next((kind for kind, first in FIRST_BYTES.items() if body.startswith(first)), None)
    if not content_type.startswith("image/"):
        if actual is not None:
            raise invalid(f"The body is an image: send it with Content-Type: {actual}")
        if SIGNATURE_NAME in query:
            raise invalid("signature_name in the URL is for images; in JSON it is a key")
        return False
    if content_type not in FIRST_BYTES:
        raise invalid(
            f"Content-Type {content_type} is not supported: use {' or '.join(FIRST_BYTES)}"
        )
    if actual != content_type:
        raise invalid(f"The body is not a file of Content-Type {content_type}")
    if not set(query) <= {SIGNATURE_NAME}:
        raise invalid(f"The URL of an image takes the parameter signature_name, got {list(query)}")
    return True


def to_arrays(servable: Servable, name: str, body: bytes) -> tuple[str, Arrays]:
    """The signature that takes one image file, and its input.

    Args:
        servable: the model.
        name: that of a signature whose only input is a string, or of one that has such a twin named
            `*_encoded`; empty for the default one.
        body: the content of the file.

    Raises:
        ServingError: INVALID_ARGUMENT: there is no such signature.
    """
    for candidate in (name or DEFAULT, f"{name or 'log_prob'}_encoded"):
        if candidate in servable.signatures:
            inputs = servable.signatures[candidate].inputs
            if [info.dtype for info in inputs.values()] == [tf.string.as_datatype_enum]:
                return candidate, {next(iter(inputs)): np.array([body], object)}
    raise invalid(f"There is no signature {name or DEFAULT!r} that takes one image file")
