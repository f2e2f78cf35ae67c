"""What is asked of AWS before anything is changed. Every function only reads, and raises Refused with the reason."""

from fnmatch import fnmatchcase

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from deploy.aws import variables
from deploy.aws.environment import Environment, Refused

PREFIX_LIST = "com.amazonaws.global.cloudfront.origin-facing"
# The images: the parameter of the templates, and the Dockerfile's target, which is also in the repository's name.
IMAGES = {"AppImage": "app", "NginxImage": "nginx", "LocustImage": "locust"}


def account(session: boto3.Session, environment: Environment) -> None:
    """Check that the credentials belong to the environment's account."""
    try:
        credentials_account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise Refused(
            f"AWS does not know who is asking: {error}. Sign in first (`aws sso login`, AWS_PROFILE)."
        ) from None
    if credentials_account != environment.account:
        raise Refused(
            f"These credentials are of account {credentials_account}, {environment.name} is in {environment.account}."
        )


def certificates(session: boto3.Session, environment: Environment) -> None:
    """Check that both certificates exist, are issued, and are for the domain."""
    for key, arn in (
        ("certificate", environment.certificate),
        ("cloudfront_certificate", environment.cloudfront_certificate),
    ):
        client = session.client("acm", region_name=arn.split(":")[3])
        try:
            certificate = client.describe_certificate(CertificateArn=arn)["Certificate"]
        except ClientError as error:
            raise Refused(f"{key}: {arn} cannot be read: {error.response['Error']['Message']}") from None
        names = {certificate["DomainName"], *certificate.get("SubjectAlternativeNames", [])}
        if not any(_covers(name, environment.domain) for name in names):
            raise Refused(f"{key}: {arn} is for {', '.join(sorted(names))}, not for {environment.domain}.")
        if certificate["Status"] != "ISSUED":
            raise Refused(f"{key}: {arn} is {certificate['Status']}, not ISSUED: finish its validation in DNS first.")


def _covers(pattern: str, domain: str) -> bool:
    """Whether a certificate's name is the domain's; a star stands for one label (RFC 6125)."""
    return fnmatchcase(domain, pattern) and pattern.count(".") == domain.count(".")


def repository(target: str) -> str:
    """The repository in ECR of one of the Dockerfile's targets."""
    return f"{variables.service()}-{target}"


def digest(session: boto3.Session, environment: Environment, target: str, revision: str) -> str | None:
    """The digest under which ECR holds the image of a revision; None where it does not."""
    try:
        answer = session.client("ecr").describe_images(
            registryId=environment.account, repositoryName=repository(target), imageIds=[{"imageTag": revision}]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ImageNotFoundException", "RepositoryNotFoundException"):
            return None
        raise
    image_digest: str = answer["imageDetails"][0]["imageDigest"]
    return image_digest


def images(session: boto3.Session, environment: Environment, revision: str, parameters: list[str]) -> dict[str, str]:
    """The images of a revision by digest, under the names of the templates' parameters."""
    suffix = "amazonaws.com.cn" if environment.region.startswith("cn-") else "amazonaws.com"
    host = f"{environment.account}.dkr.ecr.{environment.region}.{suffix}"
    by_parameter = {}
    for parameter in parameters:
        target = IMAGES[parameter]
        name = digest(session, environment, target, revision)
        if not name:
            raise Refused(
                f"There is no image {repository(target)}:{revision} in {environment.account} {environment.region}. "
                f"Build and push it: python -m deploy.aws push {environment.name}"
            )
        by_parameter[parameter] = f"{host}/{repository(target)}@{name}"
    return by_parameter


def prefix_list(session: boto3.Session) -> str:
    """The id of the region's list of the addresses from which CloudFront calls origins."""
    answer = session.client("ec2").describe_managed_prefix_lists(
        Filters=[{"Name": "prefix-list-name", "Values": [PREFIX_LIST]}]
    )
    if not answer["PrefixLists"]:
        raise Refused(f"This region has no prefix list {PREFIX_LIST}: CloudFront cannot reach a VPC in it.")
    identifier: str = answer["PrefixLists"][0]["PrefixListId"]
    return identifier
