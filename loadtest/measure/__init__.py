"""Measuring one variant or a deployment: what starts, samples and asks it."""

from stack import Failed

# The measurement cannot go on, often because the stack could not; the message says why and what to do.
CannotMeasure = Failed
