"""The docs: the site is whole, and each command that they tell somebody to type was run, or says here why not."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import described
from tests.machine import CHECKOUT, free_port

pytestmark = pytest.mark.slow

PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
# How a line of an indented block begins when it is a command.
COMMAND = re.compile(
    r"[A-Z_]+=\S+ |\.venv/|(make|docker|aws|git|curl|pip|python3?|export|for|cp|uvx?|pytest|lowtide|granian|gunicorn"
    r"|kubectl|kustomize|cd|npm|apt-get|sudo|source|copier|ssh|tar|sed|echo|cat|rm|mv)\b"
)
# Blocks that `make test` runs, those that only `make test NIGHT=1` runs, and those that no test runs as they stand.
RUN = [r"for debug in off on", r"-m timeit"]
NIGHT = [
    (r"make backup", {}),
    (r"manage ARGS=cache_cost", {}),
    (r"make up          #", {"SCENARIO": "smoke", "VARIANTS": "lowtide without"}),
    (r"make up OBSERVE=1", {}),
]
NOT_RUN = {
    r"apt-get update && apt-get install -y gcc .*": "in a container of Debian's, where it compiles uWSGI",
    r"\baws |deploy\.aws|deploy-aws|AWS_|deploy/aws/environments": "needs an account at AWS",
    r"REGISTRY|kubectl apply|kustomize": "needs a registry, or a cluster",
    r"shop\.example\.com|shop\.wsgi|myproject|myservice|my\.ini": "names what the reader has",
    r"make test|make lint": "is how this test was started",
    r"make replace": "changes a site that runs: tests/container/test_replace.py",
    r"^\$ lowtide (check|size)": "its output is that of files which tests/lowtide/tools read",
    r"results/latest": "needs the result of a whole run",
    r"make loadtest {5,}#|VARIANTS=(.no-ledger )?lowtide": "takes minutes: tests/stack/test_experiment.py",
    r"make limit": "takes minutes, and Docker: tests/loadtest/test_limit.py",
    r"LOADTEST_ENV=": "as above, with a variable that tests/stack/test_controller.py looks at",
    r"docker compose --profile loadtest|locust -f loadtest": "several processes: tests/stack/test_experiment.py",
    r"MEMORY_FROM=|lowtide\.metrics": "a site that runs elsewhere: tests/stack/test_deployment.py",
    r"lowtide diagnose --app tests|^make diagnose": "tests/lowtide/tools/diagnose/test_docs.py runs each of these",
    r"diagnose\.(real|public_case)": "takes many minutes: tests/lowtide/tools/diagnose/test_real.py",
    r"memory-report|memory-baseline": "tests/lowtide/tools/budget runs the plugin",
    r"APP_DIR=tests/stack/planted|localhost:8081|--chdir tests/stack": "takes a fixed port: tests/stack/test_ledger.py",
    r"feed\.json": "needs the reader's file",
    r"pre-commit install": "would change the git hooks of the checkout",
    r"SENTRY_DSN=": "needs somebody to report to: tests/stack/test_adopted.py",
    r"^make logs ": "does not end by itself: tests/stack/test_shown_logs.py",
    r"^make dev$": "does not end by itself: tests/stack/test_dev.py",
    r"make (fork|adopt|rename|update)|copier": "makes a project beside this one: the tests of these commands do that",
}


@dataclass(frozen=True)
class Block:
    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0]}"


def blocks_of(path: Path) -> list[Block]:
    """The blocks of commands on a page: those marked as sh or console, and indented ones that begin like a command."""
    texts: list[str] = []
    rest = path.read_text()
    for kind, text in re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```$", rest):
        if kind == "sh":
            texts.append(text)
        elif kind == "console":
            texts.append("\n".join(re.findall(r"(?m)^\$ .+$", text)))
    plain = re.sub(r"(?ms)^ *```.*?^ *```$", "", rest)
    for text in re.findall(r"(?m)(?:^\n|\A)((?: {4}.*\n)+)", plain):
        if COMMAND.match(text.strip()):
            texts.append(re.sub("(?m)^ {4}", "", text))
    return [Block(path.name, text.strip()) for text in texts]


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def matching(patterns: list[str]) -> list[Block]:
    return [block for block in BLOCKS if any(re.search(pattern, block.text, re.MULTILINE) for pattern in patterns)]


def test_every_command_is_run_or_says_why_not() -> None:
    patterns = [*RUN, *(pattern for pattern, _ in NIGHT), *NOT_RUN]
    assert [str(block) for block in BLOCKS if block not in matching(patterns)] == []
    # Nothing is listed that the docs no longer say, but for what other pages will say.
    assert [pattern for pattern in patterns if "copier" not in pattern and not matching([pattern])] == []


def run(block: Block, var: Path, **settings: str) -> str:
    """Run a block in the local runtime, with state and results of its own. Returns what it printed."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment |= {"RUNTIME": "local", "VAR_DIR": str(var), "RESULTS_DIR": str(var / "results")}
    environment |= {"PORT": str(free_port()), "LOADTEST_PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment | described.VARIABLES | settings, capture_output=True, text=True
    )
    if "make up" in block.text and "make down" not in block.text:
        subprocess.run(["make", "down"], cwd=CHECKOUT, env=environment, capture_output=True)
    # The experiment's smoke list is too small for a verdict.
    assert done.returncode == 0 or "make loadtest" in block.text, done.stdout + done.stderr
    return done.stdout


@pytest.mark.stack
@pytest.mark.parametrize("block", matching(RUN), ids=str)
def test_it_works_as_it_is_written(block: Block, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(block, tmp_path_factory.mktemp("v"))


@pytest.mark.stack
@pytest.mark.night
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", matching([pattern for pattern, _ in NIGHT]), ids=str)
def test_it_works_at_night(block: Block, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = next(settings for pattern, settings in NIGHT if re.search(pattern, block.text, re.MULTILINE))
    var = tmp_path_factory.mktemp("v")
    run(block, var, **settings)
    if "loadtest" in block.text:
        assert (var / "results/latest/summary.json").exists()


def test_every_target_that_is_named_is_there() -> None:
    """`make up` and its like, anywhere in the text."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (CHECKOUT / "Makefile").read_text()))
    named = {
        name: path.name for path in PAGES for name in re.findall(r"`(?:\w+=\S+ )*make ([a-z-]+)", path.read_text())
    }
    assert {name: page for name, page in named.items() if name not in targets} == {}


def test_every_test_that_is_named_is_there() -> None:
    for path in PAGES:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", path.read_text()):
            assert (CHECKOUT / file).exists(), f"{path.name}: {file}"
            assert not name or f"def {name}(" in (CHECKOUT / file).read_text(), f"{path.name}: {file}::{name}"


def test_the_site_is_whole_and_loads_nothing_from_elsewhere() -> None:
    built = subprocess.run([sys.executable, "docs/build.py"], cwd=CHECKOUT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = list((CHECKOUT / "var/docs").rglob("*.html"))
    assert len(pages) > len(PAGES) - 1
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?://[^\">\s]+)", page.read_text()
        )
        assert [address for address in loaded if "canonical" not in address] == [], page
    for path in (CHECKOUT / "docs").glob("*.md"):
        assert path.name in (CHECKOUT / "mkdocs.yml").read_text(), f"{path.name} is not in mkdocs.yml"
