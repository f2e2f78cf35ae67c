"""The command `lowtide check`."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lowtide.tools.arguments import argument, count
from lowtide.tools.check.commands import find_start
from lowtide.tools.check.compare import Comparison, compare, find_uwsgi, uwsgi_version
from lowtide.tools.check.container import Container, parse_duration, read_container
from lowtide.tools.check.env_file import pair, read_env_file
from lowtide.tools.check.files import UnreadableError
from lowtide.tools.check.findings import Finding, Report
from lowtide.tools.check.fix import apply_fixes
from lowtide.tools.check.options import load_options, version_key
from lowtide.tools.check.output import json_format, sarif, text
from lowtide.tools.check.reader import Reader
from lowtide.tools.check.rules import RULES, Context, run_rules
from lowtide.tools.check.servers import read_server
from lowtide.tools.sizes import docker_mb

HELP = "say what uWSGI makes of a uwsgi.ini, and what that does to memory and to restarts"
DESCRIPTION = """Say what uWSGI makes of a uwsgi.ini, line by line, and what that does to memory and to restarts.
FILE may be uWSGI's own (INI, YAML, XML, JSON), gunicorn.conf.py, or what starts uWSGI, gunicorn or granian: a
Dockerfile, a Compose file, a Kubernetes manifest, an ECS task definition, a supervisor or systemd file, a Procfile, a
shell script. Exit code 0: nothing above a note. 1: findings. 2: could not read."""

_FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text.render,
    "json": json_format.render,
    "sarif": sarif.render,
}
_MAX_FIX_RUNS = 5
_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    add = parser.add_argument
    add("file", nargs="?", default="uwsgi.ini", metavar="FILE", help="default: uwsgi.ini; file:section works")
    add("--memory", type=argument(docker_mb), metavar="SIZE", help="the container's memory limit: 512m, 1g")
    add("--processes", type=count, metavar="N", help="number of workers, instead of the file's")
    grace = "time between SIGTERM and SIGKILL: 10s, 1m30s"
    add("--stop-grace", type=argument(parse_duration), metavar="TIME", help=grace)
    add("--somaxconn", type=count, metavar="N", help="net.core.somaxconn where uWSGI runs")
    container = "Compose file, Kubernetes manifest or ECS task definition to read these from"
    add("--container", type=Path, metavar="FILE", help=container)
    add("--service", metavar="NAME", help="the service or container in that file")
    add("--env-file", type=Path, metavar="FILE", help="NAME=VALUE lines of uWSGI's environment")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="one variable of it; may be repeated")
    add("--uwsgi-version", "--uwsgi", metavar="X.Y.Z", help="uWSGI in use (default: the installed one)")
    add("--python-version", metavar="X.Y", help="Python inside uWSGI (default: this one)")
    add("--no-compare", action="store_true", help="do not ask an installed uWSGI for its own reading")
    add("--format", choices=sorted(_FORMATS), default="text", help="output (default: text)")
    add("--fix", action="store_true", help="rewrite what is safe to rewrite, keeping layout and comments")
    add("--codes", action="store_true", help="list all codes with their explanations, and exit")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    if arguments.codes:
        for rule in RULES:
            sys.stdout.write(f"{rule.code}\n    {rule.explanation}\n    {rule.docs}\n")
        return 0
    try:
        report = check(arguments)
    except UnreadableError as error:
        sys.stderr.write(f"lowtide check: {error}\n")
        return 2
    sys.stdout.write(_FORMATS[arguments.format](report))
    return report.exit_code


def check(arguments: argparse.Namespace) -> Report:
    """Read the configuration and apply the rules; with --fix, rewrite it and repeat until nothing is left to rewrite.

    Raises UnreadableError.
    """
    fixed = 0
    for _ in range(_MAX_FIX_RUNS):
        context, findings = _check_once(arguments)
        rewritten = apply_fixes(context.main, context.shown(context.main), findings) if arguments.fix else 0
        fixed += rewritten
        if not rewritten:
            break
    return Report(arguments.file, context.shown(context.main), findings, context.comparison.sentence(), fixed)


def _check_once(arguments: argparse.Namespace) -> tuple[Context, list[Finding]]:
    cwd, table = Path.cwd(), load_options()
    target = cwd / arguments.file
    # The variables of --env override the shell's, and the shell's override those of --env-file, as in Compose.
    given = dict(pair(text) for text in arguments.env)
    variables = {**(read_env_file(arguments.env_file, strict=True) if arguments.env_file else {}), **given}
    shell = {**variables, **os.environ, **given}
    start = find_start(target, arguments.service, variables, shell, not arguments.env_file)
    container, environ = (start.container, start.environ) if start else (Container("command line"), shell)
    if arguments.container:
        container = read_container(arguments.container, arguments.service, shell, not arguments.env_file)
        environ = {**environ, **container.environment, **given}
    elif arguments.service and start is None:
        raise UnreadableError("--service needs --container FILE")
    reader = Reader(table, environ, cwd, start.locate if start else None)
    uwsgi = find_uwsgi()
    version = arguments.uwsgi_version or (uwsgi_version(uwsgi) if uwsgi else None) or table.version
    if start and start.command and start.command.server != "uwsgi":
        reading = read_server(start.command, environ, start.locate, target)
    else:
        reading = reader.read_command(start.command) if start and start.command else reader.read(arguments.file)
    if start or arguments.no_compare or uwsgi is None:
        reason = "it is started elsewhere" if start else "--no-compare" if uwsgi else "none is installed here"
        comparison = Comparison(skipped=reason)
    else:
        comparison = compare(uwsgi, arguments.file, reading, environ, cwd)
    told = {"memory": arguments.memory or None, "stop_grace": arguments.stop_grace, "somaxconn": arguments.somaxconn}
    context = Context(
        main=start.path if start else reading.files[0],
        cwd=cwd,
        reading=reading,
        processes=arguments.processes,
        table=table,
        container=replace(container, **{name: figure for name, figure in told.items() if figure is not None}),
        uwsgi=version_key(version),
        python=version_key(arguments.python_version or platform.python_version()),
        somaxconn=arguments.somaxconn or _local_somaxconn(),
        comparison=comparison,
        environment_told=bool(arguments.env or arguments.env_file),
    )
    return context, run_rules(context)


def _local_somaxconn() -> int | None:
    try:
        return int(_SOMAXCONN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
