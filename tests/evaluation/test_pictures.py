"""The manifold's quantiles and the rows of temperatures."""

import numpy as np
import pytest
from scipy import stats

import tfgen
from tfgen.errors import InputError
from tfgen.evaluation import pictures


class Recorder:
    """Decodes each latent to a grey level that identifies it."""

    latent_dim = 2

    def decode(self, latents):
        self.latents = np.asarray(latents)
        return np.zeros((len(latents), 4, 4, 1), "uint8")


def test_each_image_of_the_manifold_stands_for_the_same_probability():
    recorder = Recorder()
    pictures.manifold(recorder, side=5)
    cumulative = stats.norm.cdf(recorder.latents.astype("float64")).reshape(5, 5, 2)
    centers = (np.arange(5) + 0.5) / 5
    np.testing.assert_allclose(cumulative[..., 0], np.tile(centers, (5, 1)), atol=1e-6)
    np.testing.assert_allclose(cumulative[..., 1], np.tile(centers[:, None], (1, 5)), atol=1e-6)


def test_a_manifold_of_other_latents_is_refused():
    model = tfgen.models.VAE((8, 8, 1), latent_dim=3, hidden_units=[8])
    with pytest.raises(InputError, match="2 latents, got 3"):
        pictures.manifold(model)


def test_rows_are_temperatures_of_the_same_noise():
    model = tfgen.zoo.load("vae-digits")
    picture = np.asarray(pictures.temperatures(model, values=(0.0, 1.0), columns=4))
    zoom, cell = 14, 9 * 14  # 8 pixels and a gap of one, 14 times enlarged

    def shown(row, column):
        top, left = row * cell + zoom, column * cell + zoom
        return picture[top : top + 8 * zoom : zoom, left : left + 8 * zoom : zoom]

    expected = {0: model.sample(4, temperature=0.0, seed=0), 1: model.sample(4, seed=0)}
    for row, images in expected.items():
        for column, image in enumerate(images.numpy()[..., 0]):
            np.testing.assert_array_equal(shown(row, column), image)
    np.testing.assert_array_equal(shown(0, 0), shown(0, 3))


def test_a_grid_keeps_the_order_and_the_pixels():
    images = np.arange(6, dtype="uint8").reshape(6, 1, 1, 1)
    picture = np.asarray(pictures.grid(images, columns=3))
    zoom = picture.shape[1] // 7
    centres = picture[zoom + zoom // 2 :: 2 * zoom, zoom + zoom // 2 :: 2 * zoom]
    np.testing.assert_array_equal(centres, [[0, 1, 2], [3, 4, 5]])
