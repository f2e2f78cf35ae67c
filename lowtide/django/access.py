"""Guards a view that programs call: it is open to a client with the token, and to a user with the permissions."""

import functools
import hmac
from collections.abc import Callable
from http import HTTPStatus
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def token_or_permission(setting: str, *permissions: str) -> Callable[[View[P]], View[P]]:
    """Open a view to `Authorization: Bearer` with the token in a setting, and to logged-in users with `permissions`.

    While the setting is empty, no token opens the view. A request without a header Authorization comes from a browser,
    which sends its cookie from any site's page, so a request that changes something needs Django's CSRF token too.
    Other clients get 401, or 403 for a user without the permissions, as JSON with the reason.
    """

    def guard(view: View[P]) -> View[P]:
        @csrf_exempt
        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            given = request.headers.get("Authorization")
            refusal = (
                _token_refused(given, getattr(settings, setting)) if given else _user_refused(request, permissions)
            )
            return refusal or view(request, *args, **kwargs)

        return guarded

    return guard


def _token_refused(given: str, token: str) -> HttpResponse | None:
    expected = f"Bearer {token}"
    if token and hmac.compare_digest(given.encode(errors="replace"), expected.encode()):
        return None
    return _unauthorized("the token in the header Authorization is not the one that opens this")


def _user_refused(request: HttpRequest, permissions: tuple[str, ...]) -> HttpResponse | None:
    if not request.user.is_authenticated:
        return _unauthorized(
            "this needs the header 'Authorization: Bearer' with the token, or a user who has logged in"
        )
    if not request.user.has_perms(permissions):
        return _refused(HTTPStatus.FORBIDDEN, f"this user lacks a permission: {', '.join(permissions)}")
    return _CsrfCheck(lambda _: HttpResponse()).process_view(request, lambda _: HttpResponse(), (), {})


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        return _refused(HTTPStatus.FORBIDDEN, f"a user's request needs the header X-CSRFToken: {reason}")


def _unauthorized(reason: str) -> HttpResponse:
    response = _refused(HTTPStatus.UNAUTHORIZED, reason)
    response["WWW-Authenticate"] = "Bearer"
    return response


def _refused(status: HTTPStatus, reason: str) -> HttpResponse:
    return JsonResponse({"error": reason}, status=status)
