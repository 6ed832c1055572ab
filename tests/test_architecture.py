"""The code has the imports and the files that docs/architecture.md describes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
# A drawing of layers: each line may import the lines above it, and names on one line do not
# import each other.
DRAWINGS = [
    [line.split() for line in drawing.splitlines()]
    for drawing in re.findall(r"^```layers\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]

# The only calls of a layer further down: of an attribute of `tfgen`, which imports it at the call.
CALLS = {
    (caller, called)
    for drawing in re.findall(r"^```calls\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for caller, names in (line.split(":") for line in drawing.splitlines())
    for called in names.split()
}


def sources():
    """Every module of the library, by its dotted name below `tfgen`."""
    for folder in ("tfgen", "zoo", "export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[1:] if folder == "tfgen" else parts)
            yield path, name.removesuffix(".__init__")


def imported(path):
    """The modules that a module imports at run time, without those for type checking only."""
    waiting = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(drawing, module):
    """The line of a drawing, and the name on it, that a module belongs to; None if it has none."""
    found = [
        (len(name), number, name)
        for number, line in enumerate(drawing)
        for name in line
        if f"{module}.".startswith(f"{name}.")
    ]
    return max(found)[1:] if found else None


@pytest.mark.parametrize(
    ("path", "module"), list(sources()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_imports_run_one_way(path, module):
    for name in imported(path):
        assert not name.startswith("tf_keras"), "tensorflow-probability needs it, nothing of ours"
        for drawing in DRAWINGS:
            ours, theirs = place(drawing, module), place(drawing, name.removeprefix("tfgen."))
            if name.startswith("tfgen.") and ours and theirs and ours[1] != theirs[1]:
                assert theirs[0] < ours[0], f"{module} imports {name}"


def attributes_of_tfgen(path):
    """`a.b` for each `tfgen.a.b` of a module's code; names that stop at a package are left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if len(parts) > 1 and getattr(node, "id", None) == "tfgen":
            yield ".".join(parts[:-3:-1])


def test_calls_of_a_layer_further_down_are_those_of_the_page():
    found = set()
    for path, module in sources():
        for name in attributes_of_tfgen(path):
            for drawing in DRAWINGS:
                ours, theirs = place(drawing, module), place(drawing, name)
                if ours and theirs and ours[1] != theirs[1] and theirs[0] >= ours[0]:
                    found.add((module, name))
    assert found == CALLS
    functions = {caller for caller, _ in CALLS}
    for path, module in sources():  # at the call, not at the import
        for node in ast.parse(path.read_text("utf-8")).body if module in functions else ():
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert not re.search(r"tfgen\.(zoo|export)\.", ast.unparse(node)), module


def test_every_package_is_drawn_and_described():
    drawn = {name for line in DRAWINGS[0] for name in line}
    parts = {module.split(".")[0] for _, module in sources()} - {"", "__init__", "__main__"}
    assert parts == drawn
    for name in drawn:
        assert f"`tfgen.{name}`" in PAGE, f"docs/architecture.md does not say what {name} is"


def test_everything_that_the_drawings_name_exists():
    modules = {module for _, module in sources()}
    for drawing in DRAWINGS:
        for line in drawing:
            assert not set(line) - modules, set(line) - modules


def test_every_path_that_the_page_names_exists():
    for name in re.findall(r"`((?:tfgen|zoo|export|tests|tools|docs)/[^`*<{ ]*)`", PAGE):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/**/*.py")), ids=str)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


# `tfgen/__init__.py` also makes `zoo` and `export` importable in a checkout.
HANDING_ON = [p for _, p in ((m, p) for p, m in sources()) if p.name == "__init__.py"]
DOCUMENTED = ROOT / "tfgen" / "__init__.py"


@pytest.mark.parametrize("path", [p for p in HANDING_ON if p != DOCUMENTED], ids=str)
def test_packages_only_re_export_names(path):
    for node in ast.parse(path.read_text("utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Import | ast.ImportFrom | ast.Assign)
        assert docstring or names, f"line {node.lineno} does more than hand on names"
