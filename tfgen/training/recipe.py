"""Recipes: everything that decides a training, in one readable file.

This module does not import TensorFlow unless it must name the arguments of a model.
"""

import difflib
import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML, YAMLError

import tfgen
from tfgen.errors import InputError


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Data(_Section):
    """Which images: see `tfgen.data.load`."""

    source: str
    image_shape: tuple[int, int, int] | None = None
    options: dict[str, Any] = {}
    validation: float = pydantic.Field(0.1, ge=0, lt=1)


class Model(_Section):
    """A class of `tfgen.models` and its arguments."""

    model_config = pydantic.ConfigDict(extra="allow", populate_by_name=True)
    class_name: str = pydantic.Field(alias="class")


class Optimizer(_Section):
    """A class of `tfgen.optimizers` and its arguments."""

    model_config = pydantic.ConfigDict(extra="allow", populate_by_name=True)
    class_name: str = pydantic.Field("Adam", alias="class")
    learning_rate: float = pydantic.Field(1e-3, gt=0)


class Training(_Section):
    """How long and how: epochs, images a step over all replicas, the seed of everything random."""

    epochs: int = pydantic.Field(ge=1)
    batch_size: int = pydantic.Field(64, ge=1)
    seed: int = pydantic.Field(0, ge=0, lt=2**31)


class Recipe(_Section):
    """Everything that decides a training.

    Args:
        name: of the recipe, from its file.
        summary: one line.
        data: which images.
        model: a class of `tfgen.models` and its arguments.
        optimizer: a class of `tfgen.optimizers` and its arguments.
        training: epochs, batch size, seed.

    Example:

    >>> from tfgen.training import recipe
    >>> chosen = recipe.load("vae-digits", ["training.epochs=3", "latent_dim=2"])
    >>> chosen.training.epochs, chosen.model.latent_dim
    (3, 2)
    """

    name: str
    summary: str = ""
    data: Data
    model: Model
    optimizer: Optimizer = Optimizer()
    training: Training

    def to_dict(self):
        """The recipe as it would stand in a file."""
        return self.model_dump(mode="json", by_alias=True)


def names():
    """The recipes that come with tfgen.

    >>> from tfgen.training import recipe
    >>> "vae-digits" in recipe.names()
    True
    """
    folder = resources.files("tfgen.training") / "recipes"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir())


def load(name_or_file, settings=(), values=None):
    """A recipe by its name or from a YAML file, with some of its values replaced.

    Args:
        name_or_file: one of `names()`, or the path of a `.yaml` file.
        settings: strings "key=value"; the key is dotted, such as "optimizer.learning_rate", or any
            ending of it that names one key only; the value is YAML.
        values: a dict from such keys to values.

    Raises:
        InputError: an unknown recipe or key (with the nearest names), a value of the wrong type or
            range, a file that is not a recipe.
    """
    content = _read(str(name_or_file))
    content["name"] = Path(name_or_file).stem
    source = str(name_or_file)
    recipe = _validate(content, source)
    for setting in settings:
        recipe = _with_value(recipe, *_parse(setting), f"--set {setting}")
    for key, value in (values or {}).items():
        recipe = _with_value(recipe, key, value, key)
    return recipe


def build(package, section, *arguments, **options):
    """An instance of the class that a section of a recipe names, with the section's arguments.

    Args:
        package: `tfgen.models` or `tfgen.optimizers`.
        section: of the recipe.
        arguments, options: of the class, besides those of the section.

    Raises:
        InputError: an unknown class or argument, and whatever the class refuses.
    """
    cls = _class(package, section.class_name)
    chosen = section.model_dump(exclude={"class_name"})
    known = _argument_names(cls)
    for key in chosen:
        if key not in known:
            raise InputError(
                f"{section.class_name} has no argument {key!r}; {_nearest(key, known)}"
            )
    try:
        return cls(*arguments, **chosen, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{section.class_name} refuses its arguments: {reason}") from error


def _read(name_or_file):
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"no recipe file {path}")
        text = _text(path)
    elif name_or_file in names():
        folder = resources.files("tfgen.training") / "recipes"
        text = (folder / f"{name_or_file}.yaml").read_text("utf-8")
    else:
        raise InputError(
            f"no recipe {name_or_file!r}; {_nearest(name_or_file, names())}; "
            "or give the path of a .yaml file"
        )
    try:
        content = YAML(typ="safe").load(text)
    except YAMLError as error:
        line = " ".join(str(error).split())
        raise InputError(f"{name_or_file} is not YAML: {line}") from None
    if not isinstance(content, dict):
        raise InputError(f"{name_or_file} is not a recipe: it must be a mapping of sections")
    return content


def _validate(content, source):
    try:
        return Recipe.model_validate(content)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {_first_problem(error)}") from None


def _first_problem(error):
    unknown_keys_first = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    problem = unknown_keys_first[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"no key {key!r}; {_nearest(key, _schema_keys())}"
    if problem["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}"


def _text(path):
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a recipe: it is not UTF-8 text") from None


def _parse(setting):
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set {setting}: expected key=value")
    try:
        return key, YAML(typ="safe").load(text)
    except YAMLError:
        raise InputError(f"--set {setting}: {text!r} is not a YAML value") from None


def _with_value(recipe, key, value, source):
    content = recipe.to_dict()
    *sections, last = _resolve(key, recipe).split(".")
    target = content
    for section in sections:
        target = target[section]
    target[last] = value
    return _validate(content, source)


def _resolve(key, recipe):
    """The full dotted key that `key` stands for."""
    written = [k for k in _leaves(recipe.to_dict()) if k != "name"]
    found = _ending_in(key, written)
    if not found and key.startswith("data.options.") and key.count(".") == 2:
        found = [key]
    if not found:  # An argument that the recipe leaves at its default: ask the classes.
        everything = written + [
            f"{section}.{argument}"
            for section, package in (("model", tfgen.models), ("optimizer", tfgen.optimizers))
            for argument in _argument_names(_class(package, getattr(recipe, section).class_name))
        ]
        found = _ending_in(key, everything)
        if not found:
            raise InputError(f"--set {key}: no such key; {_nearest(key, everything)}")
    if len(found) > 1:
        raise InputError(f"--set {key}: could be {' or '.join(found)}; say which")
    return found[0]


def _class(package, name):
    if name not in package.CLASSES:
        raise InputError(
            f"no class {name!r} in {package.__name__}; {_nearest(name, package.CLASSES)}"
        )
    return getattr(package, name)


def _argument_names(cls):
    """The arguments of a class, those that it passes on to its bases by keyword included."""
    names = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            names += [
                p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return [name for name in names if name not in ("self", "image_shape", "name")]


def _ending_in(key, keys):
    exact = [k for k in keys if k == key]
    return exact or sorted({k for k in keys if k.endswith(f".{key}")})


def _leaves(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _schema_keys():
    sections = {"data": Data, "model": Model, "optimizer": Optimizer, "training": Training}
    return [
        *Recipe.model_fields,
        *(f"{s}.{f.alias or n}" for s, c in sections.items() for n, f in c.model_fields.items()),
    ]


def _nearest(word, known):
    """The three known words most like this one, as the end of a sentence."""
    last = word.rsplit(".", 1)[-1]
    likeness = {
        k: max(
            difflib.SequenceMatcher(None, word, k).ratio(),
            difflib.SequenceMatcher(None, last, k.rsplit(".", 1)[-1]).ratio(),
        )
        for k in known
    }
    best = sorted(likeness, key=likeness.get, reverse=True)[:3]
    return f"nearest: {', '.join(best)}"
