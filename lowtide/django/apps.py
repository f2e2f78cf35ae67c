import sys

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import got_request_exception

from lowtide import ceiling
from lowtide.django import contract


def _tell(**_: object) -> None:
    """Tell the server when a request failed for lack of memory, because Django answers it like any other error."""
    error: BaseException | None = sys.exc_info()[1]
    while error and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    if error:
        ceiling.meet()


class LowtideConfig(AppConfig):
    name = "lowtide.django"
    label = "lowtide"

    def ready(self) -> None:
        got_request_exception.connect(_tell, dispatch_uid="lowtide.ceiling")
        register(contract.check)
