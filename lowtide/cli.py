"""The `lowtide` command. Each sub-command is a module with NAME, HELP, DESCRIPTION, add_arguments and run."""

import argparse
import os
import sys
from collections.abc import Sequence

from lowtide.check import command as check
from lowtide.diagnose import command as diagnose
from lowtide.size import command as size

COMMANDS = (check, diagnose, size)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lowtide", description="Keep the memory of an application behind uWSGI low.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(command.NAME, help=command.HELP, description=command.DESCRIPTION)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code; 2 is a command line that cannot be understood."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
