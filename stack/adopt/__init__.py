"""Brings a Django project into this checkout in place of the sample application (docs/adopt.md)."""
