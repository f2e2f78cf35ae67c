"""One-off tasks on ECS: the migrations before a rollout, and the load test."""

import time
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from deploy.aws.stacks import Failed

_WAIT_S = 5


def start(
    session: boto3.Session, known: dict[str, str], task: str, group: str, command: list[str] | None = None
) -> str:
    """Start one task in the private subnets; returns its ARN. `command` replaces the command of its only container."""
    ecs = session.client("ecs")
    overrides: dict[str, Any] = {}
    if command:
        described = ecs.describe_task_definition(taskDefinition=task)["taskDefinition"]
        overrides = {"containerOverrides": [{"name": described["containerDefinitions"][0]["name"], "command": command}]}
    answer = ecs.run_task(
        cluster=known["Cluster"],
        taskDefinition=task,
        capacityProviderStrategy=[{"capacityProvider": known["CapacityProvider"], "weight": 1}],
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": [known["PrivateSubnetA"], known["PrivateSubnetB"]],
                "securityGroups": [group],
                "assignPublicIp": "DISABLED",
            }
        },
        overrides=overrides,
    )
    if answer.get("failures") or not answer["tasks"]:
        raise Failed(f"ECS did not start {task}: {answer.get('failures')}")
    arn: str = answer["tasks"][0]["taskArn"]
    return arn


def describe(session: boto3.Session, known: dict[str, str], arn: str) -> dict[str, Any]:
    """What ECS says of a task.

    Raises:
        Failed: nothing, because the task stopped an hour ago or never was.
    """
    answer = session.client("ecs").describe_tasks(cluster=known["Cluster"], tasks=[arn])
    if not answer["tasks"]:
        raise Failed(f"ECS says nothing of {arn}: {answer.get('failures')}")
    task: dict[str, Any] = answer["tasks"][0]
    return task


def stop_all(session: boto3.Session, known: dict[str, str], arns: list[str], reason: str) -> None:
    """End every task, also if one of them cannot be ended. It is no error if one has ended already.

    Raises:
        Failed: some could not be ended.
    """
    ecs, running = session.client("ecs"), []
    for arn in arns:
        try:
            ecs.stop_task(cluster=known["Cluster"], task=arn, reason=reason)
        except (BotoCoreError, ClientError) as problem:
            running.append(f"{arn} ({problem})")
    if running:
        raise Failed(f"These tasks may still send load, stop them: {', '.join(running)}.")


def wait(session: boto3.Session, known: dict[str, str], arn: str, seconds: float) -> int:
    """The exit code of a task's only container, once it has stopped.

    Raises:
        Failed: it is still running after `seconds`, or it never ran.
    """
    end = time.monotonic() + seconds
    while (task := describe(session, known, arn))["lastStatus"] != "STOPPED":
        if time.monotonic() > end:
            raise Failed(f"{arn} is still {task['lastStatus']} after {seconds:.0f} s. It goes on; look at its log.")
        time.sleep(_WAIT_S)
    container = (task.get("containers") or [{}])[0]
    if "exitCode" not in container:
        raise Failed(f"{arn} never ran: {container.get('reason') or task.get('stoppedReason', 'no reason given')}")
    code: int = container["exitCode"]
    return code


def address(session: boto3.Session, known: dict[str, str], arn: str, seconds: float) -> str:
    """The private address of a task, once it has one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        task = describe(session, known, arn)
        details = [pair for attachment in task.get("attachments", []) for pair in attachment.get("details", [])]
        for pair in details:
            if pair["name"] == "privateIPv4Address":
                private_address: str = pair["value"]
                return private_address
        if task["lastStatus"] == "STOPPED":
            break
        time.sleep(_WAIT_S)
    raise Failed(f"{arn} has no address: {task.get('stoppedReason', 'not started in time')}")


def log(session: boto3.Session, group: str, stream_prefix: str, container: str, arn: str, lines: int = 30) -> str:
    """The last lines that a task wrote."""
    stream = f"{stream_prefix}/{container}/{arn.rsplit('/', 1)[-1]}"
    try:
        answer = session.client("logs").get_log_events(logGroupName=group, logStreamName=stream, limit=lines)
    except ClientError as error:
        return f"(its log cannot be read: {error.response['Error']['Message']})"
    return "\n".join(event["message"] for event in answer["events"])
