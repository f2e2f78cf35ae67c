"""Amounts of memory as Docker and Kubernetes write them."""

import pytest

from lowtide.tools.sizes import docker_mb, kubernetes_mb


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("1g", 1024),
        ("512m", 512),
        ("1.5GiB", 1536),
        ("512MB", 512),
        ("1Gi", 1024),
        ("1048576b", 1),
        ("1048576", 1),
        ("2048k", 2),
    ],
)
def test_docker(text: str, mib: float) -> None:
    assert docker_mb(text) == mib


@pytest.mark.parametrize("text", ["", "much", "1x", "1i", "-1g", "1 g g"])
def test_what_docker_does_not_know(text: str) -> None:
    with pytest.raises(ValueError, match="write 512m"):
        docker_mb(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("128974848", 128974848), ("129M", 129e6), ("123Mi", 123 * 2**20), ("500m", 0.5)]
)
def test_kubernetes(text: str, size: float) -> None:
    assert kubernetes_mb(text) * 2**20 == size


@pytest.mark.parametrize("text", ["", "1X", "Mi", "1,5Gi"])
def test_what_kubernetes_does_not_know(text: str) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        kubernetes_mb(text)
