"""Measuring one variant or a deployment: what starts, samples and asks it."""


class CannotMeasure(Exception):
    """The measurement cannot go on; the message says why and what to do."""
