"""Diagnose the memory of one view: `manage.py diagnose --path /` or `--view shop:report`.

Needs `lowtide.django` in INSTALLED_APPS. All other options are passed to `lowtide diagnose`, which does the work.
"""

import argparse
import os
import sys
from importlib.util import find_spec

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import NoReverseMatch, reverse


class Command(BaseCommand):
    help = "say whether memory that grows is a leak, a cache, DEBUG, or only not given back"

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            command = lowtide_command(argv[2:])
        except CommandError as error:
            sys.exit(f"{error}")
        # The processes that measure must import the project from the same folders as manage.py.
        os.environ["PYTHONPATH"] = os.pathsep.join(path or "." for path in sys.path)
        os.execv(sys.executable, command)  # noqa: S606


def lowtide_command(words: list[str]) -> list[str]:
    """The command line of `lowtide diagnose` for this project.

    Raises:
        CommandError: the message says what is missing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--view")
    parser.add_argument("--arg", action="append", default=[])
    # Django has already read these two.
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    options, others = parser.parse_known_args(words)
    if find_spec("lowtide.tools.diagnose") is None:
        raise CommandError("This installation has no `lowtide diagnose`: run it where the tools are installed.")
    if not settings.WSGI_APPLICATION:
        raise CommandError("WSGI_APPLICATION is not set: use `lowtide diagnose --app MODULE:CALLABLE`")
    if options.view:
        try:
            others += ["--path", reverse(options.view, args=options.arg)]
        except NoReverseMatch as error:
            raise CommandError(f"--view {options.view}: {error}") from error
    if settings.SECURE_SSL_REDIRECT:
        others.append("--https")
    app = ":".join(settings.WSGI_APPLICATION.rsplit(".", 1))
    return [sys.executable, "-m", "lowtide", "diagnose", "--app", app, *others]
