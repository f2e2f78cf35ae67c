#!/usr/bin/env python3
"""Django's command line: `python app/manage.py help`."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, connection

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # A migration may take long, so statements have no time limit here.
    os.environ["DATABASE_TIMEOUT"] = "0"
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"manage.py: {error}")
    except OperationalError as error:
        if connection.connection is not None:
            raise
        # The first line names the server and the cause, and a traceback would add nothing.
        sys.exit(f"manage.py: the database of DATABASE_URL cannot be reached: {str(error).splitlines()[0]}")
