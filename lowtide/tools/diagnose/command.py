"""The command `lowtide diagnose`."""

import argparse
import json
import os
import sys
from pathlib import Path

from lowtide.tools.arguments import count
from lowtide.tools.diagnose.request import Request
from lowtide.tools.diagnose.rounds import CannotRun, Job

HELP = "say whether memory that grows is a leak, a cache, DEBUG, or only not given back"
DESCRIPTION = """Send one request many times to a WSGI application, in a process of its own, and say what its memory
does: leak, retention, fragmentation, native growth, DEBUG, a cache, or clean. The request really runs, twice as
often as said, more often while it is not sure whether growth has an end, and with memray once more where it has to
name the C functions of native growth. Exit code 0: clean, retention or a cache. 1: leak, native growth, fragmentation
or DEBUG. 2: could not run. 3: it still grows, and nothing is known yet."""
# Requests may take this share of the time of a process; the search for what holds the memory takes the rest.
REQUESTS_SHARE = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--app", metavar="MODULE:CALLABLE", help="the WSGI application")
    what.add_argument("--pid", type=count, help="look at a running process instead")
    parser.add_argument("--chdir", default=".", metavar="DIR", help="where the application is imported from")
    parser.add_argument("--path", help="what to ask for; {n} becomes the number of the request")
    add_request_arguments(parser)
    parser.add_argument("--seconds", type=count, default=30, help="with --pid: how long to look (default: 30)")


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that Django's management command has too."""
    parser.add_argument("--method", type=str.upper, help="default: GET, and POST with --body")
    parser.add_argument("--body", type=_file, metavar="FILE", help="the body of the request")
    parser.add_argument("--content-type", default="", metavar="TYPE", help="of the body, application/json for example")
    parser.add_argument(
        "--header", type=_header, action="append", default=[], metavar="NAME:VALUE", help="may be repeated"
    )
    parser.add_argument("--https", action="store_true", help="as if it came by HTTPS")
    parser.add_argument("--times", type=_times, default=40, metavar="N", help="requests to measure (default: 40)")
    parser.add_argument(
        "--at-most",
        type=count,
        default=10_000,
        metavar="N",
        help="requests to go on to while it is not sure (default: 10000)",
    )
    parser.add_argument(
        "--patience",
        type=count,
        metavar="SECONDS",
        help="also stop after so long, in each of two processes (default: 0.8 of --timeout)",
    )
    parser.add_argument(
        "--warm-up", type=count, default=5, metavar="N", help="requests before these, which do not count (default: 5)"
    )
    parser.add_argument(
        "--timeout", type=count, default=600, metavar="SECONDS", help="for each of two processes (default: 600)"
    )
    parser.add_argument("--format", choices=("json", "text"), default="text", help="output (default: text)")
    parser.add_argument(
        "--picture",
        default="diagnose.png",
        metavar="FILE",
        help="the chart, .png or .svg; '' for none (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    try:
        if arguments.pid:
            from lowtide.tools.diagnose import running

            return running.run(arguments.pid, arguments.seconds, arguments.format)
        if not arguments.path:
            raise CannotRun("--app needs --path, for example --path /")
        return _diagnose(arguments)
    except CannotRun as error:
        sys.stderr.write(f"lowtide diagnose: {error}\n")
        return 2


def _diagnose(arguments: argparse.Namespace) -> int:
    from lowtide.tools.diagnose import run as runner
    from lowtide.tools.diagnose import text

    runner.check_libraries()
    if not Path(arguments.chdir).is_dir():
        raise CannotRun(f"--chdir {arguments.chdir}: no such folder")
    if not Path(arguments.picture).parent.is_dir():
        raise CannotRun(f"--picture {arguments.picture}: no such folder")
    request = Request(
        path=arguments.path,
        method=arguments.method or ("POST" if arguments.body else "GET"),
        body=arguments.body,
        content_type=arguments.content_type,
        headers=tuple(arguments.header),
        https=arguments.https,
    )
    # If the timeout comes first, there is no verdict at all.
    patience_s = arguments.patience or arguments.timeout * REQUESTS_SHARE
    timeout_s = max(arguments.timeout, patience_s / REQUESTS_SHARE)
    # Progress needs its own descriptor, because a measuring process's standard error is read only if it fails.
    progress = os.dup(2)
    job = Job(
        arguments.app,
        request,
        arguments.times,
        arguments.warm_up,
        at_most=arguments.at_most,
        patience_s=patience_s,
        progress=progress,
    )
    diagnosis, plain, traced = runner.diagnose(job, timeout_s, arguments.chdir)
    asked = f"{request.method} {request.path}"
    if arguments.picture:
        from lowtide.tools.diagnose import picture

        try:
            picture.draw(Path(arguments.picture), diagnosis, plain, traced, asked)
        except (OSError, ValueError) as error:
            raise CannotRun(f"--picture {arguments.picture}: {error}") from error
    if arguments.format == "json":
        sys.stdout.write(json.dumps(diagnosis.document(), indent=2) + "\n")
    else:
        sys.stdout.write(text.render(diagnosis, asked, arguments.picture))
    return diagnosis.exit_code


def _times(value: str) -> int:
    if not value.isdecimal() or not 10 <= int(value) <= 100_000:
        raise argparse.ArgumentTypeError(f"{value!r} is no number from 10 to 100000; fewer show no trend")
    return int(value)


def _file(value: str) -> str:
    try:
        with Path(value).open("rb"):
            return str(Path(value).resolve())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{value}: {error.strerror}") from None


def _header(value: str) -> tuple[str, str]:
    name, colon, content = value.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME:VALUE")
    return name.strip(), content.strip()
