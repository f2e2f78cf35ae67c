"""Say what the memory of one view does: `manage.py diagnose --path /catalog/` or `--view catalog:list`.

Needs `lowtide` in INSTALLED_APPS.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import NoReverseMatch, reverse

from lowtide.diagnose import command


class Command(BaseCommand):
    help = command.DESCRIPTION
    # The processes that measure load the project anew; nothing here needs the checks.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--path", help="what to ask for; {n} becomes the number of the request")
        what.add_argument("--view", help="the name of a URL pattern instead, catalog:list for example")
        parser.add_argument("--arg", action="append", default=[], help="an argument of that pattern; may be repeated")
        command.add_request_arguments(parser)

    def handle(self, *args: object, **options: Any) -> None:
        if not settings.WSGI_APPLICATION:
            raise CommandError("WSGI_APPLICATION is not set: use `lowtide diagnose --app MODULE:CALLABLE`")
        if options["view"]:
            try:
                options["path"] = reverse(options["view"], args=options["arg"])
            except NoReverseMatch as error:
                raise CommandError(f"--view {options['view']}: {error}") from error
        options["app"] = ":".join(settings.WSGI_APPLICATION.rsplit(".", 1))
        options["https"] = options["https"] or settings.SECURE_SSL_REDIRECT
        arguments = argparse.Namespace(**options, pid=None, chdir=str(Path.cwd()))
        sys.exit(command.run(arguments))
