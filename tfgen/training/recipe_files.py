"""The recipes that come with tfgen, as files; their content is read by `tfgen.training.recipe`."""

from importlib import resources


def names() -> list[str]:
    """The names of the recipes.

    >>> from tfgen.training import recipe_files
    >>> "vae-digits" in recipe_files.names()
    True
    """
    return sorted(entry.name[: -len(".yaml")] for entry in _folder().iterdir())


def text(name: str) -> str:
    """The YAML of a recipe.

    Args:
        name: one of `names()`.
    """
    return (_folder() / f"{name}.yaml").read_text("utf-8")


def _folder():
    return resources.files("tfgen.training") / "recipes"
