"""Print where this project writes (lowtide/django/stores.py), as one line of JSON. Writes nothing."""

import json
from dataclasses import asdict

from django.core.management.base import BaseCommand

from lowtide.django.stores import all_stores


class Command(BaseCommand):
    help = __doc__ or ""
    # No system checks, because they would open the database.
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(json.dumps([asdict(store) for store in all_stores()]))
