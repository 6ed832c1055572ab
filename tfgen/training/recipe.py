"""Recipes: everything that determines training, in one readable file.

This module does not import TensorFlow unless it needs the arguments of a model or optimizer.
"""

from __future__ import annotations

import difflib
import inspect
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
from ruamel.yaml import YAML

import tfgen
from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import open_regular
from tfgen.training import recipe_files, recipe_yaml
from tfgen.training.recipe_sections import (
    LENGTHS,
    Augmentation,
    Checkpoint,
    Data,
    Model,
    Optimizer,
    Sampling,
    Schedule,
    Section,
    Training,
)

SOURCE, OPTIONS = ("data.source", "source"), "data.options"
DESCRIPTION = ("summary", "cost")
# Other values of these leave the description true.
DESCRIBED_ANYWAY = ("training.seed", "data.validation", "checkpoint.", "sampling.")


class Recipe(Section):
    """Everything that determines training.

    Args:
        name: name of the recipe, which is that of its file.
        summary: a description of the model in one line.
        cost: what training takes, in one line, for the list of recipes.
        data: the images.
        model: a class of `tfgen.models` and its arguments.
        optimizer: a class of `tfgen.optimizers` and its arguments.
        schedule: the schedule of the learning rate.
        augmentation: the augmentation of the training images.
        training: length, batch size, seed, final weights.
        checkpoint: how often to save.
        sampling: the temperature of samples.

    Example:

    >>> from tfgen.training import recipe
    >>> short = recipe.load("vae-digits", ["training.epochs=3", "latent_dim=2"])
    >>> short.training.epochs, short.model.latent_dim
    (3, 2)
    """

    name: str
    summary: str = ""
    cost: str = ""
    data: Data
    model: Model
    optimizer: Optimizer = pydantic.Field(default_factory=lambda: Optimizer.model_validate({}))
    schedule: Schedule = pydantic.Field(default_factory=lambda: Schedule.model_validate({}))
    augmentation: Augmentation = pydantic.Field(
        default_factory=lambda: Augmentation.model_validate({})
    )
    training: Training
    checkpoint: Checkpoint = pydantic.Field(default_factory=lambda: Checkpoint.model_validate({}))
    sampling: Sampling = pydantic.Field(default_factory=lambda: Sampling.model_validate({}))

    def to_dict(self) -> dict[str, Any]:
        """The recipe as in a file."""
        return self.model_dump(mode="json", by_alias=True)


def names() -> list[str]:
    """The recipes that come with tfgen.

    >>> from tfgen.training import recipe
    >>> "vae-digits" in recipe.names()
    True
    """
    return recipe_files.names()


def load(
    name_or_file: str | Path,
    settings: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe by its name or from a YAML file, with some of its values replaced.

    Args:
        name_or_file: one of `names()`, or the path of a `.yaml` file.
        settings: strings "key=value"; the key is dotted, such as "optimizer.learning_rate", or any
            unique ending of a dotted key; the value is YAML. Another `data.source` drops the
            options of the previous one.
        values: a mapping from such keys to values.

    Raises:
        InputError: an unknown recipe or key (the message gives the closest names), a value of the
            wrong type or range, a file that is not a recipe.
    """
    content = _content_of(str(name_or_file))
    content["name"] = Path(name_or_file).stem
    source = str(name_or_file)
    recipe = _validate(content, source)
    changes = [(*_parse(setting), f"--set {checks.short(setting)}") for setting in settings]
    changes += [(key, value, key) for key, value in (values or {}).items()]
    # The source comes before its options, and a new description after what makes the old one false.
    changes.sort(key=lambda change: 2 * (change[0] in DESCRIPTION) - (change[0] in SOURCE))
    for change in changes:
        recipe = with_value(recipe, *change)
    return recipe


def build(package: ModuleType, section: Model | Optimizer, *arguments: Any, **options: Any) -> Any:
    """An instance of the class that a section of a recipe names, with the section's arguments.

    Args:
        package: `tfgen.models` or `tfgen.optimizers`.
        section: the section of the recipe.
        arguments, options: arguments of the class in addition to those of the section, which they
            override.

    Raises:
        InputError: an unknown class or argument, or arguments that the class does not accept.
    """
    cls = _class(package, section.class_name)
    given = {**section.model_dump(exclude={"class_name"}), **options}
    known = _argument_names(cls)
    for key in given:
        if key not in known:
            raise InputError(
                f"{section.class_name} has no argument {key!r}; {_nearest(key, known)}"
            )
    try:
        return cls(*arguments, **given)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        reason = checks.short(" ".join(str(error).split()))
        raise InputError(f"invalid arguments of {section.class_name}: {reason}") from error


def to_yaml(recipe: Recipe) -> str:
    """The recipe as the text of a file."""
    text = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(recipe.to_dict(), text)
    return text.getvalue()


def _content_of(name_or_file):
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"there is no recipe file {path}")
        text = _text(path)
    elif name_or_file in names():
        text = recipe_files.text(name_or_file)
    else:
        raise InputError(
            f"there is no recipe {name_or_file!r}; {_nearest(name_or_file, names())}; "
            "or give the path of a .yaml file"
        )
    content = recipe_yaml.parse(text, name_or_file)
    if not isinstance(content, dict):
        raise InputError(f"{name_or_file} is not a recipe: it must be a mapping of sections")
    return content


def _validate(content, source):
    try:
        return Recipe.model_validate(content)
    except pydantic.ValidationError as error:
        problem = _first_problem(error)
        said = problem.startswith(f"{source}: ")  # The source is an option for this key.
        raise InputError(problem if said else f"{source}: {problem}") from None


def _first_problem(error):
    unknown_keys_first = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    problem = unknown_keys_first[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no key {checks.shown(key)}; {_nearest(key, _schema_keys())}"
    if problem["type"] == "missing":
        return f"the key {key!r} is missing"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    message = problem["msg"]
    return f"{key}: {message[0].lower()}{message[1:]}, got {checks.shown(problem['input'])}"


def _text(path):
    try:
        with open_regular(path) as file:
            return file.read(recipe_yaml.MAX_CHARACTERS + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a recipe: it is not UTF-8 text") from None


def _parse(setting):
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set {checks.short(setting)}: expected key=value")
    return key, recipe_yaml.parse(text, f"--set {checks.short(setting)}: the value", "a YAML value")


def with_value(
    recipe: Recipe, key: str, value: Any, source: str, *, describes: bool | None = None
) -> Recipe:
    """The recipe with one value replaced; it loses its description if that may be false now.

    Args:
        recipe: the recipe to start from.
        key: a key as for `load`.
        value: the new value.
        source: the origin of the value, for error messages.
        describes: whether `summary` and `cost` still describe the recipe; by default only if the
            value does not change, or is a seed, the validation split or an option of checkpoints.

    Raises:
        InputError: an unknown key, a value of the wrong type or range.
    """
    content = recipe.to_dict()
    *sections, last = _resolve(key, recipe).split(".")
    target = content
    for section in sections:
        target = target[section]
    is_new = target.get(last) != value
    if sections == ["training"] and last in LENGTHS:
        target.update(dict.fromkeys(LENGTHS))  # The new length replaces the old one.
    full_key = ".".join([*sections, last])
    if key in SOURCE and is_new:
        target["options"] = {}
    target[last] = value
    if describes is None:
        describes = full_key in DESCRIPTION or full_key.startswith(DESCRIBED_ANYWAY)
    if is_new and not describes:
        content.update(dict.fromkeys(DESCRIPTION, ""))
    return _validate(content, source)


def _resolve(key, recipe):
    """The full dotted key that `key` stands for."""
    written = [k for k in _leaves(recipe.to_dict()) if k != "name"]
    written += [OPTIONS] if OPTIONS not in written else []
    found = _ending_in(key, written)
    if not found and key.startswith(f"{OPTIONS}.") and key.count(".") == 2:
        found = [key]
    if not found:  # It may be an argument that the recipe leaves at its default.
        everything = written + [
            f"{section}.{argument}"
            for section, package in (("model", tfgen.models), ("optimizer", tfgen.optimizers))
            for argument in _argument_names(_class(package, getattr(recipe, section).class_name))
        ]
        found = _ending_in(key, everything)
        if not found:
            raise InputError(
                f"--set {checks.short(key)}: there is no such key; {_nearest(key, everything)}"
            )
    if len(found) > 1:
        raise InputError(f"--set {key}: could be {' or '.join(found)}; give the full key")
    return found[0]


def _class(package, name):
    if name not in package.CLASSES:
        raise InputError(
            f"there is no class {name!r} in {package.__name__}; {_nearest(name, package.CLASSES)}"
        )
    return getattr(package, name)


def _argument_names(cls):
    """The arguments of a class, including those that it passes to its bases by keyword."""
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
    return [
        *Recipe.model_fields,
        *(
            f"{section}.{field.alias or name}"
            for section, part in Recipe.model_fields.items()
            if isinstance(part.annotation, type) and issubclass(part.annotation, Section)
            for name, field in part.annotation.model_fields.items()
        ),
    ]


def _nearest(word, known):
    """The three known words closest to this one, as the end of a sentence."""
    word = word[:80]  # The time of a comparison grows with its length.
    last = word.rsplit(".", 1)[-1]
    similarity = {
        k: max(
            difflib.SequenceMatcher(None, word, k).ratio(),
            difflib.SequenceMatcher(None, last, k.rsplit(".", 1)[-1]).ratio(),
        )
        for k in known
    }
    best = sorted(similarity, key=lambda k: similarity[k], reverse=True)[:3]
    return f"nearest: {', '.join(best)}"
