"""The parser of a command line: errors are one line, and misspelt options get suggestions."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from tfgen import checks
from tfgen.errors import InputError


class UsageError(InputError):
    """A command line that cannot be parsed.

    Attributes:
        program: the program, or program and command, whose arguments are wrong.
    """

    def __init__(self, program: str, message: str) -> None:
        super().__init__(message)
        self.program = program


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises `UsageError` in place of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` of this program."""
        hint = "" if message.endswith("?") else f"; {self.prog} --help describes the arguments"
        raise UsageError(self.prog, message + hint)

    def _print_message(self, message, file=None):
        """Print help or a version; unlike argparse's, with the errors of a full disk."""
        print(message, end="", file=file)

    def refuse_unknown_options(self, words: Iterable[str]) -> None:
        """Raise a `UsageError` that names the first word that looks like an unknown option.

        `argparse` would report a missing argument first, which misspelt options often cause.
        """
        known = [option for action in self._actions for option in action.option_strings]
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if not name.startswith("--") or " " in word:
                continue
            if not any(option.startswith(name) for option in known):
                shown = [option for option in known if "=" not in option]
                self.error(f"there is no option {name}{checks.did_you_mean(name, shown)}")

    def refuse_unknown_words(self, words: Sequence[str]) -> None:
        """Raise a `UsageError` that names the first of the words that were left over, if any."""
        for word in words:
            is_option = word.startswith("-") and word != "--"
            self.error(f"{'there is no option' if is_option else 'unexpected argument'} {word!r}")


def one_of(*known: str) -> Callable[[str], str]:
    """The type of an argument that is one of some words, for `add_argument(type=...)`."""

    def word(text: str) -> str:
        if text not in known:
            listed = ", ".join(known)
            raise argparse.ArgumentTypeError(
                f"must be one of {listed}, got {text!r}{checks.did_you_mean(text, known)}"
            )
        return text

    return word
