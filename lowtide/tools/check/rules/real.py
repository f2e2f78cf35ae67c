"""Rules about what a real uWSGI on this machine says of the same file."""

from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.rules.base import Context, rule


@rule("uwsgi-refuses", "Configuration.html")
def uwsgi_refuses(context: Context) -> Iterator[Finding]:
    """The uWSGI installed here was given the file, without serving, and exited before it had read all of it."""
    if context.comparison and context.comparison.refusal:
        yield context.finding(
            None,
            Level.ERROR,
            f"uWSGI {context.comparison.version} refuses this configuration: {context.comparison.refusal}",
            "Start it by hand to see all of its output.",
        )


@rule("reading-differs", "Configuration.html")
def reading_differs(context: Context) -> Iterator[Finding]:
    """The uWSGI installed here loaded other values than this check read, so findings about them may be wrong: a
    mistake in this check, worth reporting."""
    for ours, theirs in context.comparison.differences if context.comparison else ():
        yield context.finding(
            None,
            Level.WARNING,
            f"This check reads `{ours}` where uWSGI {context.comparison.version if context.comparison else ''} loads "
            f"`{theirs}`.",
            "Trust uWSGI, and report the file.",
            effective=theirs,
        )
