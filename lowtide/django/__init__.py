"""Lowtide for Django projects: health checks, request ids, preloading before the fork, the command `diagnose`."""
