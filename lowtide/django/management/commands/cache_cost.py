"""Measure what Django's default cache takes in the memory of the workers, and whether they share it.

Forks as many processes as the server has workers. Each looks up the same values in the cache and stores those that it
does not find, one process after the other. The values are deleted at the end.
"""

import multiprocessing
import os
import secrets
from argparse import ArgumentParser
from multiprocessing.connection import Connection
from typing import Any

from django.core.cache import cache
from django.core.management.base import BaseCommand
from django.db import connections

from lowtide import memory


def work(orders: Connection, keys: list[str], size: int) -> None:
    """One worker: fills the cache when it is told to, and says how many values were there already."""
    orders.send(0)
    while orders.recv():
        there = 0
        for key in keys:
            if cache.get(key) is not None:
                there += 1
            else:
                cache.set(key, os.urandom(size), timeout=600)
        orders.send(there)
    cache.delete_many(keys)


class Command(BaseCommand):
    help = "Measure what the default cache takes in the memory of the workers, and whether they share it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, default=int(os.environ.get("WORKERS") or 4))
        parser.add_argument("--values", type=int, default=100, help="how many are stored; default 100")
        parser.add_argument("--kib", type=int, default=100, help="the size of each; default 100")

    def handle(self, *, workers: int, values: int, kib: int, **_: Any) -> None:
        name = f"lowtide-cache-cost-{secrets.token_hex(8)}"
        keys = [f"{name}-{number}" for number in range(values)]
        # The library of the cache's server is loaded before the fork, as the server's master would.
        cache.get(keys[0])
        cache.close()
        connections.close_all()
        fork = multiprocessing.get_context("fork")
        pipes, pids, there = [], [], []
        for _number in range(workers):
            ours, theirs = fork.Pipe()
            process = fork.Process(target=work, args=(theirs, keys, kib * 1024), daemon=True)
            process.start()
            ours.recv()
            pipes.append((ours, process))
            pids.append(process.pid or 0)
        before_mb = sum(map(memory.pss_mb, pids))
        for ours, _process in pipes:
            ours.send(True)
            there.append(ours.recv())
        more_mb = sum(map(memory.pss_mb, pids)) - before_mb
        for ours, process in pipes:
            ours.send(False)
            process.join(30)
        self.stdout.write(
            f"{type(cache._connections['default']).__name__}: {workers} workers stored {values} values, "  # type: ignore[attr-defined]
            f"{values * kib / 1024:.1f} MiB. Their memory grew by {more_mb:.1f} MiB (sum of PSS). "
            f"Of {values * (workers - 1)} values that another worker had stored, {sum(there)} were found."
        )
