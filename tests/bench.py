"""Measure what the scripts cost: ratios to the same work done without any care, side by side."""

from __future__ import annotations

import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any, Callable

import processes
from harness import CLIENT, SERVER, Partner, Program, memory

ROUNDS = 7
TURNS = 10_000
SAMPLES = 100
ROW = "in out err"  # at a terminal
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
IMPORTS = """import argparse, codecs, contextlib, os, re, select, signal, socket, sys, termios, time, unicodedata
print("* waiting on localhost port 1", file=sys.stderr)
"""


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
    server = Program(script, 0, flags=("-I",))  # as a person starts it: not without site
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


def conversation(script: pathlib.Path, **options: Any) -> tuple[Program, int, Visitor]:
    """Return a server whose person has the turn, its port, and its client."""
    server = Program(script, 0, **options)
    port = server.port()
    visitor = Visitor(port)
    visitor.send("hello\n")
    server.out.expect("alice> hello")
    return server, port, visitor


def wake_ups_a_minute(begin: Callable[[], list[Any]], seconds: float = 5.0) -> float:
    """Return how often a program that nothing happens to begins to wait anew (Linux, proc(5)).
    `begin` starts it and what it needs, and returns them, the program first."""
    things = begin()
    status = pathlib.Path(f"/proc/{things[0].pid}/status")

    def switches() -> int:
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)
        assert found
        return int(found.group(1))

    time.sleep(0.5)  # until it waits
    before = switches()
    time.sleep(seconds)
    count = switches() - before
    for thing in things:
        (thing.kill if isinstance(thing, Program) else thing.close)()
    return count * 60 / seconds


def states() -> dict[str, Callable[[], list[Any]]]:
    """Return how to bring a program into each state in which it waits."""

    def listening(terminal: str) -> list[Any]:
        server = Program(SERVER, 0, terminal=terminal)
        server.port()
        return [server]

    def own_turn(terminal: str) -> list[Any]:
        server, _, visitor = conversation(SERVER, terminal=terminal)
        return [server, visitor]

    def others_turn(terminal: str) -> list[Any]:
        server, _, visitor = conversation(SERVER, terminal=terminal)
        server.type("fine" + ("\r" if terminal else "\n"))
        visitor.lines.readline()
        return [server, visitor]

    def in_the_queue(terminal: str) -> list[Any]:
        listener = socket.create_server(("127.0.0.1", 0))
        client = Program(CLIENT, *listener.getsockname(), terminal=terminal)
        client.err.expect("picked up")
        return [client, listener]

    kinds = {"listening": listening, "own turn": own_turn, "the other's turn": others_turn,
             "in the queue": in_the_queue}  # fmt: skip
    return {
        f"{name}, {where}": partial(begin, terminal)
        for name, begin in kinds.items()
        for where, terminal in (("row", ROW), ("pipes", ""))
    }


def seconds_to_echo(script: pathlib.Path) -> list[float]:
    """Return how long each of many keys takes from the keyboard to the screen."""
    server, _, visitor = conversation(script, terminal=ROW)
    if script == SERVER:
        server.wait_for_row("server>")
    seconds = []
    for number in range(SAMPLES):
        begin = time.perf_counter()
        key = "abcdefghij"[number % 10]
        server.type(key)
        server.at().expect(key)
        seconds.append(time.perf_counter() - begin)
        server.at().so_far()
        server.at().position = len(server.at().data)
    server.kill()
    visitor.close()
    return seconds


def seconds_to_notice(terminal: str) -> tuple[list[float], list[float]]:
    """Return how soon the end is noticed, and how soon the next in the queue is greeted."""
    noticed, greeted = [], []
    server, port, visitor = conversation(SERVER, terminal=terminal)
    for _ in range(SAMPLES):
        following = Visitor.__new__(Visitor)
        Partner.__init__(following, socket.create_connection(("127.0.0.1", port)))
        begin = time.perf_counter()
        visitor.leave()
        server.err.expect("alice quit")
        noticed.append(time.perf_counter() - begin)
        following.lines = following.sock.makefile("rb")
        following.lines.readline()
        greeted.append(time.perf_counter() - begin)
        following.send("alice\nhello\n")
        server.out.expect("alice> hello")
        visitor = following
    server.kill()
    visitor.close()
    return noticed, greeted


def milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} ms (at the worst {max(seconds) * 1000:.1f} ms)"


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
        print(f"a key is echoed by that loop's terminal after {milliseconds(seconds_to_echo(naive))}")
        compare(
            "seconds to start, to those of an interpreter that imports what it must",
            lambda: seconds_to_start(SERVER), lambda: seconds_to_start(imports),
        )  # fmt: skip
    visits = statistics.median(visits_per_second() for _ in range(ROUNDS))
    print(f"visits per second, one after the other: {visits:.0f}")
    grown = statistics.median(growth() for _ in range(3))
    print(f"memory after 20,000 turns, over that after 100: {grown / 1024:.0f} KiB")
    for state, begin in states().items():
        print(f"wake-ups a minute, {state}: {wake_ups_a_minute(begin):.0f}")
    print(f"a key is echoed after {milliseconds(seconds_to_echo(SERVER))}")
    for where, terminal in (("row", ROW), ("pipes", "")):
        noticed, greeted = (milliseconds(times) for times in seconds_to_notice(terminal))
        print(f"at one's turn, {where}: the end is noticed after {noticed}, the next greeted after {greeted}")


if __name__ == "__main__":
    main()
