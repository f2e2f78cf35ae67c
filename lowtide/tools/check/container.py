"""Reads a server's container: command, environment, memory limit, stop signal and grace period, kernel limits.

The source is a Compose file, a Kubernetes manifest, an ECS task definition (JSON) or a CloudFormation template with
one. Reading YAML needs PyYAML, because these files use anchors, merge keys and tags, which a small reader of our own
would misread. PyYAML is imported only when such a file is given.
"""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowtide.tools.check import compose
from lowtide.tools.check.files import UnreadableError, read_text
from lowtide.tools.sizes import docker_mb, kubernetes_mb

# Seconds between SIGTERM and SIGKILL when the file says nothing.
COMPOSE_GRACE = 10
KUBERNETES_GRACE = 30
ECS_GRACE = 30
# Compose's units and those of systemd.time(7).
_SECONDS = {"": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3}
_SECONDS |= {"m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600}
_SECONDS |= {"d": 86400, "day": 86400, "days": 86400}
# In the command or among the variables of a container that runs a server.
_SERVES = re.compile(r"\b(uwsgi|gunicorn|granian)\b|\bUWSGI_")


@dataclass(frozen=True)
class Container:
    """A server's container; None where a figure is not known. `source` is what it is and its name. `memory` is in MiB,
    `stop_grace` in seconds. `kind` is container, or service if supervisor or systemd runs the server. `signals_all`:
    the workers get the stop signal too. `prestop` is False for a Kubernetes container without a preStop hook. `volumes`
    are pairs (here, inside)."""

    source: str
    memory: float | None = None
    stop_grace: float | None = None
    stop_signal: str | None = None
    somaxconn: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    nofile: int | None = None
    prestop: bool | None = None
    signals_all: bool = False
    kind: str = "container"
    command: tuple[str, ...] = ()
    folder: str = ""
    dockerfile: Path | None = None
    volumes: tuple[tuple[str, str], ...] = ()


def parse_duration(text: str) -> float:
    """`90`, `90s`, `1m30s` or `1min 30s` in seconds, as Compose and systemd write them."""
    parts = re.findall(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if not parts or re.sub(r"\s", "", text) != "".join(map("".join, parts)) or not all(u in _SECONDS for _, u in parts):
        raise ValueError(f"{text!r} is no duration; write 90s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def read_container(
    path: Path, service: str | None, environ: Mapping[str, str] = os.environ, dot_env: bool = True
) -> Container:
    """The container in `path` that runs the server; `service` names it if there are several. Without `dot_env` the
    `.env` beside a Compose file is ignored, as Compose does when it is given another one.

    Raises UnreadableError, with what to do, when the file or the container cannot be understood.
    """
    documents = [document for document in _parse(path) if isinstance(document, dict)]
    found: list[Container] = []
    try:
        documents = [part for document in documents for part in _listed(document)]
        configs = (document for document in documents if document.get("kind") == "ConfigMap")
        maps = {config["metadata"]["name"]: config.get("data") or {} for config in configs}
        for document in documents:
            if isinstance(document.get("services"), dict):
                services = compose.services(path, document, environ, dot_env)
                found += [_compose(name, definition, path.parent) for name, definition in services.items()]
            elif "kind" in document:
                found += _kubernetes(document, maps)
            elif "Resources" in document:
                found += _cloudformation(document)
            else:
                found += list(_helm("values", document)) or _ecs(document.get("taskDefinition", document))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        missing = " is missing" if isinstance(error, KeyError) else ""
        raise UnreadableError(f"{path}: not understood: {error}{missing}") from None
    containers = {container.source.partition(" ")[2]: container for container in found}
    if not containers:
        raise UnreadableError(f"{path}: no Compose service, Kubernetes container or ECS container in it")
    texts = {name: " ".join((*container.command, *container.environment)) for name, container in containers.items()}
    serving = [name for name, text in texts.items() if _SERVES.search(text)]
    likely = list(containers) if len(containers) == 1 else serving
    service = likely[0] if service is None and len(likely) == 1 else service
    if service not in containers:
        asked = f"no container {service!r}" if service else "several containers"
        raise UnreadableError(f"{path}: {asked}; choose with --service: {', '.join(sorted(containers))}")
    return containers[service]


def _parse(path: Path) -> list[Any]:
    text = read_text(path)
    if path.suffix == ".json":
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"{path}: no valid JSON: {error}") from None
    try:
        import yaml
    except ImportError:
        raise UnreadableError(
            f"{path}: reading it needs PyYAML (pip install pyyaml); or give --memory and --stop-grace"
        ) from None

    class Loader(yaml.SafeLoader):
        """A SafeLoader that reads CloudFormation's !Ref as its long form, and !Sub and other tags as unknown values."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: {"Ref": node.value} if suffix == "Ref" else None)
    try:
        return list(yaml.load_all(text, Loader=Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_line = str(error).partition("\n")[0]
        hint = "; it is the text of a template: render it first (helm template)" if re.search("{{|<%", text) else ""
        raise UnreadableError(f"{path}: no valid YAML: {first_line}{hint}") from None


def _listed(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents in a Kubernetes List, or the document itself if it is not a List."""
    if document.get("kind") != "List":
        return [document]
    return [part for item in document.get("items") or [] for part in _listed(item)]


def _words(value: Any) -> tuple[str, ...]:
    """A command as a list of words. A command that is one text is split, as Compose does, without a shell."""
    return tuple(shlex.split(value) if isinstance(value, str) else map(str, value or ()))


def _compose(name: str, service: dict[str, Any], folder: Path) -> Container:
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = service.get("mem_limit") or limits.get("memory")
    grace = service.get("stop_grace_period")
    sysctls = service.get("sysctls") or {}
    sysctls = dict(item.split("=", 1) for item in sysctls) if isinstance(sysctls, list) else sysctls
    somaxconn = sysctls.get("net.core.somaxconn")
    nofile = (service.get("ulimits") or {}).get("nofile")
    build = service.get("build")
    build = {"context": build} if isinstance(build, str) else build
    given = service.get("volumes") or []
    volumes = (v.split(":") if isinstance(v, str) else [v.get("source", ""), v.get("target", "")] for v in given)
    return Container(
        source=f"service {name}",
        nofile=int(nofile.get("soft", 0) if isinstance(nofile, dict) else nofile) if nofile else None,
        command=_words(service.get("entrypoint")) + _words(service.get("command")),
        folder=service.get("working_dir") or "",
        dockerfile=folder / build.get("context", ".") / build.get("dockerfile", "Dockerfile") if build else None,
        volumes=tuple((volume[0], volume[1]) for volume in volumes if len(volume) > 1),
        memory=docker_mb(str(memory)) if memory else None,
        stop_grace=parse_duration(str(grace)) if grace else COMPOSE_GRACE,
        stop_signal=service.get("stop_signal"),
        somaxconn=int(somaxconn) if somaxconn else None,
        environment={key: str(value) for key, value in (service.get("environment") or {}).items() if value is not None},
    )


def _kubernetes(document: dict[str, Any], maps: Mapping[Any, Any]) -> Iterator[Container]:
    """`maps` are the ConfigMaps of the same file. Values from a Secret are not read."""
    spec = document.get("spec") or {}
    for step in ("jobTemplate", "spec", "template", "spec"):
        spec = spec.get(step, spec) or {}
    sysctls = {item["name"]: item["value"] for item in (spec.get("securityContext") or {}).get("sysctls") or []}
    somaxconn = sysctls.get("net.core.somaxconn")
    # An init container that is always restarted is a sidecar, which runs beside the others.
    sidecars = [init for init in spec.get("initContainers") or [] if init.get("restartPolicy") == "Always"]
    for container in [*sidecars, *(spec.get("containers") or [])]:
        environment: dict[str, Any] = {}
        for source in container.get("envFrom") or []:
            environment |= maps.get((source.get("configMapRef") or {}).get("name"), {})
        for item in container.get("env") or []:
            key = (item.get("valueFrom") or {}).get("configMapKeyRef") or {}
            environment[item["name"]] = item.get("value", maps.get(key.get("name"), {}).get(key.get("key")))
        memory = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        yield Container(
            source=f"container {container['name']}",
            command=_words(container.get("command")) + _words(container.get("args")),
            folder=container.get("workingDir") or "",
            prestop="preStop" in (container.get("lifecycle") or {}),
            memory=kubernetes_mb(str(memory)) if memory else None,
            stop_grace=float(spec.get("terminationGracePeriodSeconds", KUBERNETES_GRACE)),
            somaxconn=int(somaxconn) if somaxconn else None,
            environment={name: str(value) for name, value in environment.items() if value is not None},
        )


def _helm(name: str, values: Any) -> Iterator[Container]:
    """The containers that the values of a chart describe: wherever UWSGI_... is set, with the limits beside it."""
    for key, value in values.items() if isinstance(values, dict) else ():
        listed = isinstance(value, list) and all(isinstance(item, dict) for item in value)
        environment = {item.get("name"): item.get("value") for item in value} if listed else value
        if isinstance(environment, dict) and any(str(name).startswith("UWSGI_") for name in environment):
            memory = ((values.get("resources") or {}).get("limits") or {}).get("memory")
            yield Container(
                source=f"container {name}",
                memory=kubernetes_mb(str(memory)) if memory else None,
                stop_grace=float(values.get("terminationGracePeriodSeconds", KUBERNETES_GRACE)),
                environment={str(name): str(item) for name, item in environment.items() if item is not None},
            )
        else:
            yield from _helm(str(key), value)


def _cloudformation(template: dict[str, Any]) -> Iterator[Container]:
    """The task definitions of a template. A reference to a parameter gets its default; any other is unknown."""
    defaults = {name: parameter.get("Default") for name, parameter in (template.get("Parameters") or {}).items()}

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"Ref"}:
                return defaults.get(value["Ref"])
            return {key: resolved(item) for key, item in value.items()}
        return [resolved(item) for item in value] if isinstance(value, list) else value

    for resource in template["Resources"].values():
        if resource.get("Type") == "AWS::ECS::TaskDefinition":
            yield from _ecs(resolved(resource["Properties"]))


def _ecs(task: dict[str, Any]) -> Iterator[Container]:
    """The containers of a task definition. CloudFormation writes the same keys with a capital."""

    def get(mapping: dict[str, Any], name: str) -> Any:
        return mapping.get(name, mapping.get(name[0].upper() + name[1:]))

    for container in get(task, "containerDefinitions") or []:
        name = get(container, "name") or "container"
        memory = _integer(get(container, "memory")) or _integer(get(task, "memory"))
        controls = {get(item, "namespace"): get(item, "value") for item in get(container, "systemControls") or []}
        environment = {get(item, "name"): get(item, "value") for item in get(container, "environment") or []}
        yield Container(
            source=f"container {name}",
            command=_words(get(container, "entryPoint")) + _words(get(container, "command")),
            memory=float(memory) if memory else None,
            stop_grace=float(_integer(get(container, "stopTimeout")) or ECS_GRACE),
            somaxconn=_integer(controls.get("net.core.somaxconn")),
            environment={key: str(value) for key, value in environment.items() if key and value is not None},
        )


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None
