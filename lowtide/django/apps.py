import sys

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import got_request_exception
from django.db.models.signals import post_migrate

from lowtide import ceiling
from lowtide.django import contract


def _tell(**_: object) -> None:
    """Tell the server when a request failed for lack of memory, because Django answers it like any other error."""
    error: BaseException | None = sys.exc_info()[1]
    while error and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    if error:
        ceiling.meet()


def _make_cache_tables(using: str, **_: object) -> None:
    """Make the table of a cache that is in the database, because no migration does. Where it is there, nothing is done.

    Django sends the signal for each application that has models, which this one has not.
    """
    # Imported here, because the server has no use for it.
    from django.core.management import call_command

    call_command("createcachetable", database=using, verbosity=0)


class LowtideConfig(AppConfig):
    name = "lowtide.django"
    label = "lowtide"

    def ready(self) -> None:
        got_request_exception.connect(_tell, dispatch_uid="lowtide.ceiling")
        register(contract.check)
        post_migrate.connect(_make_cache_tables, dispatch_uid="lowtide.cache")
