"""The command line: `tfgen` and `tfgen-train`, one module for each group of commands."""

from tfgen.cli.program import COMMANDS, main, train

__all__ = ["COMMANDS", "main", "train"]
