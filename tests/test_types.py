"""Type annotations: every public function has them, and a type checker agrees with them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("tfgen", "zoo", "export")


def public_functions(tree, prefix=""):
    """The functions and methods that a caller may use, with their dotted names."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name == "__init__" or not node.name.startswith("_")
        ):
            yield f"{prefix}{node.name}", node, bool(prefix)


def missing(name, function, is_method):
    """The parts of a function's signature without annotation."""
    decorators = {getattr(d, "id", getattr(d, "attr", "")) for d in function.decorator_list}
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args]
    if is_method and "staticmethod" not in decorators:
        parameters = parameters[1:]
    parameters += [*arguments.kwonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))]
    yield from (f"{name}: {p.arg}" for p in parameters if p.annotation is None)
    if function.returns is None and function.name != "__init__":
        yield f"{name}: what it returns"


@pytest.mark.parametrize(
    "path", [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py"))], ids=str
)
def test_public_functions_are_annotated(path):
    tree = ast.parse(path.read_text("utf-8"))
    found = [line for function in public_functions(tree) for line in missing(*function)]
    assert not found, "\n".join(found)


def test_the_type_checker_finds_nothing(tmp_path):
    """In the layout of an installation, where `zoo` and `export` are inside `tfgen`."""
    for folder in FOLDERS:
        target = tmp_path / "tfgen" / ("" if folder == "tfgen" else folder)
        for path in (ROOT / folder).rglob("*.py"):
            copy = target / path.relative_to(ROOT / folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
    result = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache", "-p", "tfgen"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
