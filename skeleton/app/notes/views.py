"""Two small pages, and two requests that need much memory: an import, and an export of everything."""

import json

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from lowtide.django.access import token_or_permission
from notes.models import Note


@require_safe
def notes(request: HttpRequest) -> HttpResponse:
    page = Paginator(Note.objects.only("number", "title"), 50).get_page(request.GET.get("page"))
    return render(request, "notes/notes.html", {"page": page})


@require_safe
def note(request: HttpRequest, number: int) -> HttpResponse:
    return render(request, "notes/note.html", {"note": get_object_or_404(Note, number=number)})


@token_or_permission("IMPORT_TOKEN", "notes.add_note", "notes.change_note")
@require_POST
def import_notes(request: HttpRequest) -> JsonResponse:
    """Store the notes of a JSON list; a number that is there gets the new text. With ?dry_run=1 nothing is stored."""
    try:
        notes = [
            Note(number=int(row["number"]), title=str(row["title"])[:200], text=str(row["text"]))
            for row in json.loads(request.body)
        ]
    except (KeyError, TypeError, ValueError, RecursionError):
        wanted = 'Write a list of {"number": 1, "title": "...", "text": "..."}.'
        return JsonResponse({"error": wanted}, status=400)
    if "dry_run" not in request.GET:
        Note.objects.bulk_create(
            notes, batch_size=200, update_conflicts=True, unique_fields=["number"], update_fields=["title", "text"]
        )
    return JsonResponse({"notes": len(notes)})


@token_or_permission("IMPORT_TOKEN", "notes.view_note")
@require_safe
def export(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"notes": list(Note.objects.values("number", "title", "text"))})
