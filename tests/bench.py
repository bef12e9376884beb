"""What the pair costs, beside the same work done without any care."""

from __future__ import annotations

import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

from harness import CLIENT, SERVER, ChatTest, Program

ROUNDS, TURNS, SAMPLES = 7, 10_000, 50
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
IMPORTS = """
import argparse, codecs, contextlib, os, re, select, signal, socket, sys, termios, time, unicodedata
print("* waiting on localhost port 1", file=sys.stderr)
"""


class Bench(ChatTest):
    """One measurement: what it starts ends with it."""

    def __enter__(self) -> Bench:
        self.setUp()
        return self

    def __exit__(self, *_: object) -> None:
        self.doCleanups()

    def begin(self, text: str = "", **options: object) -> Program:
        """Start a script of this text, or chatserve."""
        script = self.folder / "script.py" if text else SERVER
        if text:
            script.write_text(text)
        server = self.start(script, 0, name="bob", **options)
        server.port = int(server.is_told(r"waiting on .* port (\d+)")[1])
        return server

    def conversation(self, text: str = "") -> Callable[[int], None]:
        """Return what takes so many turns with a server whose input is an endless pipe."""
        feed = subprocess.Popen(["yes", "fine, and you?"], stdout=subprocess.PIPE)
        self.addCleanup(feed.wait)
        self.addCleanup(feed.kill)
        self.bob = self.begin(text, stdin=feed.stdout, stdout=subprocess.DEVNULL)
        sock = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.bob.port)))
        lines = self.stack.enter_context(sock.makefile("rwb", buffering=0))
        lines.readline()
        lines.write(b"alice\n")

        def take_turns(count: int) -> None:
            for _ in range(count):
                lines.write(b"hello, how are you?\n")
                lines.readline()

        return take_turns


def turns_a_second(text: str = "") -> float:
    with Bench() as bench:
        take_turns = bench.conversation(text)
        began = time.perf_counter()
        take_turns(TURNS)
        return TURNS / (time.perf_counter() - began)


def seconds_to_start(text: str = "") -> float:
    with Bench() as bench:
        began = time.perf_counter()
        bench.begin(text, flags=("-I",))  # as a person starts it: not without site
        return time.perf_counter() - began


def growth() -> float:
    """Return by how many KiB a server has grown after 20,000 turns (Linux)."""
    pages = []
    with Bench() as bench:
        take_turns = bench.conversation()
        for count in (100, 20_000):
            take_turns(count)
            statm = Path(f"/proc/{bench.bob.process.pid}/statm").read_text()
            pages.append(int(statm.split()[1]))
    return (pages[1] - pages[0]) * resource.getpagesize() / 1024


def wake_ups(state: str, terminal: str) -> int:
    """Return how often a program begins to wait anew in 2 s in which nothing happens (Linux)."""
    with Bench() as bench:
        if state == "in the queue":
            address = bench.listener().getsockname()
            program = bench.start(CLIENT, *address, name="alice", terminal=terminal)
            program.is_told("connecting")
        else:
            program = bench.server(terminal=terminal)
        if "turn" in state:
            bench.visit(program, "alice").says("hello")
            program.sees("alice> hello")
        if state == "the other's turn":
            program.enters("hi")
        status, counts = Path(f"/proc/{program.process.pid}/status"), []
        for seconds in (0.5, 2):  # at first until it waits
            time.sleep(seconds)
            counts += re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)
        return int(counts[1]) - int(counts[0])


def echoes() -> list[float]:
    """Return the seconds that keys take from the keyboard to the screen."""
    seconds = []
    with Bench() as bench:
        server = bench.server(terminal=True)
        server.row("(nobody is connected)")
        for count in range(1, SAMPLES + 1):
            began = time.perf_counter()
            server.types("x")
            server.row("(nobody is connected) " + "x" * count)
            seconds.append(time.perf_counter() - began)
    return seconds


def ends(terminal: str) -> list[float]:
    """Return the seconds from a `\\quit` that was sent to its notice, at the server's turn."""
    seconds = []
    with Bench() as bench:
        server = bench.server(terminal=terminal, PAUSE_SECONDS=0, QUIET_SECONDS=0)
        for _ in range(SAMPLES):
            alice = bench.visit(server, "alice")
            alice.says("hello")
            server.sees("alice> hello")
            began = time.perf_counter()
            alice.says("\\quit")
            server.is_told("alice quit")
            seconds.append(time.perf_counter() - began)
            alice.leaves()
    return seconds


def compare(what: str, measure: Callable[[str], float], other: str) -> None:
    """Print the median of the ratios of pairs that were measured one right after the other."""
    pairs = [(measure(""), measure(other)) for _ in range(ROUNDS)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"{what}: {ratio:.2f} (such as {pairs[0][0]:.4g} to {pairs[0][1]:.4g})", flush=True)


def show(what: str, seconds: list[float]) -> None:
    median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    print(f"{what}: {median:.2f} ms (the worst of {len(seconds)}: {worst:.1f} ms)", flush=True)


def main() -> None:
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS} rounds")
    compare("turns a second, to those of ten lines without a check", turns_a_second, NAIVE)
    compare("seconds to start, to those of the imports alone", seconds_to_start, IMPORTS)
    print(f"memory after 20,000 turns, over that after 100: {growth():.0f} KiB", flush=True)
    for state in ("nobody there", "one's turn", "the other's turn", "in the queue"):
        row, pipes = (wake_ups(state, terminal) for terminal in ("stdin stdout stderr", ""))
        print(f"wake-ups in 2 s, {state}: {row} with a row, {pipes} with pipes", flush=True)
    show("a key is on the screen after", echoes())
    show("the end is told after, with a row", ends("stdin stdout stderr"))
    show("the end is told after, with pipes", ends(""))


if __name__ == "__main__":
    main()
