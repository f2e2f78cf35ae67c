"""Where lowtide.toml is. lowtide.application reads it; this module is apart because it takes less time to load."""

import os
from pathlib import Path

NAME = "lowtide.toml"


def find() -> Path | None:
    """The folder of this process's application; None where there is no lowtide.toml."""
    if folder := os.environ.get("APP_DIR"):
        return Path(folder)
    return next((folder for folder in (Path("app"), Path()) if (folder / NAME).exists()), None)
