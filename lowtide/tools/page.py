"""Reads a page of metrics, in Prometheus' text format. prometheus-client parses it, and is imported only here."""

from typing import NamedTuple


class NoPage(Exception):
    """The text is no page of metrics, or nothing can read one; the message says which."""


class Sample(NamedTuple):
    """One line of the page."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> list[Sample]:
    """The lines of a page.

    Raises:
        NoPage: it is none.
    """
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError:
        raise NoPage("prometheus-client is not installed: pip install prometheus-client") from None
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise NoPage(f"this is no page of metrics: {error}") from None
    return [Sample(line.name, line.labels, line.value) for family in families for line in family.samples]
