"""Writes lowtide.toml for a project, from what was found out about it."""

import json
from collections.abc import Iterator

from stack.adopt.project import Project


def text(project: Project, name: str, page: str) -> str:
    return "".join(f"{line}\n" for line in lines(project, name, page))


def lines(project: Project, name: str, page: str) -> Iterator[str]:
    yield "# Describes this application to the stack and the experiment. docs/adopt.md and docs/fork.md explain it, and"
    yield "# lowtide/application.py has all keys and reports mistakes. Paths of files are relative to this folder."
    yield ""
    yield "# The service's name, which images, database and deployments have: `make rename NAME=...` changes it."
    yield f"name = {json.dumps(name)}"
    yield "# The WSGI callable, the manage.py, and the settings module, to which the stack adds what it provides."
    yield f"wsgi = {json.dumps(project.wsgi)}"
    yield f"manage = {json.dumps(str(project.manage))}"
    if project.settings:
        yield f"settings = {json.dumps(project.settings)}"
    yield "# The page that most visitors see: `make up` asks for it and says its status."
    yield f"page = {json.dumps(page)}"
    yield "# lowtide.django.health answers both."
    yield 'live = "/healthz"'
    yield 'ready = "/readyz"'
    if project.requirements.python:
        yield "# The versions of Python that this application works with."
        yield f"python = {json.dumps(project.requirements.python)}"
    yield "# What nginx sends where an answer has none of its own. Empty is none; without this line it is strict."
    yield 'content_security_policy = ""'
    yield "# Whether names of static files contain a hash of their content, so that browsers may keep them for a year."
    yield f"hashed_static = {json.dumps(project.hashed_static)}"
    yield "# `make lint` leaves out this folder: the project may have linters of its own, or another style."
    yield "lint = false"
    yield "# What makes the static files; manage.py stands for the one above."
    yield "build = ["
    yield from (f"    {json.dumps(command)}," for command in project.build)
    yield "]"
    yield "# Requests that need much memory or time even with a small body, for example an export:"
    yield '# "/export*" stands for every path that starts so. The workers for large requests serve them.'
    yield "large = []"
    for variable in project.variables:
        yield ""
        yield f"[variables.{variable.name}]"
        yield f"about = {json.dumps(f'{variable.file} reads it.')}"
        if variable.secret:
            yield "secret = true"
        if variable.secret and variable.any_text_will_do and not variable.optional:
            yield "generate = true"
        if not variable.optional:
            yield "# The experiment uses this value and never the one in .env."
            yield 'loadtest = "of-the-experiment"'
    yield ""
    yield "# Answered before the fork, so that workers share what first requests create. They must not change anything."
    yield "[[preload]]"
    yield f"path = {json.dumps(page)}"
    yield ""
    yield "# What `make loadtest` sends. Both kinds ask for the page until you name your own: for the large one the"
    yield "# request that takes most memory, and for the small ones what most visitors do."
    yield "[loadtest]"
    yield f"warm_up = {{path = {json.dumps(page)}}}"
    for lane in ("small", "large"):
        yield ""
        yield "[[loadtest.requests]]"
        yield f'name = "page, {lane}"'
        yield f'lane = "{lane}"'
        yield "weight = 1"
        yield f"path = {json.dumps(page)}"
