"""Compose, ECS and Kubernetes have the same numbers, which are those of lowtide/sizing.py."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from deploy import memory
from deploy.aws.environment import TMPFS_MB, Limits, Refused, limits
from lowtide import application, defaults, sizing
from tests.machine import CHECKOUT

SETTINGS = ("WORKERS", "LARGE_WORKERS", "RELOAD_ON_RSS", "GIVE_BACK_MB", "MAX_BODY_MB")
TMP = "/tmp"  # noqa: S108 - in the container


def compose() -> dict[str, str]:
    """The defaults in docker-compose.yml (`${NAME:-default}`), which must be the same wherever a name occurs."""
    defaults_by_name = set(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (CHECKOUT / "docker-compose.yml").read_text()))
    assert len(defaults_by_name) == len(dict(defaults_by_name)), (
        f"two defaults for one name: {sorted(defaults_by_name)}"
    )
    return dict(defaults_by_name)


def example() -> dict[str, str]:
    """The values that `make up` writes to .env, which win over the defaults of docker-compose.yml."""
    return {name: value for name, value in dotenv_values(CHECKOUT / ".env.example").items() if value is not None}


def ecs(parsed: dict[str, Any]) -> dict[str, Any]:
    """The defaults of the parameters that the task definition passes on."""
    rules = parsed["service"]["Parameters"]
    app = parsed["service"]["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
    parameters = {
        variable["Name"]: rules[variable["Value"]["Ref"]].get("Default")
        for variable in app["Environment"]
        if "Ref" in variable["Value"]
    }
    return parameters | {
        "hard": rules[app["Memory"]["Ref"]]["Default"],
        "soft": rules[app["MemoryReservation"]["Ref"]]["Default"],
    }


def kubernetes(objects: list[dict[str, Any]]) -> dict[str, Any]:
    settings: dict[str, Any]
    (settings,) = [manifest["data"] for manifest in objects if manifest["kind"] == "ConfigMap"]
    (site,) = [manifest for manifest in objects if manifest["kind"] == "Deployment"]
    (app,) = site["spec"]["template"]["spec"]["initContainers"]
    resources = app["resources"]
    return settings | {
        "hard": int(resources["limits"]["memory"].removesuffix("Mi")),
        "soft": int(resources["requests"]["memory"].removesuffix("Mi")),
    }


def measured() -> sizing.Load:
    load = sizing.measured(application.read(CHECKOUT / "app"))
    assert load
    return load


def rule(settings: dict[str, Any]) -> tuple[int, int]:
    hosts = limits(*(int(settings[name]) for name in ("WORKERS", "LARGE_WORKERS", "RELOAD_ON_RSS")))
    return hosts.hard_mb, hosts.soft_mb


@pytest.mark.parametrize("name", SETTINGS)
def test_all_have_the_default_settings(name: str, parsed: dict[str, Any], manifests: dict[str, Any]) -> None:
    values = {str(getattr(defaults, name)), compose()[name], example()[name], str(ecs(parsed)[name])}
    values |= {kubernetes(manifests[overlay])[name] for overlay in ("overlays/small", "overlays/production")}
    assert len(values) == 1, values


def test_ecs_follows_the_rule(parsed: dict[str, Any]) -> None:
    settings = ecs(parsed)
    assert (settings["hard"], settings["soft"]) == rule(settings)


@pytest.mark.parametrize("overlay", ["overlays/small", "overlays/production"])
def test_kubernetes_follows_the_rule(overlay: str, manifests: dict[str, Any]) -> None:
    settings = kubernetes(manifests[overlay])
    assert (settings["hard"], settings["soft"]) == rule(settings)


def test_compose_leaves_at_least_what_the_rule_asks_for() -> None:
    hard, _ = rule(compose())
    for settings in (compose(), example()):
        assert settings["APP_MEMORY"].endswith("g")
        assert int(settings["APP_MEMORY"].removesuffix("g")) * 1024 >= hard


def test_files_in_tmp_count_as_the_container_does(parsed: dict[str, Any], manifests: dict[str, Any]) -> None:
    """All three allow /tmp the same size, and the memory limit has room for it."""
    app = parsed["service"]["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
    assert app["LinuxParameters"]["Tmpfs"] == [{"ContainerPath": TMP, "Size": TMPFS_MB, "MountOptions": ["mode=1777"]}]
    for overlay in ("overlays/small", "overlays/production"):
        (site,) = [manifest for manifest in manifests[overlay] if manifest["kind"] == "Deployment"]
        volumes = {volume["name"]: volume["emptyDir"] for volume in site["spec"]["template"]["spec"]["volumes"]}
        assert volumes["tmp"] == {"medium": "Memory", "sizeLimit": f"{TMPFS_MB}Mi"}
    services = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    assert services["app"]["tmpfs"] == [f"{TMP}:mode=1777,size={TMPFS_MB}m"]


def test_limits_are_the_rule_and_tmp() -> None:
    bound = sizing.bound(measured(), 6, 2, 100, 200)
    limit = limits(6, 2, 100, 200)
    assert bound.total_mb + TMPFS_MB <= limit.hard_mb < bound.total_mb + TMPFS_MB + sizing.STEP_MB
    assert bound.rest_mb + TMPFS_MB <= limit.soft_mb < bound.rest_mb + TMPFS_MB + sizing.STEP_MB


def test_memory_is_refused_just_below_what_is_needed() -> None:
    need = sizing.bound(measured(), 4, 1, 128).total_mb + TMPFS_MB
    assert limits(4, 1, 128, memory=int(need) + 1).hard_mb == int(need) + 1
    with pytest.raises(Refused, match="too small for the workers"):
        limits(4, 1, 128, memory=int(need) - 1)


def test_limits_are_written_into_all_manifests(tmp_path: Path) -> None:
    """`make size ARGS=--apply` on a copy, with other limits and then with those that ship."""
    for name, _, _ in memory.PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / "deploy" / name, tmp_path / name)
    shipped = limits(defaults.WORKERS, defaults.LARGE_WORKERS, defaults.RELOAD_ON_RSS)
    assert memory.write(shipped, tmp_path) == []
    changed = memory.write(Limits(1808, 1440), tmp_path)
    assert set(changed) == {name for name, _, _ in memory.PLACES}
    assert all((tmp_path / name).read_text().count("1808") == 1 for name in changed)
    assert all((tmp_path / name).read_text().count("1440") == 1 for name in changed)
    memory.write(shipped, tmp_path)
    assert all((tmp_path / name).read_text() == (CHECKOUT / "deploy" / name).read_text() for name in changed)
