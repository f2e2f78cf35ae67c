"""Reads lowtide.toml, which describes the application, and reports a mistake in it in one line.

    python -m lowtide.application check       read the file and import what it names
    python -m lowtide.application name        print the service's name
    python -m lowtide.application nginx       print the file that nginx includes
    python -m lowtide.application names       print app/variables.env, by which Compose passes the variables on
    python -m lowtide.application secrets     print the names of the variables that are secret
    python -m lowtide.application env         print the lines that a new .env has for the variables, with fresh secrets
    python -m lowtide.application python      print its oldest Python; fail where this one is none for it
    python -m lowtide.application settings    print its settings module
    python -m lowtide.application packages    print the Debian packages of its image; `packages build`: for building
    python -m lowtide.application build       run the build commands: static files, npm ...
    python -m lowtide.application manage ...  run the application's manage.py

The folder of the application is APP_DIR of the environment, else `app`, else the current one.
Exit code 2 and one line where something in the file cannot be used.
"""

import importlib
import json
import math
import os
import re
import secrets
import shlex
import string
import subprocess
import sys
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lowtide.application_file import NAME as NAME
from lowtide.application_file import find as find
from lowtide.environment import Unreadable, read_secrets

# AWS allows no hyphen in a database's name, and 32 characters in that of a load balancer: the service's name, a hyphen
# and the environment's name.
NAME_FORM = "[a-z][a-z0-9]{1,14}"
NAME_RULE = "2 to 15 small letters and digits, beginning with a letter"
_PATH = r"/[^\s\"'\\;{}$]*"
_REFERENCE = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
# What the stack loads where `settings` is given: the application's own, with what the stack provides.
_ADOPTED_WSGI = "lowtide.django.adopted_wsgi:application"
_ADOPTED_SETTINGS = "lowtide.django.adopted_settings"
_PACKAGE = "[a-z0-9][a-z0-9+.-]+"
# How manage.py and wsgi.py name the settings.
NAMES_SETTINGS = r"DJANGO_SETTINGS_MODULE\W+([A-Za-z_][\w.]*)"
# As in requires-python of a pyproject.toml.
_CLAUSE = r"\s*(>=|<=|==|!=|~=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?\s*"
# The oldest that lowtide itself works with is first (pyproject.toml).
PYTHONS = tuple((3, minor) for minor in range(11, 20))
# Nothing from other hosts, nothing inline, no other site's frame around a page.
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
COLLECT = "manage.py collectstatic --noinput --verbosity=0"
# Placeholders in the commands that fill the database: fields of the scenario, and the seed.
SEED_WORDS = ("items", "records", "seed")
T = TypeVar("T")


class Invalid(Exception):
    """Something in lowtide.toml cannot be used; the message names the key and says what to write."""


def key(write: str, *, form: str = "", least: int | None = None, **default: Any) -> Any:
    """A key of the file. Messages quote `write`; a text must match `form`; a number must be at least `least`."""
    return field(metadata={"write": write, "form": form, "least": least}, **default)


# The variable that holds the headers of the user who is logged in, as JSON (loadtest/measure/site.py).
LOGGED_IN = "LOWTIDE_LOGGED_IN"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request. A header may name a variable, as in "Bearer {TOKEN}"; while that is empty the header is left out.

    With `login` the experiment sends it as the user of [loadtest.login].
    """

    path: str = key('a path, for example "/reports/?year=2026"', form=r"/\S*")
    method: str = key('a method, for example "POST"', form="[A-Z]+", default="GET")
    headers: dict[str, str] = key("texts by name", default_factory=dict)
    body: str = key("the body as text", default="")
    login: bool = key("true or false", default=False)
    status: int = key("the status that is expected", least=100, default=200)


@dataclass(frozen=True, kw_only=True)
class MadeCall(Call):
    """A request whose body may come from a function, which makes bytes from (records, seed)."""

    make_body: str = key('a function as "module:name" that makes the body', form=_REFERENCE, default="")


@dataclass(frozen=True, kw_only=True)
class Request(MadeCall):
    """A kind of request in the experiment.

    `weight` is its share of its lane. Its path may name draws, as in "/{item}/". `streamed` is sent in its place when
    the experiment streams everything. It is not sent in the scenarios that `left_out_of` names.
    """

    name: str = key("a short name for tables", form=r"[^{}]+")
    lane: str = key('"small" or "large"', form="small|large")
    weight: int = key("a whole number, 1 or more", least=1)
    streamed: MadeCall | None = key("its streaming counterpart", default=None)
    left_out_of: tuple[str, ...] = key("a list of scenarios", default=())


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A random value for a path: a whole number from `least` to `most`, or one of the words.

    `most` may be a field of the scenario, `items` or `records`.
    """

    least: int = key("a whole number", default=1)
    most: int | str = key('a whole number, "items" or "records"', form="items|records", default=0)
    words: tuple[str, ...] = key("a list of texts", default=())
    words_from: str = key('a list of texts as "module:NAME"', form=_REFERENCE, default="")


@dataclass(frozen=True, kw_only=True)
class Login:
    """The form by which the experiment's user logs in. A value may name a variable, as a header may."""

    path: str = key('the path of the form, for example "/accounts/login/"', form=r"/\S*")
    form: dict[str, str] = key('texts by name, for example {username = "editor", password = "{EDITOR_PASSWORD}"}')


@dataclass(frozen=True, kw_only=True)
class Loadtest:
    """The requests of the experiment, and how the database is filled before it.

    Attributes:
        warm_up: a request that a worker for large requests answers without growing much.
        seed: commands of manage.py; they may contain SEED_WORDS as placeholders.
        seed_requests: names of `requests` that are sent once after those commands.
        login: how the user logs in whom those commands have made.
        draw: values that are drawn for each request, in this order.
        inflates: whether the large requests are known to leave workers inflated. The verdict then asks it of `without`,
            and that `lowtide` peaks far below; otherwise it only asks what every application can promise.
    """

    warm_up: Call = key("a table, [loadtest.warm_up], of a request that is large and costs little")
    seed: tuple[str, ...] = key('a list of commands of manage.py, for example "load --count {items}"', default=())
    seed_requests: tuple[str, ...] = key("a list of names of requests", default=())
    login: Login | None = key("a table, [loadtest.login], of a path and a form", default=None)
    draw: dict[str, Draw] = key("tables by name", default_factory=dict)
    inflates: bool = key("true or false", default=False)
    requests: tuple[Request, ...] = key("the rows, each as [[loadtest.requests]]")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable of the environment that the application reads beside those of .env.example.

    Attributes:
        secret: deployments store it where they store secrets.
        generate: any random text will do, so the first start generates one.
        loadtest: its value in the stacks that the experiment starts; without it they get the value of .env.
    """

    about: str = key("what it is for, in a sentence")
    secret: bool = key("true or false", default=False)
    generate: bool = key("true or false", default=False)
    loadtest: str | None = key("a text", default=None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the application in its container (lowtide.sizing.Load), MiB."""

    workers: int = key("a whole number, 1 or more", least=1)
    idle_mb: float = key("the sum of PSS over master and workers at rest", least=1)
    worker_rss_mb: float = key("RSS of one idle worker", least=1)
    worker_private_mb: float | None = key("what one idle worker shares with nobody", least=0, default=None)
    large_mb: float = key("what the largest request adds at its peak", least=0)


@dataclass(frozen=True, kw_only=True)
class Application:
    """The whole file.

    Attributes:
        folder: the folder of the file; paths in the file are relative to it, modules to the folder of `manage`.
        settings: the settings module of an application that knows nothing of this stack. The stack then loads it with
            what the stack provides (lowtide/django/adopted_settings.py), and serves the callable the same way. Without
            this key the application's own code does that.
        python: with which versions of Python it works.
        build: commands that are run in the folder before the start, and when the image is built. The word manage.py
            stands for `manage`.
        processes: commands that run beside the server, such as workers and schedulers, by their names.
        packages, build_packages: Debian packages that the application needs, and those that only `build` and the
            installation of its requirements need.
        page: the path that most visitors see.
        live, ready: the paths of the health checks: whether the process is alive, and whether it can serve.
        content_security_policy: what nginx sends as this header, unless an answer of the application has its own.
        lint: whether `make lint` looks at the application's files too.
        hashed_static: whether the names of static files contain a hash of their content, so that browsers may keep them
            for a year; otherwise browsers ask each time whether a file has changed.
        large: paths that need much memory or time even with a small body; one that ends in * is the start of paths.
        preload: requests that are answered before the fork, so they must not change anything.
        measured: figures by which the server's start and the deployments judge memory; without them they do not.
    """

    folder: Path = Path()
    name: str = key(NAME_RULE, form=NAME_FORM)
    wsgi: str = key('the WSGI callable, for example "config.wsgi:application"', form=_REFERENCE)
    manage: str = key('the place of manage.py in this folder, for example "manage.py"')
    page: str = key('the path of a page, for example "/"', form=_PATH)
    live: str = key('a path, for example "/healthz"', form=_PATH)
    ready: str = key('a path, for example "/readyz"', form=_PATH)
    settings: str | None = key('a module, for example "config.settings"', form=r"[A-Za-z_][\w.]*", default=None)
    python: str = key('versions, for example ">=3.12"', form=f"{_CLAUSE}(,{_CLAUSE})*", default=">=3.11")
    build: tuple[str, ...] = key(f'a list of commands, for example ["npm ci", "{COLLECT}"]', default=(COLLECT,))
    processes: dict[str, str] = key(
        'a command for each name, for example worker = "manage.py qcluster"', default_factory=dict
    )
    packages: tuple[str, ...] = key('Debian packages, for example ["libpq5"]', form=_PACKAGE, default=())
    build_packages: tuple[str, ...] = key('Debian packages, for example ["libpq-dev"]', form=_PACKAGE, default=())
    content_security_policy: str = key("the header's value; empty for none", form=r'[^"\\$\n]*', default=POLICY)
    hashed_static: bool = key("true or false", default=True)
    lint: bool = key("true or false", default=True)
    large: tuple[str, ...] = key('a path, or the beginning of paths and a star: "/export*"', form=_PATH, default=())
    variables: dict[str, Variable] = key("a table for each, [variables.NAME]", default_factory=dict)
    preload: tuple[Call, ...] = key("the requests, each as [[preload]]", default=())
    loadtest: Loadtest | None = key("a table, [loadtest]", default=None)
    measured: Measured | None = key("a table, [measured]", default=None)

    @property
    def title(self) -> str:
        """The name as it stands at the beginning of a sentence."""
        return self.name.capitalize()

    @property
    def file(self) -> Path:
        return _file(self.folder)

    @property
    def root(self) -> Path:
        """The folder from which the application's modules are imported: that of manage.py."""
        return (self.folder / self.manage).parent

    @property
    def server(self) -> str:
        """The callable that the server loads."""
        return _ADOPTED_WSGI if self.settings else self.wsgi

    @property
    def own_settings(self) -> str:
        """The application's own settings module: that under `settings`, else what manage.py names, or nothing."""
        try:
            named = re.search(NAMES_SETTINGS, (self.folder / self.manage).read_text(errors="replace"))
        except OSError:
            named = None
        return self.settings or (named[1] if named else "")

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the application has in its environment."""
        return {"DJANGO_SETTINGS_MODULE": _ADOPTED_SETTINGS} if self.settings else {}

    def command(self, line: str) -> list[str]:
        """The words of a command of the file, in which manage.py stands for the application's."""
        words = shlex.split(line)
        return self.managing(words[1:]) if words[0] == "manage.py" else words

    def managing(self, words: list[str]) -> list[str]:
        """The command that runs the application's manage.py with these words."""
        return [sys.executable, "-m", "lowtide.django.manage", str(self.folder / self.manage), *words]

    @property
    def nginx(self) -> str:
        """The file that nginx includes: what differs from one application to another."""
        large = "".join(f'    "{_nginx_key(path)}" yes;\n' for path in self.large)
        return (
            f"# Made of {NAME} by `python -m lowtide.application nginx`.\n"
            f"map $uri $large_path {{\n    default no;\n{large}}}\n"
            f'map "" $live_path {{\n    default "{self.live}";\n}}\n'
            f'map "" $ready_path {{\n    default "{self.ready}";\n}}\n'
            f"map $upstream_http_content_security_policy $content_security_policy {{\n"
            f'    default $upstream_http_content_security_policy;\n    "" "{self.content_security_policy}";\n}}\n'
            f'map "" $static_expires {{\n    default {"1y" if self.hashed_static else "-1"};\n}}\n'
        )

    @property
    def names(self) -> str:
        """The file for Compose's env_file. It has names only; Compose takes the values from the shell or from .env.

        Secrets are not in it: they come in a file (lowtide.environment).
        """
        return f"# Made of {NAME} by `make up`: Compose takes the values from the shell or from .env.\n" + "".join(
            f"{name}\n" for name, variable in self.variables.items() if not variable.secret
        )

    @property
    def secrets(self) -> list[str]:
        """The names of the variables that are secret."""
        return [name for name, variable in self.variables.items() if variable.secret]

    @property
    def env(self) -> str:
        """The lines that a new .env has for the variables, with a fresh value for each that is generated."""
        return env_lines(self.variables)

    def load(self, reference: str) -> Any:
        """Import "module:name" from the application's folder.

        Raises:
            Invalid: it cannot be imported.
        """
        module, _, name = reference.partition(":")
        self.importable()
        try:
            return getattr(importlib.import_module(module), name)
        # A module can raise anything while it is imported.
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise Invalid(f"{self.file}: {reference} cannot be imported: {said}") from error

    def importable(self) -> None:
        """Let this process import the application's modules."""
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))

    def words(self, draw: Draw) -> tuple[str, ...]:
        """The words of a draw."""
        return draw.words or tuple(self.load(draw.words_from))


def read(folder: Path | None = None) -> Application:
    """Read lowtide.toml in `folder`, by default the folder that `find` returns.

    Raises:
        Invalid: the file is missing, or something in it cannot be used.
    """
    folder = (folder or find() or Path("app")).absolute()
    file = _file(folder)
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        raise Invalid(
            f"{file} cannot be read: {error.strerror}. It describes the application (docs/fork.md)."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} is not TOML: {error}") from None
    try:
        application = replace(_table(Application, values, ""), folder=folder)
        oldest_python(application.python)
        _check_variables(application)
        for number, line in enumerate(application.build, 1):
            _check_command(f"build[{number}]", line)
        for name, line in application.processes.items():
            if not re.fullmatch("[a-z][a-z0-9-]*", name):
                raise Invalid(f"processes.{name} is no name: write small letters, digits and hyphens.")
            _check_command(f"processes.{name}", line)
        if application.loadtest:
            _check_loadtest(application.loadtest)
    except Invalid as problem:
        raise Invalid(f"{file}: {problem}") from None
    return application


def check(application: Application) -> None:
    """Import what the file names.

    Raises:
        Invalid: something cannot be imported, or has the wrong type.
    """
    loadtest = application.loadtest
    for request in loadtest.requests if loadtest else ():
        for call in (request, request.streamed):
            if call and call.make_body and not callable(application.load(call.make_body)):
                raise Invalid(f"{application.file}: {call.make_body} is no function: write one of (records, seed).")
    for name, draw in loadtest.draw.items() if loadtest else ():
        if draw.words_from and not all(isinstance(word, str) for word in application.words(draw)):
            raise Invalid(
                f"{application.file}: loadtest.draw.{name}.words_from: {draw.words_from} is no list of texts."
            )


def env_lines(variables: Mapping[str, Variable]) -> str:
    """The lines of .env for these variables."""
    return "".join(
        f"\n# {variable.about}\n" + (f"{name}={secrets.token_urlsafe(50)}\n" if variable.generate else f"# {name}=\n")
        for name, variable in variables.items()
    )


def pythons(text: str) -> list[tuple[int, int]]:
    """The versions of Python, major and minor, that `text` allows."""
    clauses = re.findall(_CLAUSE, text)
    return [version for version in PYTHONS if all(_allows(version, *clause) for clause in clauses)]


def _allows(version: tuple[int, int], sign: str, number: str, star: str) -> bool:
    numbers = tuple(map(int, number.split(".")))
    least = numbers[:2]
    if sign == "!=":
        # One patch release that is excluded leaves the others.
        return len(numbers) > 2 or version != least
    if sign == "~=" and len(numbers) == 2:
        return version >= least and version[0] == least[0]
    return {
        ">=": version >= least,
        ">": version > least or (version == least and len(numbers) > 2),
        "<=": version <= least,
        "<": version < least or (version == least and len(numbers) > 2 and numbers[2] > 0),
    }.get(sign, version == least)


def oldest_python(text: str) -> str:
    """The oldest version that `text` allows.

    Raises:
        Invalid: it allows none with which lowtide works.
    """
    allowed = pythons(text or ">=3.11")
    if not allowed:
        raise Invalid(f'python = "{text}" allows none of 3.11 and newer, which lowtide needs.')
    return ".".join(map(str, allowed[0]))


def check_python(application: Application) -> str:
    """The oldest version of Python for the application.

    Raises:
        Invalid: the one that runs this is none for it.
    """
    oldest, here = oldest_python(application.python), sys.version_info[:2]
    if here not in pythons(application.python):
        raise Invalid(
            f"{application.file} wants Python {application.python}, and this is {here[0]}.{here[1]}: "
            "PYTHON=python3.x make ... names another."
        )
    return oldest


def build(application: Application) -> None:
    """Run the build commands.

    Raises:
        Invalid: one of them cannot be started, or failed.
    """
    # While an image is built there are no secrets, and settings that ask for one get this.
    unset = ("SECRET_KEY", *(name for name, variable in application.variables.items() if variable.secret))
    environment = dict.fromkeys(unset, "unused-while-building") | dict(os.environ) | application.environment
    for line in application.build:
        try:
            done = subprocess.run(application.command(line), cwd=application.folder, env=environment)
        except OSError as error:
            raise Invalid(f"{application.file}: build: `{line}` cannot be started: {error.strerror}.") from None
        if done.returncode:
            raise Invalid(f"{application.file}: build: `{line}` failed with exit code {done.returncode}.")


def headers(call: Call, environment: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request, filled in with the variables of `environment`."""
    filled = {
        name: value.format_map(environment)
        for name, value in call.headers.items()
        if all(environment.get(variable) for variable in _placeholders(value))
    }
    logged_in: dict[str, str] = json.loads(environment.get(LOGGED_IN) or "{}") if call.login else {}
    return logged_in | filled


def variables(call: Call) -> list[str]:
    """The variables that a request's headers name."""
    return [variable for value in call.headers.values() for variable in _placeholders(value)]


def _file(folder: Path) -> Path:
    """The path of the file, relative to the current folder where it is below that, as messages show it."""
    file, here = folder / NAME, Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _nginx_key(path: str) -> str:
    """A path as a key of nginx's map: the path itself, or a pattern for all paths that start with it."""
    return f"~^{re.escape(path.removesuffix('*'))}" if path.endswith("*") else path


def _placeholders(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _table(kind: type[T], value: object, place: str) -> T:
    """Make a dataclass of the kind `kind` from a table of the file.

    Raises:
        Invalid: a key is unknown or missing, or a value cannot be used.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{place} = {_shown(value)} cannot be used: write a table, [{place}] and its keys below it.")
    keys = {entry.name: entry for entry in fields(kind) if entry.metadata}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    within = f"{place}." if place else ""
    for name in value:
        if name not in keys:
            raise Invalid(f"{within}{name} is no key: write one of {', '.join(keys)}.")
    made = {}
    for name, entry in keys.items():
        if name in value:
            made[name] = _value(hints[name], value[name], f"{within}{name}", entry.metadata)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise Invalid(f"{within}{name} is missing: write {entry.metadata['write']}.")
    return kind(**made)


def _value(hint: Any, value: Any, place: str, rule: Mapping[str, Any]) -> Any:
    """Convert a value of the file to the type `hint`.

    Raises:
        Invalid: it has another type, or breaks a rule of its key.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        # Of several types, take the one that the value has.
        hint = next((candidate for candidate in inner if type(value) is _plain(candidate)), inner[0])
        origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _table(hint, value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], item, f"{place}[{number}]", rule) for number, item in enumerate(value, 1))
    if origin is dict and isinstance(value, dict):
        return {name: _value(inner[1], item, f"{place}.{name}", rule) for name, item in value.items()}
    usable = type(value) is hint or (hint is float and type(value) is int)
    if hint is str and rule["form"]:
        usable = usable and re.fullmatch(rule["form"], value) is not None
    if hint in (int, float) and rule["least"] is not None:
        usable = usable and rule["least"] <= value < math.inf
    if not usable:
        raise Invalid(f"{place} = {_shown(value)} cannot be used: write {rule['write']}.")
    return value


def _plain(hint: Any) -> type:
    """The type that tomllib gives to a value with this type hint."""
    origin = get_origin(hint)
    return list if origin is tuple else dict if origin is dict or is_dataclass(hint) else hint


def _check_variables(application: Application) -> None:
    for name, variable in application.variables.items():
        if not re.fullmatch("[A-Z][A-Z0-9_]*", name):
            raise Invalid(f"variables.{name} is no name: write capitals, digits and underscores.")
        if variable.generate and not variable.secret:
            raise Invalid(f"variables.{name}.generate is for secrets: write secret = true too, or leave it out.")
    calls: list[tuple[str, Call]] = [(f"preload[{n}]", call) for n, call in enumerate(application.preload, 1)]
    for place, call in calls:
        if call.login:
            raise Invalid(f"{place}.login: nobody is logged in before the fork, so leave it out.")
    if application.loadtest:
        if login := application.loadtest.login:
            # The form is checked as headers are.
            calls.append(("loadtest.login", Call(path=login.path, headers=login.form)))
        calls.append(("loadtest.warm_up", application.loadtest.warm_up))
        for n, request in enumerate(application.loadtest.requests, 1):
            calls.append((f"loadtest.requests[{n}]", request))
            if request.streamed:
                calls.append((f"loadtest.requests[{n}].streamed", request.streamed))
    for place, call in calls:
        if call.login and not (application.loadtest and application.loadtest.login):
            raise Invalid(f"{place}.login needs the form of a login: write [loadtest.login].")
        words = "form" if place == "loadtest.login" else "headers"
        try:
            unknown = [name for name in variables(call) if name not in application.variables]
        except ValueError as error:
            raise Invalid(f"{place}.{words} cannot be used: {error}.") from None
        if unknown:
            raise Invalid(f"{place}.{words} names {unknown[0]}: write [variables.{unknown[0]}] for it.")


def _check_command(place: str, line: str) -> None:
    try:
        empty = not shlex.split(line)
    except ValueError as error:
        raise Invalid(f'{place} = "{line}" cannot be used: {error}.') from None
    if empty:
        raise Invalid(f"{place} is empty: write a command, or leave it out.")


def _check_loadtest(loadtest: Loadtest) -> None:
    for name, draw in loadtest.draw.items():
        if sum(map(bool, (draw.most, draw.words, draw.words_from))) != 1:
            raise Invalid(f"loadtest.draw.{name} needs one of three: write most, words, or words_from.")
        if isinstance(draw.most, int) and draw.most and draw.least > draw.most:
            raise Invalid(
                f"loadtest.draw.{name} has least = {draw.least} above most = {draw.most}: write at most that."
            )
    words = {name: 1 if draw.most else "x" for name, draw in loadtest.draw.items()}
    names = [request.name for request in loadtest.requests]
    for number, request in enumerate(loadtest.requests, 1):
        place = f"loadtest.requests[{number}]"
        if names.index(request.name) != number - 1:
            raise Invalid(f'{place}.name = "{request.name}" is taken: write another.')
        for inner, call in ((place, request), (f"{place}.streamed", request.streamed)):
            if call and call.body and call.make_body:
                raise Invalid(f"{inner} has both body and make_body: write one of them.")
            if call:
                _check_format(f"{inner}.path", call.path, words, "loadtest.draw")
    for lane in ("small", "large"):
        if lane not in [request.lane for request in loadtest.requests]:
            raise Invalid(f'loadtest.requests has none with lane = "{lane}": write one or more.')
    for command in loadtest.seed:
        _check_format("loadtest.seed", command, dict.fromkeys(SEED_WORDS, 1), "a scenario")
    for name in loadtest.seed_requests:
        if name not in names:
            raise Invalid(f"loadtest.seed_requests names {name}: write one of {', '.join(names)}.")


def _check_format(place: str, text: str, words: Mapping[str, str | int], home: str) -> None:
    """Check that the placeholders of a text can be filled in.

    Raises:
        Invalid: it has an unknown placeholder, or a format that does not fit.
    """
    try:
        text.format_map(words)
    except KeyError as error:
        known = ", ".join(words) or "nothing yet"
        raise Invalid(f"{place} names {{{error.args[0]}}}, which {home} does not have: there is {known}.") from None
    except (ValueError, IndexError, AttributeError) as error:
        raise Invalid(f'{place} = "{text}" cannot be filled in: {error}.') from None


def main(arguments: list[str]) -> int:
    try:
        application = read()
        match arguments:
            case ["check"]:
                check(application)
            case ["name"]:
                print(application.name)
            case ["nginx"]:
                print(application.nginx, end="")
            case ["names"]:
                print(application.names, end="")
            case ["secrets"]:
                print("\n".join(application.secrets))
            case ["env"]:
                print(application.env, end="")
            case ["python"]:
                print(check_python(application))
            case ["settings"]:
                print(application.own_settings)
            case ["packages"]:
                print("\n".join(application.packages), end="")
            case ["packages", "build"]:
                print("\n".join((*application.packages, *application.build_packages)), end="")
            case ["build"]:
                build(application)
            case ["manage", *words]:
                read_secrets()
                os.environ.update(application.environment)
                # Imported here, because where the Dockerfile reads the packages, lowtide/django is not there yet.
                from lowtide.django import manage

                manage.main(str(application.folder / application.manage), words)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (Invalid, Unreadable) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
