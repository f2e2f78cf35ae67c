"""Rules about how a real uWSGI on this machine reads the same file."""

from lowtide.tools.check.rules.base import ERROR, MEMORY, WARNING, Context, Findings, rule, say


# Below ENDS, so that a rule that knows the reason comes first.
@rule("uwsgi-refuses", "Configuration.html", weight=MEMORY)
def uwsgi_refuses(c: Context) -> Findings:
    """The uWSGI installed here was given the file, without serving, and exited before it had read all of it."""
    if c.comparison.refusal:
        message = f"uWSGI {c.comparison.version} refuses this configuration: {c.comparison.refusal}"
        yield say(c, None, ERROR, message, "Start it by hand to see all of its output.")


@rule("reading-differs", "Configuration.html")
def reading_differs(c: Context) -> Findings:
    """The uWSGI installed here loaded other values than this check read, so findings about them may be wrong: a
    mistake in this check, worth reporting."""
    for read_here, loaded in c.comparison.differences:
        message = f"This check reads `{read_here}` where uWSGI {c.comparison.version} loads `{loaded}`."
        yield say(c, None, WARNING, message, "Trust uWSGI, and report the file.", loaded)
