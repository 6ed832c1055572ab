"""What the README and the guides say is run: commands in a shell, examples as doctests."""

import doctest
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SET_UP = re.compile(r"^pip install .*\n", re.MULTILINE)


def blocks(guide, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_examples_of_a_guide_run(guide):
    result = doctest.testfile(str(guide), module_relative=False, optionflags=FLAGS)
    assert result.failed == 0
    assert result.attempted == sum(b.count(">>> ") for b in blocks(guide, "python"))


@pytest.mark.slow
@pytest.mark.parametrize("guide", [g for g in GUIDES if blocks(g, "sh")], ids=lambda p: p.name)
def test_the_commands_of_a_guide_run(guide, tmp_path):
    script = SET_UP.sub("", "".join(blocks(guide, "sh")))
    subprocess.run(["bash", "-euxc", script], cwd=tmp_path, check=True, timeout=540)


def test_the_set_up_is_what_ci_runs():
    first_block = blocks(ROOT / "README.md", "sh")[0].splitlines()
    assert first_block == [
        "pip install . && tfgen-train vae-digits",
        "pip install '.[test]' && pytest",
    ]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_links_between_the_guides_lead_somewhere():
    for guide in GUIDES:
        prose = re.sub(r"^```.*?^```", "", guide.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (guide.parent / target).exists(), f"{guide.name}: {target}"
