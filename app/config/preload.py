"""Loads before the fork what Django loads with the first request: the URLconf with all it imports, and templates."""

from pathlib import Path

from django.template import engines
from django.template.backends.django import DjangoTemplates
from django.urls import get_resolver
from django.urls.resolvers import URLResolver


def _resolve(resolver: URLResolver) -> None:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            _resolve(pattern)


def load_all() -> None:
    resolver = get_resolver()
    _resolve(resolver)
    # Builds the tables for reverse().
    resolver.reverse_dict  # noqa: B018
    for engine in engines.all():
        if isinstance(engine, DjangoTemplates):
            for folder in engine.template_dirs:
                # Of other people's applications, such as the admin, most templates are never asked for.
                if Path(__file__).parents[1] in Path(folder).parents:
                    for path in Path(folder).rglob("*.html"):
                        engine.get_template(str(path.relative_to(folder)))
