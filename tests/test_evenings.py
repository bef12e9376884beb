"""Random evenings: two people who do what they like, and a network that does what it likes.

`python3 tests/test_evenings.py [COUNT [SEED]]` for more of them. Each evening has a seed, with which
it can be had again: `python3 tests/test_evenings.py 1 SEED`.
"""

from __future__ import annotations

import random
import re
import signal
import sys
from typing import Callable

from harness import (
    BACKSPACE, CLIENT, CONNECTED, CTRL_C, CTRL_D, CTRL_K, CTRL_U, CTRL_W, CTRL_Z, DELETE, DOWN, END, ENTER,
    HOME, LEFT, MARKS, MESSAGE_LONGEST, PASTE_START, PASTE_END, QUIT, RIGHT, SERVER, UP, ChatTest, Partner, Patience, Program, main, unread,
)  # fmt: skip

COUNT = 20
SEED = 1
ACTS = 60  # in an evening

KEYS = (BACKSPACE, LEFT, RIGHT, HOME, END, DELETE, CTRL_U, CTRL_K, CTRL_W, UP, DOWN, "\x1b[15~", "\t")
WORDS = ("hello", "how are you?", " ", "\u65e5\u672c", "na\u00efve", "\U0001f600", "x" * 90, "\\quit?", "* bob quit")


class Side:
    """One of the two: what its person typed, and what it must show and have sent.

    A person at a terminal has a row: a model of it, as simple as can be. Others type whole lines.
    """

    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.name = name
        self.sent: list[str] = []  # messages
        self.has_row = program.terminal is not None
        self.line = ""
        self.cursor = 0
        self.recalled = 0
        self.draft = ""

    def key(self, key: str) -> None:
        """Do to the line what a key does."""
        before, behind = self.line[: self.cursor], self.line[self.cursor :]
        if key in (UP, DOWN):
            self.recall(self.recalled + (1 if key == UP else -1))
            return
        if key == BACKSPACE:
            before = before[:-1]
        elif key == DELETE:
            behind = behind[1:]
        elif key == LEFT:
            before, behind = before[:-1], before[-1:] + behind
        elif key == RIGHT:
            before, behind = before + behind[:1], behind[1:]
        elif key == HOME:
            before, behind = "", before + behind
        elif key == END:
            before, behind = before + behind, ""
        elif key == CTRL_U:
            before = ""
        elif key == CTRL_K:
            behind = ""
        elif key == CTRL_W:
            before = re.sub(r"\S+\s*\Z|\s+\Z", "", before) if before.strip() else ""
        elif key == "\t":
            before += " "
        elif key[0] != "\x1b":
            before += key
        self.line, self.cursor = before + behind, len(before)

    def recall(self, number: int) -> None:
        if not 0 <= number <= len(self.sent):
            return
        if self.recalled == 0:
            self.draft = self.line
        self.recalled = number
        self.line = self.sent[-number] if number else self.draft
        self.cursor = len(self.line)

    def clear(self) -> None:
        self.line, self.cursor, self.recalled, self.draft = "", 0, 0, ""


class Evening:
    """An evening of a server and a client, both programs; what happens is chosen with a seed."""

    def __init__(self, test: ChatTest, seed: int) -> None:
        self.test = test
        self.random = random.Random(seed)
        self.columns = self.random.choice((80, 40, 24))
        terminal, pipes = {"terminal": "in out err", "columns": self.columns}, {"terminal": ""}
        kinds = self.random.choice(((terminal, terminal), (terminal, terminal), (terminal, pipes), (pipes, terminal)))
        server_program = test.start(SERVER, 0, **kinds[0])
        self.port = server_program.port()
        client_program = test.start(CLIENT, "localhost", self.port, **kinds[1])
        client_program.err.expect(CONNECTED)
        client_program.type("alice" + self.enter(client_program))
        server_program.err.expect("is alice")
        self.server = Side(server_program, "server")
        self.client = Side(client_program, "alice")
        self.sides = (self.server, self.client)
        self.turn = self.client
        self.ended = ""  # what the client and the server must tell of the end
        self.settle()

    def enter(self, program: Program) -> str:
        return ENTER if program.terminal else "\n"

    def other(self, side: Side) -> Side:
        return self.client if side is self.server else self.server

    def settle(self) -> None:
        """Wait until each row shows what it must, as far as it fits."""
        for side in self.sides:
            if side.has_row:
                patience = Patience()
                while not self.shows(side):
                    if not patience.lasts():
                        raise AssertionError(f"{side.name}: not {self.row(side)!r} but {side.program.screen()[-3:]}")
                    side.program.at().wait()

    def row(self, side: Side) -> str:
        prompt = f"{side.name}> " if side is self.turn else ""
        return prompt + side.line

    def shows(self, side: Side) -> bool:
        """Tell whether the row shows the line: all of it if it fits, and else a part of it."""
        shown, wanted = side.program.screen()[-1], self.row(side)
        if len(wanted) < self.columns / 3:  # so that wide characters do not matter
            return shown == wanted.rstrip()
        prompt = f"{side.name}> " if side is self.turn else ""
        return shown.startswith(prompt.rstrip()) and shown[len(prompt) :].strip() in side.line

    # What can happen.

    def type_keys(self, side: Side) -> None:
        for _ in range(self.random.randrange(1, 6)):
            key = self.random.choice(KEYS if self.random.random() < 0.4 else WORDS)
            side.program.type(key)
            side.key(key)
        self.settle()

    def paste(self, side: Side) -> None:
        lines = [self.random.choice(WORDS) for _ in range(3)]
        side.program.type(PASTE_START + "\r".join(lines) + PASTE_END)
        side.key(" ".join(lines))
        self.settle()

    def press_enter(self, side: Side) -> None:
        """At one's turn the line is sent if it has no fault, and otherwise it stays."""
        side.program.type(ENTER)
        fits = bool(side.line.strip()) and len(side.line) <= MESSAGE_LONGEST
        if side.line.strip() == QUIT:
            self.end(side, 0)
        elif side is self.turn and fits:
            self.send(side, side.line)
            side.clear()
        else:
            side.program.err.expect("not sent: ")
        if not self.ended:
            self.settle()

    def send(self, side: Side, text: str) -> None:
        """The other side shows a line that was sent, once."""
        side.sent.append(text)
        self.turn = self.other(side)
        if len(self.client.sent) == 1:  # what the server's person typed before was for somebody else
            self.server.clear()
        shown = re.escape(f"{side.name}> {text}")
        self.turn.program.out.expect(shown + "\r?\n")

    def whole_line(self, side: Side) -> None:
        """Type a line and its Enter at once; through a pipe, at one's turn only."""
        if side.has_row:
            text = self.random.choice(WORDS).strip() or "a line"
            side.program.type(text)
            side.key(text)
            self.press_enter(side)
        elif side is self.turn:
            text = self.random.choice(WORDS).strip() or "a line"
            side.program.type(f"{text}\n")
            self.send(side, text)
            self.settle()

    def stop_and_continue(self, side: Side) -> None:
        """Ctrl-Z where no shell can continue it; or a while stopped by somebody else."""
        shown = side.program.at()
        shown.so_far()
        shown.position = len(shown.data)
        if self.random.random() < 0.5:
            side.program.type(CTRL_Z)
        else:
            side.program.freeze()
            side.program.signal(signal.SIGCONT)
        shown.expect(re.escape(MARKS))  # until then, the terminal's own line discipline has the keys
        self.settle()

    def another_size(self, side: Side) -> None:
        self.columns = self.random.choice((80, 40, 24))
        for one in self.sides:
            if one.has_row:
                self.wait_until_it_rests(one.program)  # else it may draw for the size that was
                one.program.resize(self.columns)
        self.settle()

    def wait_until_it_rests(self, program: Program) -> None:
        """Wait until a program has read all that was typed, and drawn what that makes of the row."""
        seen = -1
        while seen != len(program.at().so_far()):
            seen = len(program.at().so_far())
            self.test.wait_for(lambda: unread(program.slave) == 0, lambda: "it is read")
            program.at().read(0.05)

    def somebody_in_the_queue(self, side: Side) -> None:
        """Somebody connects, and leaves before being picked up."""
        del side  # it is nothing to either
        visitor = self.test.partner(self.port)
        visitor.send("visitor\nhello\n" + f"{QUIT}\n" * self.random.randrange(2))
        self.random.choice((Partner.close, Partner.reset))(visitor)

    def end(self, side: Side, status: int) -> None:
        """Somebody ends the evening."""
        self.ended = f"{side.name} quit"
        self.status = status if side is self.client else 0

    def quit(self, side: Side) -> None:
        if side.has_row:
            side.program.type(f"{CTRL_U}{CTRL_K}{QUIT}{ENTER}")
            side.clear()
        else:
            side.program.end_input()
            if side is not self.turn:  # which is noticed at its turn
                other = self.other(side)
                if not other.has_row:
                    other.program.end_input()
                    self.end(other, 0)
                    return
                other.program.type(f"{CTRL_U}{CTRL_K}bye{ENTER}")
                other.clear()
                self.send(other, "bye")
        self.end(side, 0)

    def ctrl_d(self, side: Side) -> None:
        if side.has_row and not side.line:
            side.program.type(CTRL_D)
            self.end(side, 0)

    def interrupt(self, side: Side) -> None:
        number = self.random.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        if side.has_row and number == signal.SIGINT:
            side.program.type(CTRL_C)
        else:
            side.program.signal(number)
        self.end(side, 128 + number if side is self.client else 0)

    def kill(self, side: Side) -> None:
        side.program.signal(signal.SIGKILL)
        self.ended = f"{side.name} left"
        self.status = -signal.SIGKILL if side is self.client else 1

    def spend(self) -> None:
        """Spend the evening, and look at what has come of it."""
        common = [self.type_keys] * 8 + [self.whole_line] * 6 + [self.press_enter] * 3
        common += [self.paste, self.stop_and_continue, self.another_size, self.somebody_in_the_queue]
        for _ in range(ACTS):
            act, side = self.random.choice(common), self.random.choice(self.sides)
            if not side.has_row and act not in (self.whole_line, self.somebody_in_the_queue):
                continue
            act(side)
            if self.ended:
                break
        ends: list[Callable[[Side], None]] = [self.quit, self.ctrl_d, self.interrupt, self.kill]
        while not self.ended:
            self.random.choice(ends)(self.random.choice(self.sides))
        self.assert_end()

    def assert_end(self) -> None:
        """Both programs tell the end, with the right status; nothing was shown but what was sent,
        once and in order; the terminals are as they were found."""
        test, client, server = self.test, self.client.program, self.server.program
        name, how = self.ended.split()
        killed = self.client if name == "alice" else self.server
        for side in self.sides:
            if how == "quit" or side is not killed:
                who = "you" if side is killed and how == "quit" else name
                side.program.err.expect(rf"\* {who} {how}\r?\n")
        test.assertEqual(client.status(), self.status)
        if not (how == "left" and name == "server"):
            if server.process.poll() is None:
                server.signal(signal.SIGTERM)
            test.assertEqual(server.status(), 0)
        for side in self.sides:
            if how == "quit" or side is not killed:
                self.assert_shown(side)
                if side.has_row:
                    test.assertEqual(side.program.settings_now(), side.program.settings)
                    side.program.look()
                    test.assertFalse(side.program.display.marks_pastes)
        test.assert_calm(client, server)

    def assert_shown(self, side: Side) -> None:
        other = self.other(side)
        if side.has_row:
            text = side.program.at().so_far()
            shown = re.findall(rf"(?:\r\x1b\[K|\n|^){other.name}> ([^\r]*)\r\n", text)
        else:
            shown = re.findall(rf"(?m)^{other.name}> (.*)$", side.program.out.so_far())
        self.test.assertEqual(shown, other.sent)


class Evenings(ChatTest):
    def test_random_evenings(self) -> None:
        for seed in range(SEED, SEED + COUNT):
            with self.subTest(seed=seed):
                evening = Evening(self, seed)
                try:
                    evening.spend()
                finally:
                    for side in evening.sides:
                        side.program.kill()


if __name__ == "__main__":
    numbers = [int(sys.argv.pop(1)) for _ in sys.argv[1:3] if sys.argv[1].isdigit()]
    COUNT, SEED = (*numbers, *(COUNT, SEED)[len(numbers) :])
    main()
