"""Asks which Python packages of the images have known vulnerabilities, with pip-audit: `make audit`.

pip-audit also says "No known vulnerabilities found" of packages that its service does not know, or did not answer for.
Here that is a failure. Exit codes: 0 none is known, 1 some are, 2 not all packages could be asked about.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stack import CHECKOUT

PIP_AUDIT = CHECKOUT / ".venv-audit/bin/pip-audit"
FILES = ("app", "postgresql", "uwsgi", "telemetry", "locust")


def report(pip_audit: Path) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each package, and its last line where it failed."""
    files = [word for name in FILES for word in ("-r", f"requirements/{name}.txt")]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "report.json")
        options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", f"--output={told}"]
        done = subprocess.run([pip_audit, *options, *files], cwd=CHECKOUT, capture_output=True, text=True)
        if told.exists():
            packages: list[dict[str, Any]] = json.loads(told.read_text())["dependencies"]
            return packages, ""
    return [], (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def main(pip_audit: Path = PIP_AUDIT) -> int:
    packages, problem = report(pip_audit)
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}")
    if problem:
        print(f"Nothing was audited, because pip-audit failed: {problem}", file=sys.stderr)
        return 2
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        print(
            f"{len(skipped)} of {len(packages)} packages were not audited, because the service does not know them: "
            f"{', '.join(skipped)}",
            file=sys.stderr,
        )
    else:
        print(f"{len(packages)} packages, {len(vulnerable)} of them vulnerable")
    return 1 if vulnerable else 2 if skipped else 0


if __name__ == "__main__":
    raise SystemExit(main())
