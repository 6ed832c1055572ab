"""A PNG or JPEG file as the body of a request gives what its pixels give."""

import base64
import io

import numpy as np
import pytest
from PIL import Image


def file(image, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(image[..., 0]).save(content, kind, **options)
    return content.getvalue()


def typed(kind):
    return {"headers": {"Content-Type": kind}}


@pytest.mark.parametrize(
    ("query", "signature", "output"),
    [
        ("", "log_prob", "log_prob"),
        ("?signature_name=log_prob", "log_prob", "log_prob"),
        ("?signature_name=encode_encoded", "encode", "latents"),
    ],
)
def test_a_file_gives_what_its_pixels_give(query, signature, output, post, truth, images):
    for kind in ("PNG", "JPEG"):
        body = file(images[0], kind)
        pixels = np.asarray(Image.open(io.BytesIO(body)))[None, ..., None]
        expected = truth[signature](images=pixels)[output].numpy()
        status, answer = post(body, ":predict" + query, **typed(f"image/{kind.lower()}"))
        assert status == 200, answer
        np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5, atol=1e-5)
        b64 = {"b64": base64.b64encode(body).decode()}
        status, same = post({"signature_name": f"{signature}_encoded", "instances": [b64]})
        assert (status, same) == (200, answer)


def test_other_bodies_are_refused(post, images):
    png = file(images[0])
    size = "must be 8 pixels high and 8 wide"
    for body, path, kind, message in [
        (png, "", "image/gif", "Content-Type image/gif is not supported: use image/png or image/j"),
        (png, "", "image/jpeg", "is not a file of Content-Type image/jpeg"),
        (b"", "", "image/png", "is not a file of Content-Type image/png"),
        (png, "", "application/json", "is an image: send it with Content-Type: image/png"),
        (png[:50], "", "image/png", "Invalid PNG data"),
        (png[:20], "", "image/png", "complete PNG or JPEG file"),
        (file(np.zeros((9, 8, 1), "uint8")), "", "image/png", size),
        (png, "?signature_name=decode", "image/png", "no signature 'decode' that takes one image"),
        (png, "?signature_name=interpolate", "image/png", "that takes one image file"),
        (png, "?signature=encode", "image/png", "takes the parameter signature_name"),
        (b"{}", "?signature_name=encode", "application/json", "in JSON it is a key"),
    ]:
        status, answer = post(body, ":predict" + path, **typed(kind))
        assert (status, message in answer["error"]) == (400, True), answer
