"""Writes the measured figures into lowtide.toml, whose comments and other keys stay as they are."""

from pathlib import Path

from lowtide.sizing import Load
from lowtide.tools.size.sources import Unusable


def terms(load: Load) -> dict[str, float]:
    """The keys of [measured]."""
    figures = {
        "workers": load.workers,
        "idle_mb": load.idle_mb,
        "worker_rss_mb": load.worker_rss_mb,
        "worker_private_mb": load.worker_private_mb,
        "large_mb": load.large_mb,
    }
    return {name: value for name, value in figures.items() if value is not None}


def apply(load: Load, file: Path) -> None:
    """Write the figures into the file.

    Raises:
        Unusable: it cannot be read, is not TOML, or tomlkit is not installed.
    """
    try:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError
    except ImportError:
        raise Unusable("--apply needs the package tomlkit: pip install tomlkit") from None
    try:
        document = tomlkit.parse(file.read_text())
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise Unusable(f"{file} is not TOML: {error}") from None
    section = document.setdefault("measured", tomlkit.table())
    if not isinstance(section, dict):
        raise Unusable(f"{file}: measured is no table: write [measured]")
    wanted = {name: int(value) if float(value).is_integer() else round(value, 1) for name, value in terms(load).items()}
    for name in section.keys() - wanted.keys():
        del section[name]
    for name, value in wanted.items():
        section[name] = value
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_text(tomlkit.dumps(document))
    unfinished.replace(file)
