"""Bring an environment to AWS. Every change goes through a CloudFormation change set.

    python -m deploy.aws plan ENV         what would change; changes nothing
    python -m deploy.aws deploy ENV       show it, ask, migrate, roll out
    python -m deploy.aws push ENV         build the images and push them under the commit's name
    python -m deploy.aws rollback ENV     put an earlier commit's images back (--revision); no migrations
    python -m deploy.aws revision ENV     the commit that serves now
    python -m deploy.aws loadtest ENV     Locust from several tasks, against the environment's own site

Credentials as for the AWS command line. Exit codes: 0 done, 1 a change failed, 2 refused before anything was changed,
130 interrupted.
"""

import argparse
import subprocess
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from deploy.aws import cfn, preflight, push, tasks
from deploy.aws.environment import Environment, Refused, read
from deploy.aws.stacks import Change, Failed, Stacks
from lowtide import application
from lowtide.tools import permission

_MIGRATION_S = 1800
_START_S = 300


def check(session: boto3.Session, environment: Environment, chosen: list[str], revision: str) -> dict[str, str]:
    """Refuse what is known to fail, before anything changes. Returns the parameters that only AWS knows."""
    preflight.account(session, environment)
    wanted = {name for stack in chosen for name in cfn.load(stack).get("Parameters", {})}
    known = {"Revision": revision}
    if "CertificateArn" in wanted:
        preflight.certificates(session, environment)
    if "CloudFrontPrefixList" in wanted:
        known["CloudFrontPrefixList"] = preflight.prefix_list(session)
    return known | preflight.images(
        session, environment, revision, [name for name in preflight.IMAGES if name in wanted]
    )


def show(environment: Environment, stacks: Stacks, chosen: list[str]) -> dict[str, list[Change]]:
    """Print and return what would change, stack by stack."""
    plans = {}
    for stack in chosen:
        _, missing = stacks.parameters(stack)
        exists = stacks.describe(stack)
        if missing and exists:
            raise Refused(f"{stack} needs {', '.join(missing)}, which no stack gives: deploy the ones before it too.")
        plans[stack] = changes = stacks.plan(stack)
        title = f"{environment.stack_name(stack)}: {'update' if exists else 'new'}"
        print(f"{title}, {len(changes)} changes" if changes else f"{environment.stack_name(stack)}: no changes")
        for change in changes:
            print(change)
    limits = environment.limits
    print(f"Memory of the application's container: {limits.hard_mb} MiB hard, {limits.soft_mb} MiB soft.")
    return plans


def confirmed(environment: Environment) -> bool:
    if not sys.stdin.isatty():
        raise Refused("Nobody is there to be asked: use --yes to deploy without a question.")
    return (
        input(f"Deploy to {environment.name}, account {environment.account}? Type the environment's name: ")
        == environment.name
    )


def migrate(session: boto3.Session, stacks: Stacks) -> None:
    known = stacks.outputs()
    arn = tasks.start(session, known, known["MigrationTask"], known["ServiceGroup"])
    print(f"Migrating: {arn}")
    code = tasks.wait(session, known, arn, _MIGRATION_S)
    print(tasks.log(session, known["MigrationLogs"], "migrate", "migrate", arn))
    if code:
        raise Failed(f"The migrations ended with {code}. The service runs on as it was.")


def deploy(session: boto3.Session, environment: Environment, options: argparse.Namespace, chosen: list[str]) -> None:
    known = check(session, environment, chosen, options.revision)
    stacks = Stacks(session, environment, known, options.role_arn)
    plans = show(environment, stacks, chosen)
    if options.command == "plan":
        print("Nothing was changed.")
        return
    if not options.yes and not confirmed(environment):
        raise Refused("Not confirmed: nothing was changed.")
    for stack in chosen:
        done = stacks.deploy(stack, plans[stack])
        print(f"{environment.stack_name(stack)}: {'done' if done else 'nothing to do'}", flush=True)
        if stack == "migrate":
            migrate(session, stacks)
    if address := stacks.outputs().get("SiteAddress"):
        print(f"https://{environment.domain} (its DNS record: CNAME or alias to {address})")


def serving(session: boto3.Session, environment: Environment) -> str:
    preflight.account(session, environment)
    described = Stacks(session, environment, {}).describe("service")
    for output in (described or {}).get("Outputs", []):
        if output["OutputKey"] == "Revision":
            revision: str = output["OutputValue"]
            return revision
    raise Refused(f"{environment.name} has no service yet.")


def run_loadtest(session: boto3.Session, environment: Environment, options: argparse.Namespace) -> None:
    host = f"https://{environment.domain}"
    permission.permit(host, options.i_own_this_host)
    if options.workers < 1:
        raise Refused(f"--workers {options.workers}: load takes one worker at least.")
    if environment.parameters.get("Egress") == "endpoints":
        raise Refused('The tasks reach AWS\' services only (Egress = "endpoints"), not the site: use another machine.')
    known = check(session, environment, ["loadtest"], options.revision)
    stacks = Stacks(session, environment, known, options.role_arn)
    stacks.deploy("loadtest")
    outputs = stacks.outputs()
    place = (outputs["LoadtestTask"], outputs["LoadtestGroup"])
    started = [tasks.start(session, outputs, *place, master_command(host, options.workers))]
    try:
        address = tasks.address(session, outputs, started[0], _START_S)
        for _ in range(options.workers):
            started.append(tasks.start(session, outputs, *place, worker_command(address)))
        print(f"Load from {options.workers} workers: {started[0]}", flush=True)
        code = tasks.wait(session, outputs, started[0], _MIGRATION_S)
    except BaseException:
        # When this command ends, the load must end too, because nobody watches it any more.
        tasks.stop_all(session, outputs, started, "The command that watched the load test has ended")
        raise
    print(tasks.log(session, outputs["LoadtestLogs"], "loadtest", "locust", started[0], lines=60))
    if code:
        raise Failed(f"Locust ended with {code}.")


def master_command(host: str, workers: int) -> list[str]:
    """Locust's arguments: wait for the workers, send the list once, end."""
    expect = ["--expect-workers", str(workers), "--expect-workers-max-wait", str(_START_S)]
    return ["--master", "--headless", "--only-summary", "--host", host, *expect]


def worker_command(address: str) -> list[str]:
    return ["--worker", "--master-host", address]


def head() -> str:
    """The commit that is checked out."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if done.returncode:
        raise Refused("This is no git checkout: say which commit with --revision.")
    return done.stdout.strip()


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.aws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["plan", "deploy", "push", "rollback", "revision", "loadtest"])
    parser.add_argument("environment", metavar="ENV", help="environments/ENV.toml")
    parser.add_argument("--only", action="append", metavar="STACK", help="this stack alone; may be repeated")
    parser.add_argument("--revision", help="the commit whose images to use (default: the one checked out)")
    parser.add_argument("--role-arn", help="the role that CloudFormation acts with (output DeployRole of the stack ci)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--workers", type=int, default=2, help="Locust workers (default: 2)")
    parser.add_argument("--i-own-this-host", action="store_true", help="send load to a host that is not this machine")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    environment = read(options.environment)
    session = boto3.Session(region_name=environment.region)
    if options.command == "rollback" and not options.revision:
        raise Refused("Say which commit to go back to: --revision COMMIT.")
    options.revision = options.revision or head()
    if unknown := sorted(set(options.only or []) - set(environment.stacks)):
        raise Refused(f"There is no stack {', '.join(unknown)}. There are: {', '.join(environment.stacks)}.")
    match options.command:
        case "plan" | "deploy":
            deploy(
                session,
                environment,
                options,
                [s for s in environment.stacks if s in (options.only or environment.stacks)],
            )
        case "rollback":
            deploy(session, environment, options, [s for s in environment.stacks if s in ("service", "processes")])
        case "push":
            preflight.account(session, environment)
            push.images(session, environment, options.revision)
        case "revision":
            print(serving(session, environment))
        case "loadtest":
            run_loadtest(session, environment, options)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        run(options)
    except (Refused, application.Invalid, permission.Forbidden) as problem:
        print(f"Refused: {problem}", file=sys.stderr)
        return 2
    except (Failed, BotoCoreError, ClientError) as problem:
        print(f"Failed: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. What CloudFormation has begun goes on; run again to see where it stands.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
