"""The README and the guides are run: commands in a shell, examples as doctests."""

import doctest
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tfgen import cli

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SET_UP = re.compile(r"^pip install .*\n", re.MULTILINE)


def blocks(guide, language):
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_examples_of_a_guide_run(guide):
    result = doctest.testfile(str(guide), module_relative=False, optionflags=FLAGS)
    assert result.failed == 0
    assert result.attempted == sum(b.count(">>> ") for b in blocks(guide, "python"))


def steps(block):
    """Split a block of commands: a list of words for a tfgen command, text for what bash runs.

    tfgen commands run in this process, so that each does not import TensorFlow again. A block that
    relies on the shell, for example for a process in the background, stays whole.
    """
    lines = block.splitlines(keepends=True)
    if re.search(r"[$&|]", block):
        return [block]
    found, text = [], ""
    for line in lines:
        words = shlex.split(line, comments=True) if line.startswith("tfgen") else []
        if words and not text.count("<<"):
            found += [text, words]
            text = ""
        else:
            text += line
            if text.count("<<") and line == "END\n":
                found.append(text)
                text = ""
    return [piece for piece in [*found, text] if piece]


COMMANDS = {"tfgen": cli.main, "tfgen-train": cli.train}


@pytest.mark.slow
@pytest.mark.parametrize("guide", [g for g in GUIDES if blocks(g, "sh")], ids=lambda p: p.name)
def test_the_commands_of_a_guide_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    for block in blocks(guide, "sh"):
        for step in steps(SET_UP.sub("", block)):
            if isinstance(step, str):
                subprocess.run(["bash", "-euxc", step], check=True, timeout=540)
            else:
                assert COMMANDS[step[0]](step[1:]) == 0, step
    signal.signal(signal.SIGTERM, handler)


def test_the_set_up_is_what_ci_runs():
    first_block = blocks(ROOT / "README.md", "sh")[0].splitlines()
    assert first_block == [
        "pip install . && tfgen-train vae-digits",
        "pip install '.[test]' && pytest",
    ]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_links_between_the_guides_resolve():
    for guide in GUIDES:
        prose = re.sub(r"^```.*?^```", "", guide.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (guide.parent / target).exists(), f"{guide.name}: {target}"
