"""`tfgen completion`, and the answers to a shell that completes a command line.

The scripts are those of argcomplete. At TAB the shell runs the program, which prints the candidates
and exits; neither TensorFlow nor the content of recipes is read.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator

from tfgen.cli.parser import one_of

SHELLS = ("bash", "zsh", "fish")
PROGRAMS = ["tfgen", "tfgen-train"]


def completion_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen completion`."""
    parser.add_argument("shell", metavar="SHELL", type=one_of(*SHELLS), help="bash, zsh or fish")


def completion(options: argparse.Namespace) -> None:
    """Print the script that a shell reads to complete `tfgen` and `tfgen-train`."""
    import argcomplete

    print(argcomplete.shellcode(PROGRAMS, shell=options.shell))


def answer(parser: argparse.ArgumentParser) -> None:
    """If a shell asks for the candidates at the cursor, print them and exit."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    _add_completers(parser)
    nothing = argcomplete.ChoicesCompleter({})
    argcomplete.autocomplete(parser, always_complete_options="long", default_completer=nothing)


def _add_completers(parser):
    """Set the attribute `completer`, which argcomplete reads, of the arguments of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _add_completers(command)
        else:
            for key in (action.metavar, *action.option_strings):
                if key in CANDIDATES:
                    action.completer = CANDIDATES[key]


def _models(prefix, **_):
    from tfgen import zoo

    return [*zoo.list(), *_directories(prefix)]


def _recipes(prefix, **_):
    from tfgen.training import recipe_files

    return [*recipe_files.names(), *_paths(prefix, (".yaml", ".yml"))]


def _data(prefix, **_):
    from tfgen.data import catalog

    return [*catalog.names(), *_directories(prefix)]


def _metrics(parsed_args, **_):
    """The metrics in the card of the model that the command line names."""
    from tfgen import zoo

    return list(zoo.card(parsed_args.model).get("metrics", {}))


def _files(prefix, **_):
    return _paths(prefix, ("",))


def _directories(prefix, **_):
    return _paths(prefix, ())


def _paths(prefix: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Directories, and files with one of the endings, that begin with the prefix."""
    folder, name = os.path.split(prefix)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return
    for entry, is_directory in sorted(found):
        if entry.startswith(name) and (name.startswith(".") or not entry.startswith(".")):
            path = os.path.join(folder, entry)
            if is_directory:
                yield path + "/"
            elif entry.endswith(endings):
                yield path


def _one_of(*words: str) -> Callable[..., Iterable[str]]:
    return lambda **_: words


# By the name of an option, or by the metavar of an option or a positional argument.
CANDIDATES: dict[str, Callable[..., Iterable[str]]] = {
    "MODEL": _models,
    "BASE_DIR|NAME": _models,
    "RECIPE": _recipes,
    "--data": _data,
    "--metric": _metrics,
    "--split": _one_of("train", "validation", "test"),
    "--precision": _one_of("float32", "float16", "dynamic_int8", "int8"),
    "--strategy": _one_of("auto", "single", "mirrored", "multi_worker"),
    "--devices": _one_of("cpu:", "gpu:"),
    "SHELL": _one_of(*SHELLS),
    "SOURCE": _directories,
    "DIR": _directories,
    "FOLDER": _directories,
    "[NAME=]BASE_DIR": _directories,
    "DEPLOYMENT": _files,
    "FILE": _files,
    "IMAGE": _files,
    "OUT": _files,
}
