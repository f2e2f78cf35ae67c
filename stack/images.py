"""Pins the base images of other people by digest, in the files that name them: `make images`.

A tag can be moved to another image, by its owner or by whoever has the owner's password; a digest always names the same
bytes. The registries are asked with `docker buildx imagetools`, which downloads nothing. Run it again to get newer
images under the same tags. Exit codes: 0 all are pinned, 2 nothing was changed, and a line says why.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from stack import CHECKOUT, Failed

FILES = ("Dockerfile", "docker-compose.yml", ".devcontainer/Dockerfile")
# An image with a tag. Images without one are stages of a Dockerfile, or built here.
IMAGE = re.compile(r"^(FROM |\s+image: )([\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?(?=\s|$)", re.MULTILINE)
ASK = ("docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}")


def digest(image: str) -> str:
    """The digest that the registry has for an image now.

    Raises:
        Failed: nobody could say.
    """
    try:
        done = subprocess.run([*ASK, image], capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            told = json.loads(done.stdout)["digest"]
            if re.fullmatch("sha256:[0-9a-f]{64}", told):
                return str(told)
        problem = (done.stderr.strip().splitlines() or ["no digest"])[-1]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        problem = str(error)
    raise Failed(f"{image}: its registry could not be asked, so nothing was changed: {problem}")


def main(checkout: Path = CHECKOUT) -> int:
    texts = {checkout / name: (checkout / name).read_text() for name in FILES if (checkout / name).exists()}
    names = sorted({match[2] for text in texts.values() for match in IMAGE.finditer(text)})
    try:
        digests = {name: digest(name) for name in names}
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    for path, text in texts.items():
        path.write_text(IMAGE.sub(lambda match: f"{match[1]}{match[2]}@{digests[match[2]]}", text))
    for name in names:
        print(f"{name}@{digests[name]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
