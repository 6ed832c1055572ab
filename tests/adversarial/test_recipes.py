"""Recipes that are malformed, huge or nested: one short line, within seconds."""

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgen import checks
from tfgen.errors import InputError
from tfgen.training import recipe, recipe_yaml

VALID = {
    "data": {"source": "digits"},
    "model": {"class": "VAE", "latent_dim": 2},
    "training": {"epochs": 1},
}
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)
)
CORPUS = {
    "nested lists": "[" * 1500 + "]" * 1500,
    "nested lists that never end": "[" * 60_000,
    "nested mappings": "{a: " * 10_000,
    "an alias that contains itself": "a: &a [*a]",
    "aliases of aliases": LAUGHS,
    "an integer of 5,000 digits": "training: {seed: " + "9" * 5000 + "}",
    "an integer of 4,000 digits": "training: {seed: " + "9" * 4000 + "}",
    "a list of 20,000 entries": "model: {hidden_units: [" + "1," * 20_000 + "]}",
    "a long key": "k" * 900 + ": 1",
    "a long string": "a: " + "x" * 70_000,
    "a date": "name: 2001-01-01",
    "no date": "name: 2001-99-99",
    "a set": "a: !!set {a, b}",
    "bytes": "a: !!binary gIGC",
    "an object": "a: !!python/object/apply:os.getcwd []",
    "an integer as a key": "1: 2",
    "a list as a key": "[1]: 2",
    "two documents": "---\na: 1\n---\nb: 1",
    "a key twice": "a: 1\na: 2",
    "merged keys": "a: &a {b: 1}\nc:\n  <<: *a",
    "a null character": "a: \x00",
    "nothing": "",
}


@pytest.mark.parametrize("case", CORPUS)
def test_the_corpus_of_failures(case, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(CORPUS[case])
    start = time.monotonic()
    with pytest.raises(InputError) as error:
        recipe.load(file)
    assert time.monotonic() - start < 10
    assert "bad.yaml" in str(error.value)
    assert len(str(error.value)) < 800
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["9" * 5000, "[" + "1," * 1000 + "]", "!!binary gIGC"])
def test_settings_are_no_way_around(value):
    with pytest.raises(InputError, match="--set latent_dim=") as error:
        recipe.load("vae-digits", [f"latent_dim={value}"])
    assert len(str(error.value)) < 500


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="there is no recipe file"):
        recipe.load(tmp_path / "a.yaml")


PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
TREES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True, max_examples=30, database=None)
@given(section=st.sampled_from(sorted(VALID)), key=st.text(max_size=8), value=TREES)
def test_any_value_anywhere_is_accepted_or_refused_with_a_line(section, key, value):
    content = {**VALID, section: {**VALID[section], key: value}}
    refused = ""
    try:
        recipe._validate({**content, "name": "x"}, "x.yaml")
    except InputError as error:
        refused = str(error)
    assert len(refused) < 2000


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(text=st.text(alphabet="[]{}:,-&*!|>\"'#%@ \na1.e~?<", max_size=60))
def test_any_text_is_a_value_or_refused(text):
    value, refused = None, "x.yaml"
    try:
        value = recipe_yaml.parse(text, "x.yaml")
    except InputError as error:
        refused = str(error)
    assert refused.startswith("x.yaml")
    assert len(refused) < 800
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(value=TREES | st.integers(-(10**5000), 10**5000))
def test_values_in_messages_are_short(value):
    assert len(checks.shown(value)) <= 330


def test_short_values_in_messages_are_whole():
    for value in (1, -2.5, "vae", None, True, [1, 2, 3], (8, 8, 1), {"a": [1]}):
        assert checks.shown(value) == repr(value)
