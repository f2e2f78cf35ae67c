"""Shows what would change in CloudFormation stacks, and changes it, both through change sets."""

import time
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError

from deploy.aws import cfn, variables
from deploy.aws.environment import Environment, Refused

_WAIT_S = 5
_CHANGE_SET_S = 300
# A database and a CloudFront distribution take a quarter of an hour each.
_STACK_S = 3600
_NOTHING = ("didn't contain changes", "No updates are to be performed")


class Failed(Exception):
    """A change was begun and failed; the message says in what state it is."""


@dataclass(frozen=True)
class Change:
    """One line of a plan. `action` is Add, Modify or Remove. With `replaces` the present resource is deleted."""

    action: str
    resource: str
    kind: str
    replaces: bool = False

    def __str__(self) -> str:
        sign = {"Add": "+", "Modify": "~", "Remove": "-"}.get(self.action, "?")
        return f"  {sign} {self.resource} ({self.kind}){', REPLACED' if self.replaces else ''}"


class Stacks:
    """The stacks of one environment.

    `known` are parameters that the environment's file does not have. CloudFormation acts with the role `role_arn`.
    """

    def __init__(
        self, session: boto3.Session, environment: Environment, known: dict[str, str], role_arn: str | None = None
    ) -> None:
        self.client = session.client("cloudformation")
        self.environment = environment
        self.known = environment.inputs() | known
        self.role = {"RoleARN": role_arn} if role_arn else {}

    def describe(self, stack: str) -> dict[str, Any] | None:
        """What CloudFormation says of a stack; None where there is none."""
        try:
            described: dict[str, Any] = self.client.describe_stacks(StackName=self.environment.stack_name(stack))[
                "Stacks"
            ][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
        # A stack in this state was never created: a change set for it was made and not carried out.
        return None if described["StackStatus"] == "REVIEW_IN_PROGRESS" else described

    def outputs(self) -> dict[str, str]:
        """The outputs of every stack that exists."""
        values: dict[str, str] = {}
        for stack in [*self.environment.stacks, "loadtest"]:
            for output in (self.describe(stack) or {}).get("Outputs", []):
                values[output["OutputKey"]] = output["OutputValue"]
        return values

    def parameters(self, stack: str) -> tuple[dict[str, str], list[str]]:
        """The values for a template's parameters, and the names of those that have no value yet."""
        values = self.outputs() | self.known
        wanted: dict[str, Any] = cfn.load(stack).get("Parameters", {})
        given = {name: values[name] for name in wanted if name in values}
        return given, [name for name, rule in wanted.items() if name not in given and "Default" not in rule]

    def plan(self, stack: str) -> list[Change]:
        """What deploying would change. For a stack that exists a change set is made, read and deleted again."""
        if not self.describe(stack):
            resources = cfn.load(stack)["Resources"]
            return [Change("Add", name, resource["Type"]) for name, resource in resources.items()]
        change_set = self._create(stack, "UPDATE")
        if not change_set:
            return []
        try:
            return self._changes(change_set)
        finally:
            self.client.delete_change_set(ChangeSetName=change_set)

    def deploy(self, stack: str, planned: list[Change] | None = None) -> bool:
        """Create or update a stack; False when there was nothing to do.

        Raises:
            Failed: the change failed, or an existing stack would change otherwise than `planned`.
        """
        exists = self.describe(stack)
        change_set = self._create(stack, "UPDATE" if exists else "CREATE")
        if not change_set:
            return False
        changes = self._changes(change_set)
        if exists and planned is not None and set(changes) - set(planned):
            self.client.delete_change_set(ChangeSetName=change_set)
            extra = "\n".join(str(change) for change in changes if change not in planned)
            raise Failed(f"{stack} would now change more than was shown; run again to see it:\n{extra}")
        self.client.execute_change_set(ChangeSetName=change_set)
        self._wait(stack)
        return True

    def _create(self, stack: str, kind: str) -> str | None:
        """The ARN of a change set that is ready; None when it has no changes."""
        given, missing = self.parameters(stack)
        if missing:
            raise Refused(f"{stack} needs {', '.join(missing)}: deploy the stacks before it first.")
        answer = self.client.create_change_set(
            StackName=self.environment.stack_name(stack),
            ChangeSetName=f"deploy-{int(time.time() * 1000)}",
            ChangeSetType=kind,
            TemplateBody=cfn.text(stack),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": f"{variables.service()}:environment", "Value": self.environment.name}],
            # If a stack cannot be created, what was made of it is deleted, so that the next try starts anew.
            **({"OnStackFailure": "DELETE"} if kind == "CREATE" else {}),
            **self.role,
        )
        arn: str = answer["Id"]
        end = time.monotonic() + _CHANGE_SET_S
        while (described := self.client.describe_change_set(ChangeSetName=arn))["Status"] in (
            "CREATE_PENDING",
            "CREATE_IN_PROGRESS",
        ):
            if time.monotonic() > end:
                raise Failed(f"The change set of {stack} is not ready after {_CHANGE_SET_S} s: {arn}")
            time.sleep(_WAIT_S)
        if described["Status"] == "FAILED":
            self.client.delete_change_set(ChangeSetName=arn)
            reason = described.get("StatusReason", "")
            if any(words in reason for words in _NOTHING):
                return None
            raise Refused(f"{stack}: {reason}")
        return arn

    def _changes(self, change_set: str) -> list[Change]:
        changes = []
        for page in self.client.get_paginator("describe_change_set").paginate(ChangeSetName=change_set):
            for change in (entry["ResourceChange"] for entry in page.get("Changes", [])):
                replaces = change.get("Replacement") in ("True", "Conditional")
                changes.append(Change(change["Action"], change["LogicalResourceId"], change["ResourceType"], replaces))
        return changes

    def _wait(self, stack: str) -> None:
        end = time.monotonic() + _STACK_S
        while time.monotonic() < end:
            described = self.describe(stack)
            status = described["StackStatus"] if described else "gone"
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
                return
            if not status.endswith("_IN_PROGRESS"):
                raise Failed(f"{stack} ended as {status}:\n{self._reasons(stack)}")
            time.sleep(_WAIT_S)
        raise Failed(f"{stack} is still under way after {_STACK_S} s; CloudFormation goes on. Look at its events.")

    def _reasons(self, stack: str) -> str:
        """The newest failures among the stack's events."""
        try:
            answer = self.client.describe_stack_events(StackName=self.environment.stack_name(stack))
        except ClientError:
            return "  Its events are gone with it; CloudTrail has them."
        lines = [
            f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
            for event in answer["StackEvents"]
            if event["ResourceStatus"].endswith("FAILED")
        ]
        return "\n".join(lines[:10])
