"""`shapes`: images are a function of their factors, factors a function of seed and index."""

import hashlib

import numpy as np
import pytest

import tfgen
from tfgen.data.sources.shapes import FACTORS, SHAPES, draw_factors, render
from tfgen.errors import InputError


@pytest.fixture(scope="module")
def factors():
    return draw_factors(0, range(2000))


def one(**factors):
    drawn = {"shape": 0, "hue": 0.0, "size": 0.2, "x": 0.5, "y": 0.5, "background": 0.0} | factors
    return render({key: np.array([value]) for key, value in drawn.items()})[0]


def test_an_image_depends_on_seed_and_index_alone():
    few = tfgen.data.load("shapes", options={"num_images": 20, "num_test_images": 5})
    more = tfgen.data.load("shapes", options={"num_images": 300, "num_test_images": 9})
    np.testing.assert_array_equal(more.images("train")[:20], few.images("train"))
    np.testing.assert_array_equal(more.images("test")[:5], few.images("test"))
    other = tfgen.data.load("shapes", options={"num_images": 20, "num_test_images": 5, "seed": 1})
    assert (other.images("train") != few.images("train")).any(axis=(1, 2, 3)).all()
    assert set(few.splits) == {"train", "test"}


def test_images_can_be_drawn_again_from_their_labels():
    shapes = tfgen.data.load("shapes", options={"num_images": 40, "num_test_images": 5, "size": 16})
    assert shapes.image_shape == (16, 16, 3)
    labels = shapes.labels("test")
    assert set(labels) == set(FACTORS)
    assert shapes.label_names == {"shape": SHAPES}
    assert shapes.num_classes is None
    np.testing.assert_array_equal(render(labels, 16), shapes.images("test"))


def test_the_same_bytes_everywhere(factors):
    images = render({key: values[:100] for key, values in factors.items()})
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "f48d410119f8cade5e094114fd1a5e904d017d8c96f1da04fa00dbfd259930da"


def test_factors_are_independent_and_cover_their_ranges(factors):
    table = np.stack([factors[key] for key in FACTORS])
    off_diagonal = np.corrcoef(table) - np.eye(len(FACTORS))
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(table.shape[1])
    assert np.bincount(factors["shape"], minlength=len(SHAPES)).min() > 300
    assert factors["hue"].min() < 0.01
    assert factors["hue"].max() > 0.99


def test_the_largest_shape_never_touches_the_border(factors):
    extreme = {key: values.copy() for key, values in factors.items()}
    extreme["size"][:] = factors["size"].max()
    images = render(extreme)
    ground = images[:, 0, 0]
    for edge in (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]):
        np.testing.assert_array_equal(edge, np.broadcast_to(ground[:, None], edge.shape))


@pytest.mark.parametrize(
    ("hue", "colour"), [(0.0, [255, 0, 0]), (1 / 3, [0, 255, 0]), (2 / 3, [0, 0, 255])]
)
def test_hue(hue, colour):
    assert one(hue=hue)[16, 16].tolist() == colour


def test_position_is_the_centre_of_mass():
    for number, shape in enumerate(SHAPES):
        mass = one(shape=number, x=0.4, y=0.6)[..., 0].astype(float)
        down, across = (np.mgrid[:32, :32] + 0.5) / 32
        centre = (mass * across).sum() / mass.sum(), (mass * down).sum() / mass.sum()
        np.testing.assert_allclose(centre, (0.4, 0.6), atol=0.01, err_msg=shape)


def test_areas_are_those_of_the_shapes():
    areas = {
        "circle": np.pi,
        "square": 2,
        "triangle": 3 * np.sqrt(3) / 4,
        "cross": 2,
        "ring": np.pi * 0.75,
    }
    for number, shape in enumerate(SHAPES):
        covered = one(shape=number)[..., 0].sum() / 255 / (0.2 * 32) ** 2
        assert covered == pytest.approx(areas[shape], rel=0.05), shape


@pytest.mark.parametrize("option", [{"num_images": 0}, {"seed": -1}, {"size": 2.5}, {"size": "32"}])
def test_impossible_options(option):
    with pytest.raises(InputError, match=next(iter(option))):
        tfgen.data.load("shapes", options=option)
