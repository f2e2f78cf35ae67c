import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from notes.load import feed
from notes.models import Note


class Command(BaseCommand):
    help = "Replace all notes by made ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--notes", type=int, default=1000, help="how many (default: %(default)s)")

    def handle(self, *_: Any, notes: int, **__: Any) -> None:
        Note.objects.all().delete()
        Note.objects.bulk_create([Note(**row) for row in json.loads(feed(notes, seed=1))], batch_size=200)
        self.stdout.write(f"{notes} notes")
