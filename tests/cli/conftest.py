"""Fixtures of the tests of commands: small models, and a folder of images."""

import numpy as np
import pytest
from PIL import Image

import tfgen


@pytest.fixture(scope="session")
def images():
    return tfgen.data.load("digits").images("test")[:5]


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The directories of two small models, by their kind."""
    folder = tmp_path_factory.mktemp("models")
    models = {
        "glow": tfgen.models.Glow((8, 8, 1), levels=1, depth=1, width=4),
        "vae": tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[8]),
    }
    for name, model in models.items():
        model.save_preset(folder / name)
    return {name: str(folder / name) for name in models}


@pytest.fixture
def folder(tmp_path, images):
    """Three images of the model's shape, one of another shape, and a file that is not an image."""
    (tmp_path / "images" / "more").mkdir(parents=True)
    for name, image in zip(["b.png", "a.png", "more/c.png"], images, strict=False):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / name)
    Image.fromarray(np.repeat(np.repeat(images[3][..., 0], 2, 0), 2, 1)).save(
        tmp_path / "images" / "large.png"
    )
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"
