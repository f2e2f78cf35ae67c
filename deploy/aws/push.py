"""Building the images and pushing them to ECR under the commit's name."""

import base64
import subprocess
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from deploy.aws import preflight
from deploy.aws.environment import Environment, Refused
from deploy.aws.stacks import Failed

CHECKOUT = Path(__file__).resolve().parents[2]
_SCAN_S = 300


def images(session: boto3.Session, environment: Environment, revision: str) -> None:
    """Push what ECR does not have yet, and wait for what its scan finds.

    Raises:
        Refused: the checkout is not that commit, unchanged, so the images would not be what their name says.
        Failed: a build or a push failed, or a scan found something critical.
    """
    targets = list(preflight.IMAGES.values())
    missing = [target for target in targets if not preflight.digest(session, environment, target, revision)]
    if missing:
        _clean(revision)
        answer = session.client("ecr").get_authorization_token()["authorizationData"][0]
        host = answer["proxyEndpoint"].removeprefix("https://")
        user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        _docker("login", "--username", user, "--password-stdin", host, given=password)
        for target in missing:
            name = f"{host}/{preflight.repository(target)}:{revision}"
            _docker("build", "--target", target, "--build-arg", f"REVISION={revision}", "--tag", name, ".")
            _docker("push", name)
    for target in targets:
        critical = _critical(session, target, revision)
        word = "pushed" if target in missing else "was there"
        name = f"{preflight.repository(target)}:{revision}"
        print(f"{name} {word}, {critical} critical findings")
        if critical:
            raise Failed(f"ECR's scan of {name} found {critical} critical vulnerabilities.")


def _clean(revision: str) -> None:
    head = _git("rev-parse", "HEAD")
    if head != revision or _git("status", "--porcelain", "--untracked-files=no"):
        raise Refused(
            f"The checkout is not exactly {revision}: commit, or check it out, so that the images are what they say."
        )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


def _docker(*words: str, given: str | None = None) -> None:
    if subprocess.run(["docker", *words], cwd=CHECKOUT, input=given, text=True).returncode:
        raise Failed(f"docker {words[0]} failed.")


def _critical(session: boto3.Session, target: str, revision: str) -> int:
    """How many critical findings ECR's scan of an image has. Waits until the scan is done."""
    ecr = session.client("ecr")
    name = preflight.repository(target)
    end = time.monotonic() + _SCAN_S
    while time.monotonic() < end:
        try:
            scan = ecr.describe_image_scan_findings(repositoryName=name, imageId={"imageTag": revision})
        except ClientError as error:
            if error.response["Error"]["Code"] != "ScanNotFoundException":
                raise
            scan = {}
        status = scan.get("imageScanStatus", {}).get("status", "PENDING")
        if status in ("COMPLETE", "ACTIVE"):
            return int(scan.get("imageScanFindings", {}).get("findingSeverityCounts", {}).get("CRITICAL", 0))
        if status not in ("PENDING", "IN_PROGRESS"):
            raise Failed(f"ECR could not scan {name}:{revision}: {scan['imageScanStatus'].get('description', status)}")
        time.sleep(5)
    raise Failed(f"ECR's scan of {name}:{revision} is not through after {_SCAN_S} s.")
