"""The command `lowtide`: it has a sub-command for each tool, and imports a tool only when it is called.

A tool's module `command` has HELP, DESCRIPTION, add_arguments and run. A tool that is not installed is left out.
"""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

TOOLS = ("check", "diagnose", "size", "top")


def build_parser(chosen: str) -> argparse.ArgumentParser:
    """The parser. It has all options of the tool that was chosen, and only the names of the others."""
    parser = argparse.ArgumentParser(prog="lowtide", description="Keep the memory of an application behind uWSGI low.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in TOOLS:
        if importlib.util.find_spec(f"lowtide.tools.{name}") is None:
            continue
        if chosen in TOOLS and name != chosen:
            commands.add_parser(name)
            continue
        command = importlib.import_module(f"lowtide.tools.{name}.command")
        sub = commands.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code; 2 for a command line that is wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser(words[0] if words else "").parse_args(words)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
