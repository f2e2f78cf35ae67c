"""Whether the stack holds out for hours: mixed load, and one fault after the other.

    make soak MINUTES=60            SEED=2 for other faults in another order

Clients send the small and large requests of app/lowtide.toml at a steady pace. Meanwhile faults happen in an order that
SEED gives (loadtest/measure/faults.py): workers and the master killed, restarts, reloads, slow clients, huge bodies,
too many clients, a locked database, a log that nobody reads. Each answer is counted: served, refused (503 with
Retry-After), or lost. Writes summary.json, a table (soak.md) and a picture to results/soak. Runs in the local runtime,
because the faults reach into its processes, on LOADTEST_PORT.
Exit codes: 0 the verdict holds, 1 it does not, 2 could not measure.
"""

import itertools
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests

from loadtest.commands.progress import Progress, console
from loadtest.commands.session import (
    check_machine,
    chosen_sizing,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
    stack_environment,
)
from loadtest.load import scenarios
from loadtest.load.requests_log import Latencies, percentile
from loadtest.measure import faults, machine, outcome, recycles, sampling, site
from loadtest.measure.faults import Fault, Target
from loadtest.measure.runtimes import STATE, Local
from loadtest.measure.variants import VARIANTS
from loadtest.results import files, plot, words
from loadtest.results.tables import Table
from loadtest.results.types import Check, Environment, Load, Results, Summary, Verdict
from lowtide import application

SMALL_CLIENTS, SMALL_PACE_S = 6, 0.3
CLIENTS = SMALL_CLIENTS + 1
LARGE_PACE_S = 5.0
# Between a fault's end and the next, in seconds.
PAUSE_S = (4.0, 10.0)
# How long a stack may take until it serves again after a fault, for how long it must then serve without a failure
# (workers serve on for a moment when their master is killed), and how long it rests at the end.
BACK_S = 60.0
STEADY_S = 2.0
QUIET_S = 15.0
# By how much the memory at the end may exceed that of the idle server before the load.
END_TO_IDLE = 1.25


@dataclass(frozen=True)
class Answer:
    """How one request of the load ended: "served", "refused", or what went wrong. Times in Unix seconds."""

    lane: str
    sent: float
    ended: float
    how: str

    @property
    def lost(self) -> bool:
        return self.how not in ("served", "refused")


@dataclass(frozen=True)
class Happened:
    """A fault: when it began, when it was over, when the stack served steadily again; None if it did not in time."""

    fault: Fault
    start: float
    end: float
    back: float | None

    def meets(self, answer: Answer) -> bool:
        """Whether the answer came while the fault had its effect; an error is answered at once."""
        return self.start <= answer.ended <= (self.back or self.end + BACK_S) + STEADY_S


@dataclass
class Clients:
    """The clients of the load: some for small requests, one for large ones."""

    url: str
    scenario: scenarios.Scenario
    seed: int
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        small: tuple[scenarios.Lane, float] = ("small", SMALL_PACE_S)
        large: tuple[scenarios.Lane, float] = ("large", LARGE_PACE_S)
        lanes = [small] * SMALL_CLIENTS + [large]
        for client, (lane, pace_s) in enumerate(lanes):
            thread = threading.Thread(target=self._ask, args=(client, lane, pace_s), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(70)

    def _ask(self, client: int, lane: scenarios.Lane, pace_s: float) -> None:
        asked = itertools.cycle(tuple(scenarios.requests(self.scenario, lane, self.seed + client)))
        while not self._over.wait(pace_s):
            row, call, path, size = next(asked)
            sent = time.time()
            how = self._how(call, path, scenarios.body(row, self.scenario, self.seed, STATE, size))
            self.answers.append(Answer(lane, sent, time.time(), how))

    def _how(self, call: application.MadeCall, path: str, body: bytes) -> str:
        headers = {"Accept-Encoding": "identity"} | application.headers(call, os.environ)
        try:
            answer = requests.request(
                call.method, self.url + path, data=body or None, headers=headers, timeout=70, allow_redirects=False
            )
        except requests.RequestException as error:
            return type(error).__name__
        if answer.status_code == call.status:
            return "served"
        return "refused" if answer.status_code == 503 and "Retry-After" in answer.headers else str(answer.status_code)

    def counted(self) -> str:
        hows = Counter("lost" if answer.lost else answer.how for answer in self.answers)
        return ", ".join(f"{hows[how]:>5} {how}" for how in ("served", "refused", "lost"))


def serves(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def do(fault: Fault, target: Target) -> Happened:
    """Let a fault happen, and wait until the stack serves steadily again."""
    start = time.time()
    fault.act(target)
    end = back = time.time()
    page = target.runtime.url + target.page.path
    while time.time() - back < STEADY_S:
        if not serves(page):
            back = time.time()
            if back - end > BACK_S:
                return Happened(fault, start, end, None)
        time.sleep(0.1)
    return Happened(fault, start, end, back)


def soak(target: Target, clients: Clients, minutes: int, progress: Progress) -> list[Happened]:
    happened: list[Happened] = []
    end = time.monotonic() + minutes * 60
    coming = faults.order(faults.all_faults(CLIENTS), target.draw)
    clients.begin()
    try:
        while (left_s := end - time.monotonic()) > 0:
            pause_s = target.draw.uniform(*PAUSE_S)
            progress(f"load    {clients.counted()}, {len(happened)} faults, {left_s / 60:.0f} min left")
            time.sleep(min(pause_s, left_s))
            if left_s <= pause_s:
                break
            fault = next(coming)
            progress(f"{fault.name:<8}{clients.counted()}: {fault.does}")
            happened.append(do(fault, target))
    finally:
        clients.end()
    return happened


def unexpected(answers: list[Answer], happened: list[Happened]) -> int:
    """How many requests were lost beyond what the faults at their time may cost."""
    left = {index: one.fault.loses for index, one in enumerate(happened)}
    beyond = 0
    for answer in answers:
        if not answer.lost:
            continue
        blamed = next((index for index, one in enumerate(happened) if left[index] and one.meets(answer)), None)
        if blamed is None:
            beyond += 1
        else:
            left[blamed] -= 1
    return beyond


def table(answers: list[Answer], happened: list[Happened], seen: list[Fault]) -> Table:
    """A row for each kind of fault: how often it happened, and what became of the requests of that time."""
    shown = Table(["fault", "times", "requests meanwhile", "refused", "lost", "may lose", "longest until it serves, s"])
    for fault in seen:
        ones = [one for one in happened if one.fault.name == fault.name]
        met = [answer for answer in answers if any(one.meets(answer) for one in ones)]
        longest = max((one.back - one.end for one in ones if one.back), default=None)
        figures = [
            len(ones),
            len(met),
            sum(answer.how == "refused" for answer in met),
            sum(answer.lost for answer in met),
            fault.loses * len(ones),
        ]
        shown.rows.append([fault.does, *map(str, figures), words.number(longest, 1)])
    return shown


def latencies(answers: list[Answer]) -> Latencies:
    """Of the requests that were served. The clients have no list with times at which a request is due."""
    small, large = (
        [(one.ended - one.sent) * 1000 for one in answers if one.lane == lane and one.how == "served"]
        for lane in scenarios.LANES
    )
    small_figures = (percentile(small, 0.5), percentile(small, 0.99), percentile(small, 1), percentile(large, 0.5))
    lost = sum(answer.lost for answer in answers)
    return Latencies(len(answers), lost, 0, *small_figures, None, None, None, None)


def verdict(
    answers: list[Answer], happened: list[Happened], end_to_idle: float | None, workers: int, left: int
) -> Verdict:
    calm = [answer for answer in answers if not any(one.meets(answer) for one in happened)]
    most = {
        "requests lost beyond what a fault may cost": (unexpected(answers, happened), 0),
        "requests refused while there was no fault": (sum(answer.how == "refused" for answer in calm), 0),
        "faults after which it did not serve again": (sum(one.back is None for one in happened), 0),
        "memory at the end, in idles": (end_to_idle, END_TO_IDLE),
    }
    checks = [
        Check(name, value, limit, value is not None and value <= limit, at_least=False)
        for name, (value, limit) in most.items()
    ]
    checks.append(Check("workers at the end", left, workers, left >= workers, at_least=True))
    return Verdict(all(check.holds for check in checks), checks)


def run(owned: list[str]) -> int:
    scenario = scenarios.SCENARIOS["quick"]
    minutes, seed = number("MINUTES", "60", least=1), number("SEED", "1")
    port = number("LOADTEST_PORT", "18080")
    sizing = chosen_sizing(scenario, runtime="local")
    runtime = Local(port, stack_environment(sizing), owned)
    check_machine(port, scenario)
    load_average = machine.load_average()
    started = datetime.now(UTC).replace(microsecond=0)
    directory = results_folder() / "soak"
    directory.mkdir(parents=True, exist_ok=True)
    variant = VARIANTS["lowtide"]
    clients = Clients(runtime.url, scenario, seed)
    with session(runtime) as progress:
        progress.prefix = "soak"
        progress("seeding")
        versions = fill(runtime, variant, scenario, seed)
        runtime.start(variant.environment)
        try:
            site.warm_up(runtime.url, scenario)
            with sampling.sampling(runtime, sampling.INTERVAL_S) as sampler:
                idle_start = time.time()
                time.sleep(5)
                load_start = time.time()
                target = Target(runtime, scenario, seed, random.Random(seed))  # noqa: S311 - repeatable, not secret
                happened = soak(target, clients, minutes, progress)
                load_end = time.time()
                progress("quiet")
                site.quiet(runtime.url, QUIET_S)
                quiet_end = time.time()
            replaced = recycles.of_uwsgi(runtime.log(), load_start)
        finally:
            runtime.stop()
    answers = sorted(clients.answers, key=lambda answer: answer.sent)
    served = sorted(answer.ended for answer in answers if answer.how == "served")
    marks = [recycles.Event(one.start, "fault", None, one.fault.does) for one in happened]
    idle_mb, end_mb = (
        sampling.median_mb(sampler.between(*span)) for span in ((idle_start, load_start), (quiet_end - 5, quiet_end))
    )
    measured = outcome.run(
        variant.name,
        sampling.counted(sampler.samples, served),
        replaced + marks,
        latencies(answers),
        (load_start, load_end),
        idle_mb=idle_mb,
        end_mb=end_mb,
        oom_kills=None,
        recycles=outcome.recycles(replaced),
    )
    large = sum(answer.lane == "large" for answer in answers)
    summary = Summary(
        runtime=runtime.name,
        environment=Environment(**machine.size(), **versions),
        scenario="soak",
        started=started.isoformat(),
        machine=machine.processor(),
        load_average=load_average,
        settings=sizing.differing,
        load=Load(
            seed, sizing.workers, len(answers), large, round(scenarios.largest_body_mb(scenario, seed, STATE), 1)
        ),
        floor_mb=None,
        variants=[measured.variant],
        verdict=verdict(
            answers, happened, measured.variant.end_to_idle(), sizing.workers, sampler.samples[-1].workers or 0
        ),
    )
    results = Results(directory, summary, {variant.name: measured.samples}, {variant.name: measured.events})
    files.write(results)
    plot.write(results)
    shown = table(answers, happened, faults.all_faults(CLIENTS))
    shown.caption = said(summary, answers, happened, minutes)
    (directory / "soak.md").write_text(shown.markdown() + "\n")
    console.print(shown.terminal())
    for check in summary.verdict.checks:
        bound = "at least" if check.at_least else "at most"
        sign = "holds" if check.holds else "DOES NOT HOLD"
        console.print(f"{check.name}: {words.number(check.value, 2)}, {bound} {words.number(check.limit, 2)}: {sign}")
    console.print(f"The picture, the table and every figure: {os.path.relpath(directory)}")
    return 0 if summary.verdict.holds else 1


def said(summary: Summary, answers: list[Answer], happened: list[Happened], minutes: int) -> str:
    """The run in two sentences."""
    (variant,) = summary.variants
    hows = Counter(answer.how for answer in answers)
    lost = {how: count for how, count in hows.items() if how not in ("served", "refused")}
    replaced = variant.recycles.total() or 0
    return (
        f"{minutes} minutes, SEED={summary.load.seed}, {summary.load.workers} workers: {len(answers)} requests "
        f"({summary.load.large_requests} large), {hows['served']} served, {hows['refused']} refused, "
        f"lost {sum(lost.values())} {lost or ''}; {len(happened)} faults, {replaced} workers replaced. "
        f"Memory in MiB of PSS: {variant.idle_mb} idle, {variant.peak_mb} at most, {variant.mean_mb} on average, "
        f"{variant.end_mb} at the end."
    )


if __name__ == "__main__":
    options = parser("loadtest.commands.soak", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
