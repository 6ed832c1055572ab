"""`tfgen.checks`: the values that each check accepts, their types, and its error messages."""

import re

import numpy as np
import pytest

from tfgen import checks
from tfgen.errors import InputError


def refused(message, check, *arguments, **keywords):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check(*arguments, **keywords)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_integers_of_any_type_become_int(value):
    found = checks.integer("depth", value, 1, 3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [True, 2.0, "2", None, [2], np.float32(2), np.bool_(True)])
def test_what_is_not_an_integer(value):
    refused(f"depth must be an integer, got {value!r}", checks.integer, "depth", value)


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        (1, None, 0, "a positive integer"),
        (2, None, 1, "an integer of at least 2"),
        (0, None, -1, "an integer of at least 0"),
        (None, 5, 6, "an integer of at most 5"),
        (1, 8, 9, "an integer from 1 to 8"),
        (1, 8, 0, "an integer from 1 to 8"),
        (1, 8, 1.5, "an integer from 1 to 8"),
    ],
)
def test_integers_out_of_bounds(low, high, value, expected):
    refused(f"depth must be {expected}, got {value}", checks.integer, "depth", value, low, high)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(1), 1])
def test_numbers_of_any_type_become_float(value):
    found = checks.number("rate", value, 0, 1)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("value", [True, "1", None, [1.0], 1j])
def test_what_is_not_a_number(value):
    refused(f"rate must be a finite number, got {value!r}", checks.number, "rate", value)


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (float("nan"), {}, "finite number"),
        (float("inf"), {}, "finite number"),
        (float("inf"), {"low": 0}, "number >= 0"),
        (-0.1, {"low": 0}, "number >= 0"),
        (0, {"low": 0, "open_low": True}, "number > 0"),
        (1.1, {"low": 0, "high": 1}, "number in [0, 1]"),
        (1, {"low": 0, "high": 1, "open_high": True}, "number in [0, 1)"),
        (0, {"low": 0, "high": 1, "open_low": True}, "number in (0, 1]"),
    ],
)
def test_numbers_out_of_bounds(value, bounds, expected):
    refused(f"rate must be a {expected}, got {value}", checks.number, "rate", value, **bounds)


@pytest.mark.parametrize("value", ["affine", None])
def test_choices(value):
    assert checks.choice("coupling", value, ("affine", None)) is value


@pytest.mark.parametrize("value", ["a", 1.0, True, ["affine"], np.array([1, 2])])
def test_what_is_not_a_choice(value):
    message = f"coupling must be one of affine, 1, got {value!r}"
    refused(message, checks.choice, "coupling", value, ["affine", 1])


def test_misspelt_names_get_suggestions():
    message = "coupling must be one of affine, additive, got 'Afine'; did you mean affine?"
    refused(message, checks.choice, "coupling", "Afine", ["affine", "additive"])
    names = ["vae-digits", "vae-mnist", "glow-digits", "glow-shapes"]
    assert checks.did_you_mean("vae-digit", names) == "; did you mean vae-digits?"
    assert checks.did_you_mean("ae-nist", names) == "; did you mean vae-mnist?"
    assert checks.did_you_mean("unit_x", ["unit_a", "unit_b"]).count("unit_") == 2
    for unlike in ("x", "", None, 3):
        assert checks.did_you_mean(unlike, names) == ""


def test_lists_of_integers():
    assert checks.integers("units", (200, np.int64(100)), 1) == [200, 100]
    assert checks.integers("units", []) == []
    for value in (200, "200", None, {200}):
        message = f"units must be a list of integers such as [500], got {value!r}"
        refused(message, checks.integers, "units", value)
    message = "units[1] must be a positive integer, got 0"
    refused(message, checks.integers, "units", [200, 0], 1)


@pytest.mark.parametrize("value", [(8, 6, 1), [8, 6, 1], np.array([8, 6, 1])])
def test_image_shapes_become_tuples_of_int(value):
    found = checks.image_shape("image_shape", value)
    assert found == (8, 6, 1)
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize("value", [8, "861", None, (8, 6), (8, 6, 1, 1), (0, 6, 1), (8.0, 6, 1)])
def test_what_is_not_an_image_shape(value):
    message = f"image_shape must be (H, W, C), three positive integers, got {value!r}"
    refused(message, checks.image_shape, "image_shape", value)


def test_image_shapes_of_other_channels():
    message = "s must be (H, W, C), three positive integers with C one of 1, 3, got (8, 6, 4)"
    refused(message, checks.image_shape, "s", (8, 6, 4), channels=(1, 3))
