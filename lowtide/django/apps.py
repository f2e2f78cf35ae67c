import sys

from django.apps import AppConfig
from django.core.signals import got_request_exception

from lowtide import ceiling


def _tell(**_: object) -> None:
    """Django answers a request that ran out of memory as any error; the server is told why it failed."""
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
