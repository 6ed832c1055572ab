"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import tfgen

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
GROUND = ["checks", "errors", "files", "numerics"]
PACKAGES = sorted({*tfgen.__all__} - {"InputError"})


def modules():
    yield "tfgen"
    yield from (f"tfgen.{name}" for name in GROUND)
    for name in PACKAGES:
        package = importlib.import_module(f"tfgen.{name}")
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield module.name


def public():
    for name in PACKAGES:
        package = importlib.import_module(f"tfgen.{name}")
        for attribute in getattr(package, "__all__", []):
            value = getattr(package, attribute)
            if callable(value):
                yield pytest.param(value, id=f"{name}.{attribute}")


@pytest.mark.parametrize("name", list(modules()))
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("value", list(public()))
def test_public_names_are_documented_with_an_example(value):
    assert value.__doc__, value
    assert ">>> " in value.__doc__ or any(
        ">>> " in (getattr(member, "__doc__", None) or "") for member in vars(value).values()
    )
