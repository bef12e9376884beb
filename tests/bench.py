"""Measure what the scripts cost: ratios to the same work done without any care, side by side."""

from __future__ import annotations

import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

import processes
from harness import SERVER, Partner, Program, memory, processor_seconds

ROUNDS = 7
TURNS = 10_000
NAIVE = r"""
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("* waiting on localhost port", listener.getsockname()[1], file=sys.stderr, flush=True)
connection, _ = listener.accept()
connection.sendall(b"chatserve\n")
lines = connection.makefile(encoding="utf-8")
name = lines.readline().rstrip()
for text in lines:
    print(f"{name}> {text.rstrip()}", flush=True)
    connection.sendall(input().encode() + b"\n")
"""
IMPORTS = (
    "import argparse, select, signal, socket, sys; print('* waiting on localhost port 1', file=sys.stderr)"
)


class Visitor(Partner):
    """A client of the server on a port, greeted and named."""

    def __init__(self, port: int, name: str = "alice") -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port)))
        self.lines = self.sock.makefile("rb")
        self.lines.readline()
        self.send(f"{name}\n")

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.sock.sendall(b"hello, how are you?\n")
            self.lines.readline()

    def leave(self) -> None:
        self.quit()
        self.lines.close()
        self.close()


def answering(script: pathlib.Path) -> tuple[Program, int]:
    """Start a server whose input is a pipe that never runs dry."""
    feed = processes.start(["yes", "fine, and you?"], stdout=subprocess.PIPE)
    server = Program(script, 0, stdin=feed.stdout, stdout=subprocess.DEVNULL)
    assert feed.stdout
    feed.stdout.close()
    return server, server.port()


def turns_per_second(script: pathlib.Path) -> float:
    server, port = answering(script)
    visitor = Visitor(port)
    visitor.turns(500)
    begin = time.perf_counter()
    visitor.turns(TURNS)
    seconds = time.perf_counter() - begin
    server.kill()
    visitor.close()
    return TURNS / seconds


def visits_per_second(count: int = 500) -> float:
    server, port = answering(SERVER)
    begin = time.perf_counter()
    for _ in range(count):
        visitor = Visitor(port)
        visitor.turns(1)
        visitor.leave()
        server.err.read()
    seconds = time.perf_counter() - begin
    server.kill()
    return count / seconds


def seconds_to_start(script: pathlib.Path) -> float:
    begin = time.perf_counter()
    server = Program(script, 0)
    server.port()
    seconds = time.perf_counter() - begin
    server.kill()
    return seconds


def growth(first: int = 100, last: int = 20_000) -> int:
    server, port = answering(SERVER)
    visitor = Visitor(port)
    visitor.turns(first)
    before = memory(server.pid)
    visitor.turns(last - first)
    grown = memory(server.pid) - before
    server.kill()
    visitor.close()
    return grown


def waiting(turn: str, **options: Any) -> tuple[Program, int, Visitor]:
    """Return a server that waits, at its own turn or the other's, its port, and its client."""
    server = Program(SERVER, 0, **options)
    port = server.port()
    visitor = Visitor(port)
    server.err.expect("is alice")
    if turn == "own":
        visitor.send("hello\n")
        server.out.expect("alice> hello")
        time.sleep(0.1)  # until it asks, which nothing tells through pipes
    return server, port, visitor


def processor_share(turn: str, seconds: float = 2.0, **options: Any) -> float:
    """Return the share of a core that the server uses while it waits."""
    server, _, visitor = waiting(turn, **options)
    before = processor_seconds(server.pid)
    time.sleep(seconds)
    used = processor_seconds(server.pid) - before
    server.kill()
    visitor.close()
    return used / seconds


def seconds_to_notice(turn: str, **options: Any) -> tuple[float, float]:
    """Return how soon the end is noticed, and how soon the next in the queue is greeted."""
    server, port, visitor = waiting(turn, **options)
    following = Partner(socket.create_connection(("127.0.0.1", port)))
    begin = time.perf_counter()
    visitor.leave()
    server.err.expect("alice quit")
    noticed = time.perf_counter() - begin
    following.line()
    greeted = time.perf_counter() - begin
    server.kill()
    following.close()
    return noticed, greeted


def compare(what: str, one: Callable[[], float], other: Callable[[], float]) -> None:
    """Print the median ratio of pairs that were measured one right after the other."""
    pairs = [(one(), other()) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    mine, theirs = (statistics.median(side) for side in zip(*pairs))
    print(f"{what}: ratio {ratio:.2f} ({mine:.4g} to {theirs:.4g})")


def main() -> None:
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder:
        naive, imports = pathlib.Path(folder, "naive.py"), pathlib.Path(folder, "imports.py")
        naive.write_text(NAIVE)
        imports.write_text(IMPORTS)
        compare(
            "turns per second, to those of a ten-line loop without a check",
            lambda: turns_per_second(SERVER), lambda: turns_per_second(naive),
        )  # fmt: skip
        compare(
            "seconds to start, to those of an interpreter that imports what it must",
            lambda: seconds_to_start(SERVER), lambda: seconds_to_start(imports),
        )  # fmt: skip
    visits = statistics.median(visits_per_second() for _ in range(ROUNDS))
    print(f"visits per second, one after the other: {visits:.0f}")
    grown = statistics.median(growth() for _ in range(3))
    print(f"memory after 20,000 turns, over that after 100: {grown / 1024:.0f} KiB")
    for where, terminal in (("through pipes", ""), ("line editing", "in out err")):
        for turn in ("own", "other's"):
            share = processor_share(turn, terminal=terminal)
            times = [seconds_to_notice(turn, terminal=terminal) for _ in range(ROUNDS)]
            noticed, greeted = (statistics.median(side) * 1000 for side in zip(*times))
            print(
                f"waiting at the {turn} turn, {where}: {share:.2%} of a core; "
                f"the end is noticed after {noticed:.1f} ms, the next greeted after {greeted:.1f} ms"
            )


if __name__ == "__main__":
    main()
