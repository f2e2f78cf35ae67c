"""The answer to a login that axes has locked out (AXES_LOCKOUT_CALLABLE)."""

from typing import Any

from axes.helpers import get_cool_off
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from lowtide.django.guard import wants_json


def locked_out(request: HttpRequest, original_response: HttpResponse, credentials: dict[str, Any]) -> HttpResponse:
    """429 in the client's format. Retry-After is the whole wait, because axes does not say how much of it is left."""
    wait = get_cool_off(request)
    if wants_json(request):
        reason = "too many logins have failed from this address or for this account"
        response: HttpResponse = JsonResponse({"error": reason}, status=429)
    else:
        response = render(request, "429.html", status=429)
    if wait:
        response["Retry-After"] = str(int(wait.total_seconds()))
    return response
