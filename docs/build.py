"""Build the docs as a site, in var/docs: `make docs`. A link that leads nowhere ends it with exit code 1.

The site has three more pages than this folder: README, CHANGELOG and CONTRIBUTING, which stand at the top of the
repository.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
# mkdocs.yml names it too.
PAGES = CHECKOUT / "var/docs-pages"
AT_THE_TOP = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def linked(text: str) -> str:
    """The text with links to files at the top led to their pages."""
    for name, page in AT_THE_TOP.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({page}", text)
    return text


def main() -> int:
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(CHECKOUT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in PAGES.glob("*.md"):
        path.write_text(linked(path.read_text()))
    for name, page in AT_THE_TOP.items():
        text = (CHECKOUT / name).read_text().replace("](docs/", "](")
        (PAGES / page).write_text(linked(text))
    built = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if built.returncode:
        print(built.stdout.split("Traceback")[0].strip(), file=sys.stderr)
        return 1
    print("var/docs/index.html")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
