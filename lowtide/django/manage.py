"""Runs the manage.py of any application:

    python -m lowtide.django.manage FOLDER/manage.py WORDS...

Two errors have their cause in the environment: a setting that cannot be used, and a database that cannot be reached.
They end as one line in place of a traceback. A statement of a command may take any time, because a migration may.
"""

import os
import runpy
import sys
from pathlib import Path


def _cause(error: Exception) -> str:
    """What to say of this error; empty for an error that needs its traceback."""
    # Imported here, because the manage.py of an application that is none of Django's runs without Django.
    from django.core.exceptions import ImproperlyConfigured
    from django.db import OperationalError, connection

    if isinstance(error, ImproperlyConfigured):
        return str(error)
    if isinstance(error, OperationalError) and connection.connection is None:
        # The first line names the server and the cause.
        return f"the database of DATABASE_URL cannot be reached: {str(error).splitlines()[0]}"
    return ""


def main(script: str, words: list[str]) -> None:
    os.environ["DATABASE_TIMEOUT"] = "0"
    # As if Python had been given the script: its folder is where modules are found first.
    sys.argv = [script, *words]
    sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
        said = _cause(error) if "django.db" in sys.modules else ""
        if not said:
            raise
        sys.exit(f"manage.py: {said}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
