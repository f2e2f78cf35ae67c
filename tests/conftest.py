"""The environment that the application's settings need, before Django reads it."""

import os

import django

os.environ.setdefault("SECRET_KEY", "for-tests-only-" + "0123456789abcdefghijklmnopqrstuvwxyz")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()
