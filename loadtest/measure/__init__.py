"""Measuring one variant or a deployment: starting it, sending the load, and sampling its memory meanwhile."""

from stack import Failed

# The measurement cannot go on, often because the stack did not start; the message says why and what to do.
CannotMeasure = Failed
