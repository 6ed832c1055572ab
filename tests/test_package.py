"""The package as a whole: how it installs, and that its code is clean."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_code_is_clean():
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        result = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the checkout, so that nothing is written into the checkout itself."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        if (ROOT / name).is_file():
            (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "checkout" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", folder, folder / "checkout"], check=True)
    return next(folder.glob("*.whl")), folder / "checkout"


def test_the_wheel_holds_the_zoo_and_the_recipes_and_only_the_package_tfgen(wheel):
    names = zipfile.ZipFile(wheel[0]).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"tfgen"}
    for name in (
        "tfgen/zoo/vae-digits/model.weights.h5",
        "tfgen/zoo/glow-digits/card.json",
        "tfgen/training/recipes/vae-digits.yaml",
        "tfgen/export/signatures.py",
    ):
        assert name in names
    size = sum(
        info.file_size
        for info in zipfile.ZipFile(wheel[0]).infolist()
        if "-digits/" in info.filename
    )
    assert size < 2_000_000


@pytest.mark.parametrize("place", ["elsewhere", "checkout"])
def test_zoo_and_export_are_found_wherever_python_starts(wheel, place, tmp_path):
    """In a checkout Python finds the directory tfgen first, where zoo and export are missing."""
    file, checkout = wheel
    site = tmp_path / "site"
    zipfile.ZipFile(file).extractall(site)
    code = (
        "import importlib.util, tfgen.zoo; assert 'vae-digits' in tfgen.zoo.list(); "
        "print(tfgen.zoo.__file__); print(importlib.util.find_spec('tfgen.export').origin)"
    )
    packages = [path for path in sys.path if path.endswith("site-packages")]
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],  # -S: editable installs do not take part
        cwd=checkout if place == "checkout" else tmp_path,
        env={"PYTHONPATH": ":".join([str(site), *packages])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = checkout if place == "checkout" else site / "tfgen"
    assert result.stdout.split() == [
        str(expected / "zoo" / "__init__.py"),
        str(expected / "export" / "__init__.py"),
    ]


def test_importing_tfgen_does_not_import_tensorflow():
    code = "import sys, tfgen; dir(tfgen); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
