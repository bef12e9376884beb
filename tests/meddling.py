"""What tests say of programs whose system calls fail, or that a signal reaches at one of them.

`meddle.py` makes the calls fail. A short conversation is held again and again. Each time one call
of one function fails, or a signal comes right before or after it, until a conversation turns out to
have no such call any more.
"""

from __future__ import annotations

import re
import select
import socket
import time
from typing import Any, Callable, NamedTuple

from harness import (
    DEADLINE, GREETING, MESSAGE_LONGEST, QUIT, ROOT, ChatTest, Partner, Program, Stream,
)  # fmt: skip

NEVER = "False"
ALWAYS = "True"
ODD = "count % 2"
MEDDLING_LINES = re.compile("^(meddled|accepted)\r?\n", re.M)

TYPED = ("alice", "hello", "again", QUIT)  # the client's side of a conversation
SENT = f"{GREETING} by hand\nfine {'x' * 100}\nwell\n"  # and what the server sends in it
ANSWER = "right"  # what the person at a server says, always
VISIT = f"alice\nhello\nagain\n{'x' * (MESSAGE_LONGEST + 1)}\n"  # what a visitor sends; the server ends it
FAREWELL = rf"{re.escape(QUIT)}\n|{GREETING}: [^\n]+\n"
HOW = r"quit|left|was lost.*|broke a rule.*"
# How the notice starts that tells what the program cannot go on without.
TROUBLE = {"select": "* cannot wait any longer: ", "stdout": "* cannot write to stdout any longer: "}
END = re.compile(rf"^\* (?:you|server|alice|127\.0\.0\.1 port) ({HOW})$", re.M)


def meddling(function: str, what: str, when: str) -> tuple[str, ...]:
    """Return Python's flags to meddle with some calls of a function, as `meddle.py` has it."""
    return ("-I", "-S", str(ROOT / "tests" / "meddle.py"), function, what, when)


class Outcome(NamedTuple):
    """What came of a program, in words that are the same each time."""

    status: int
    out: str
    err: str
    heard: str  # by the other side
    meddled: bool
    connected: bool

    def ends(self) -> list[str]:
        """Return how the conversation ended, as often as it was told."""
        return END.findall(self.err)


class Pair(NamedTuple):
    """A client, and what it connects to."""

    program: Program
    listener: socket.socket


class MeddlingTest(ChatTest):
    """What is said of programs whose system calls fail."""

    def comes(self, stream: Stream, pattern: str) -> bool:
        """Wait for a pattern, or for the end of the stream; tell whether the pattern came."""
        try:
            stream.expect(pattern)
        except AssertionError:
            if not stream.ended:
                raise
            return False
        return True

    def outcome(self, program: Program, heard: str, connected: bool) -> Outcome:
        """Wait for the end of a program, and return what came of it. Whatever it was, it shows no
        traceback, and its notices are whole lines."""
        status = program.status()
        out, err = program.out.all(), program.err.all()
        self.assert_calm(program)
        program.kill()
        notices = re.sub(r"port \d+", "port", MEDDLING_LINES.sub("", err))
        self.assertRegex(notices, r"\A(\* [^\n]+\n)*\Z")
        return Outcome(status, out, notices, heard, "meddled" in err, connected)

    def picked_up(self, client: Pair, greeting: str) -> Partner | None:
        """Pick a client up, unless it ends before it connects."""
        waiting: list[Any] = []
        deadline = time.monotonic() + DEADLINE
        while not waiting and client.program.process.poll() is None:
            self.assertLess(time.monotonic(), deadline, "it neither connects nor ends")
            waiting = select.select([client.listener], [], [], 0.02)[0]
        waiting = waiting or select.select([client.listener], [], [], 0)[0]
        return self.accept(client.listener, greeting) if waiting else None

    def each_call(
        self,
        kinds: list[tuple[str, str]],
        begin: Callable[[str, str, str], Any],
        finish: Callable[[Any], Outcome],
        check: Callable[[str, str, Outcome], None],
        when: str = "count == {}",
    ) -> None:
        """Meddle with the first call of each function, then with the second, and so on, until no
        conversation has a call of that number any more; check what came of it. The programs for the
        same number of call run side by side."""
        number = 1
        while kinds:
            begun = [(kind, begin(*kind, when.format(number))) for kind in kinds]
            kinds = []
            for kind, program in begun:
                with self.subTest(function=kind[0], what=kind[1], number=number):
                    outcome = finish(program)
                    self.assertTrue(outcome.meddled or number > 1, "it has no such call")
                    if outcome.meddled:
                        kinds.append(kind)
                        check(*kind, outcome)
            number += 1
