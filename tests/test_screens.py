"""Two people at two screens: what they type, and what they see. In what they type, \\r is Enter."""

from __future__ import annotations

import random
import re
import sys
import termios
import time
import unittest
from itertools import product
from typing import Any

from harness import (
    BACKSPACE, CLIENT, CTRL_C, CTRL_D, DOWN, END, ESCAPE, HOME, LEFT, PASTE, PASTE_END, RIGHT, UP, ChatTest, Program, wait,
)  # fmt: skip

QUITS = ("\\quit\r", " \t\\QuIt \r", CTRL_D)  # in an empty row
AT_ONCE: dict[str, Any] = {"QUIET_SECONDS": 0.1, "PAUSE_SECONDS": 0.1}  # what comes after the end of a conversation


class ScreenTest(ChatTest):
    def two_people(self, **options: Any) -> tuple[Program, Program]:
        """Bob at a server, and alice at a client that is connected."""
        bob = self.server(terminal=True, **options)
        alice = self.client(bob, terminal=True, **options)
        alice.row("username> |")
        return bob, alice

    def talk(self, bob: Program, alice: Program, *steps: tuple[Program, str, str, str]) -> None:
        """Each step is: who types; what; and then bob's row and alice's, with | as the cursor."""
        for person, keys, bobs, alices in steps:
            person.types(keys)
            bob.row(bobs)
            alice.row(alices)

    def said(self, person: Program) -> list[str]:
        """Return all messages that a screen shows above the row."""
        return [line for line in person.out.lines()[:-1] if not line.startswith(("* ", "username> "))]


class Conversations(ScreenTest):
    def test_an_evening(self) -> None:
        bob, alice = self.two_people()
        carol = self.client(bob, terminal=True, name="carol")
        carol.row("(in the queue) |")
        typed = time.monotonic()
        self.talk(bob, alice,
            (alice, "alice\r", "(alice's turn) |", "alice> |"),
            (alice, "hello\r", "server> |", "(server's turn) |"),
            (alice, f"half a lyne{LEFT}{LEFT}", "server> |", "(server's turn) half a ly|ne"),
            (bob, "hi alice, how are you?\r", "(alice's turn) |", "alice> half a ly|ne"),
            (alice, f"{BACKSPACE}i\r", "server> |", "(server's turn) |"),
            (bob, "bye\r", "(alice's turn) |", "alice> |"),
            (alice, UP, "(alice's turn) |", "alice> half a line|"),
            (alice, DOWN, "(alice's turn) |", "alice> |"))  # fmt: skip
        alice.enters(r"\quit")
        alice.ends(0)
        bob.is_told("alice quit")
        carol.row("username> |")
        self.assertGreater(time.monotonic(), typed + 3)
        bob.types(CTRL_C)
        bob.is_told("server closed")
        bob.ends(0)
        carol.is_told("server quit")
        carol.ends(0)
        talk = ["alice> hello", "server> hi alice, how are you?", "alice> half a line", "server> bye"]
        self.assertEqual([self.said(bob), self.said(alice), self.said(carol)], [talk, talk, []])
        for person in (bob, alice, carol):
            self.assertNotIn("not sent", person.out.text)
            self.assertTrue(person.modes_as_found())
            self.assertEqual(person.screen.bells, 0)

    def test_a_line_out_of_turn_waits_for_its_turn(self) -> None:
        bob, alice = self.two_people()
        self.talk(bob, alice,
            (alice, "alice\rone\rtwo\rthree\rfo", "server> |", "(server's turn) (2 waiting) fo|"),
            (bob, "first\r", "server> |", "(server's turn) (1 waiting) fo|"),
            (alice, f"{BACKSPACE}{BACKSPACE}{UP}", "server> |", "(server's turn) three|"),
            (alice, " and a half\r", "server> |", "(server's turn) (1 waiting) |"),
            (bob, "second\r", "server> |", "(server's turn) |"),
            (bob, "third\rearly\r", "(alice's turn) (1 waiting) |", "alice> |"))  # fmt: skip
        talk = ["alice> one", "server> first", "alice> two", "server> second", "alice> three and a half", "server> third"]
        self.assertEqual([self.said(bob), self.said(alice)], [talk, talk])

    def test_where_nobody_is_there_yet_a_line_is_not_kept(self) -> None:
        bob = self.server(terminal=True, PAUSE_SECONDS=60)  # which is not for those without a name
        bob.enters("anybody?")
        bob.sees("* not sent (nobody is connected): anybody?")
        carol = self.visit(bob)
        bob.row("(no username yet) |")
        bob.enters("hello?")
        bob.sees("* not sent (no username yet): hello?")
        alice = self.client(bob, terminal=True)
        alice.row("(in the queue) |")
        alice.types("hello?\rali")
        alice.sees("* not sent (in the queue): hello?")
        carol.leaves()
        alice.row("username> ali|")
        self.talk(bob, alice,
            (bob, "hel", "(no username yet) hel|", "username> ali|"),
            (alice, "ce\rhi\r", "server> hel|", "(server's turn) |"))  # fmt: skip

    def test_a_line_that_breaks_a_rule_is_told_and_comes_back_with_arrow_up(self) -> None:
        bob, alice = self.two_people()
        alice.enters("alice alice")
        alice.is_told(r"not sent.*\b11\b")
        alice.types(UP, *[BACKSPACE] * 6, "\r")
        alice.row("alice> |")
        alice.enters("x" * 501)
        alice.is_told(r"not sent.*\b501\b.*\b500\b")
        alice.row("alice> |")
        alice.types(UP, BACKSPACE, "\r")
        bob.sees("alice> " + "x" * 500)

    def test_the_next_client_finds_nothing_of_the_one_before(self) -> None:
        bob, alice = self.server_and_hand(terminal=True, QUIET_SECONDS=1.1)
        alice.says("hello\x1b[2J\a")
        bob.sees(r"alice> hello\x1b[2J\x07")
        bob.types(f"hi alice\ra line\rhalf{LEFT}")
        bob.row("(alice's turn) (1 waiting) hal|f")
        ended = time.monotonic()
        alice.says(r"\quit")
        alice.hears_end("hi alice")
        bob.sees("* not sent (alice quit): a line", "* not sent (alice quit): half")
        carol = self.visit(bob, "carol")
        self.assertGreater(time.monotonic(), ended + 1)
        carol.says("hello")
        bob.row("server> |")
        bob.types(f"{UP}hi{UP} carol\r")
        carol.hears("hi carol")

    def test_whatever_is_typed_is_received_or_told(self) -> None:
        for seed in range(20):
            with self.subTest(seed=seed):
                self.evening(random.Random(seed))

    def evening(self, source: random.Random) -> None:
        """Two people type what they like, but no character twice. At last one of them quits."""
        bob, alice = self.two_people(columns=source.choice((80, 40)), **AT_ONCE)
        self.talk(bob, alice, (alice, "alice\r", "(alice's turn) |", "alice> |"))
        typed, characters = {bob: "", alice: ""}, map(chr, range(0x4E00, 0x9FFF))
        for _ in range(source.randrange(40)):
            person = source.choice((bob, alice))
            text = "".join(next(characters) for _ in range(source.choice((1, 2, 10))))
            typed[person] += text
            person.types(
                source.choice(("", LEFT, RIGHT, HOME, END, "\x1b[15~", "  ")),
                source.choice((text, f"{PASTE}{text[:1]}\r{text[1:]}{PASTE_END}")),
                source.choice(("", LEFT, "\r", "\r\r")))  # fmt: skip
        turn = {bob: "server>", alice: "alice>"}
        for person in turn:  # when both rows show the last key and one has the turn, all is calm
            person.types(END, "#")
        wait(lambda: all(p.screen.row().endswith("#") for p in turn)
             and sum(p.screen.row().startswith(turn[p]) for p in turn) == 1, "nobody has the turn")  # fmt: skip
        quitter, other = (bob, alice) if alice.screen.row().startswith("alice>") else (alice, bob)
        way = source.choice((CTRL_C, "\r\\quit\r", f"\r{CTRL_D}"))
        quitter.types(way)
        other.is_told("(alice|server) quit")
        if quitter is alice or way != CTRL_C:
            bob.types(CTRL_C)
        bob.ends(0)
        alice.ends(-2 if quitter is alice and way == CTRL_C else 0)

        self.assertEqual(self.said(bob), self.said(alice))
        for person, text in typed.items():
            lines = [line for line in person.out.lines() if line.startswith((turn[person], "* not sent"))]
            self.assertEqual(sorted(re.sub("[^\u4e00-\u9fff]", "", "".join(lines))), sorted(text))


class Endings(ScreenTest):
    def test_quit_at_every_moment(self) -> None:
        bob = self.server(terminal=True, **AT_ONCE)
        for keys in QUITS:
            bob.row("(nobody is connected) |")
            bob.types(keys)
            bob.is_told("Ctrl-C")
        for keys, (alice_quits, (typed, bobs, alices)) in zip(QUITS * 2, product((True, False), (
            ("", "(no username yet) |", "username> |"),
            ("alice\r", "(alice's turn) |", "alice> |"),
            ("alice\rhello\rearly\r", "server> |", "(server's turn) (1 waiting) |"),
        ))):  # fmt: skip
            alice = self.client(bob, terminal=True, **AT_ONCE)
            alice.row("username> |")
            self.talk(bob, alice, (alice, typed, bobs, alices))
            quitter, other = (alice, bob) if alice_quits else (bob, alice)
            quitter.types(keys)
            quitter.is_told("you quit")
            other.is_told(r"(alice|server|port \d+) quit")
            alice.ends(0)
            alice.row("|")

    def test_who_quits_has_the_terminal_back_before_the_goodbye(self) -> None:
        listener = self.listener()
        alice = self.client(listener, terminal=True)
        alice.row("(in the queue) |")
        alice.enters(r"\quit")
        server = self.accept(listener, "")
        server.hears_end(r"\quit")
        self.assertTrue(alice.modes_as_found())
        server.leaves()
        alice.ends(0)

    def test_when_the_other_side_has_ended_what_is_being_typed_goes_on(self) -> None:
        alice, server = self.client_and_hand(terminal=True, QUIET_SECONDS=60)
        alice.types("hello\rdo you know th")
        alice.row("(server's turn) do you know th|")
        server.says(r"\quit")
        server.hears_end("hello")
        alice.row("(server quit) do you know th|")
        alice.types("is")
        alice.resizes(30)
        alice.row("(server quit) o you know this|")
        alice.types("\ror")
        alice.sees("* not sent (server quit): do you know this")
        alice.row("(server quit) or|")
        alice.types(CTRL_C)
        alice.sees(r"\* not sent.*: or")
        alice.ends(-2)

    def test_only_when_it_is_quiet_comes_the_shell_or_the_next_client(self) -> None:
        bob, alice = self.server_and_hand(terminal=True, QUIET_SECONDS=2)
        carol, server = self.client_and_hand(terminal=True, QUIET_SECONDS=2, name="carol")
        dave = self.visit(bob)
        for person, peer in ((bob, alice), (carol, server)):
            person.types("half")
            peer.says(r"\quit")
            person.is_told("quit$")
        typed = time.monotonic()
        bob.types(" a line")
        carol.types(" a line")
        bob.sees("* not sent (alice quit): half a line")
        carol.sees("* not sent (server quit): half a line")
        carol.ends(0)
        dave.hears("chatserve.*")
        self.assertGreater(time.monotonic(), typed + 2)

    def test_a_half_typed_line_keeps_a_new_client_waiting(self) -> None:
        bob = self.server(terminal=True, QUIET_SECONDS=1.5)
        typed = time.monotonic()
        bob.types("half")
        bob.row("(nobody is connected) half|")
        self.visit(bob).hears("chatserve.*")
        self.assertGreater(time.monotonic(), typed + 1.5)
        bob.row("(no username yet) half|")

    def test_what_was_typed_to_nobody_is_told_before_the_next_client_comes(self) -> None:
        bob = self.server(terminal=True, QUIET_SECONDS=60)
        bob.types("half")
        bob.row("(nobody is connected) half|")
        carol = self.visit(bob)
        bob.types(" a line\r\\quit\r")
        bob.sees(r"\* not sent \(nobody is connected\): half a line")
        carol.hears("chatserve.*")


class Rows(ScreenTest):
    def test_a_line_longer_than_the_window_stays_in_one_row(self) -> None:
        long = "all of a line that is longer than a narrow window is"
        bob, alice = self.two_people(columns=40)
        self.talk(bob, alice,
            (alice, "alice\rhello\r", "server> |", "(server's turn) |"),
            (alice, long, "server> |", f"(server's turn) {long[-23:]}|"),
            (bob, long, f"server> {long[-31:]}|", f"(server's turn) {long[-23:]}|"),
            (bob, "\r", "(alice's turn) |", f"alice> {long[-32:]}|"),
            (alice, HOME, "(alice's turn) |", f"alice> |{long[:32]}"))  # fmt: skip
        alice.resizes(60)
        self.talk(bob, alice,
            (alice, "", "(alice's turn) |", f"alice> |{long}"),
            (alice, "\r", "server> |", "(server's turn) |"))  # fmt: skip
        talk = ["alice> hello", f"server> {long}", f"alice> {long}"]
        self.assertEqual([self.said(bob), self.said(alice)], [talk, talk])

    def test_a_key_in_two_packets_is_one_unless_half_a_second_lies_between(self) -> None:
        for seconds, row in ((60, "username> x日|y"), (0, "username> x日y[D|")):
            alice = self.two_people(ESCAPE_SECONDS=seconds)[1]
            alice.types(b"x\xe6")
            alice.row("username> x|")
            alice.types(b"\x97\xa5y", ESCAPE)
            alice.row("username> x日y|")
            alice.types("[D")
            alice.row(row)

    def test_a_paste_is_one_line_and_sent_with_enter(self) -> None:
        bob, alice = self.two_people(QUIET_SECONDS=0.1)
        pasted = f"{PASTE}one\r\n\x1b[31mtwo\r\\quit\r{PASTE_END}"
        self.talk(bob, alice,
            (alice, "alice\r", "(alice's turn) |", "alice> |"),
            (alice, pasted, "(alice's turn) |", r"alice> one two \quit |"),
            (alice, "\r", "server> |", "(server's turn) |"),
            (bob, f"{PASTE}its end\ris lost", "server> its end is lost|", "(server's turn) |"),
            (bob, "\r", "(alice's turn) |", "alice> |"),
            (alice, "\\quit\r", "(nobody is connected) |", ""))  # fmt: skip
        self.assertEqual(self.said(bob), [r"alice> one two \quit", "server> its end is lost"])
        self.assertEqual(re.findall(r"\x1b\[\?2004.", alice.out.text), ["\x1b[?2004h", "\x1b[?2004l"])

    def test_the_bell_rings_for_what_was_waited_for(self) -> None:
        bob, alice = self.two_people(BELL_SECONDS=0)
        self.talk(bob, alice,
            (alice, "alice\r", "(alice's turn) |", "alice> |"),
            (alice, "hello\r", "server> |", "(server's turn) |"),
            (bob, "hi\r", "(alice's turn) |", "alice> |"))  # fmt: skip
        # For the username and a message; for the greeting and a message.
        self.assertEqual([bob.screen.bells, alice.screen.bells], [2, 2])

    def test_a_terminal_passes_on_each_key_and_ctrl_c(self) -> None:
        stty = ("sh", "-c", 'stty -isig min 5 && exec "$@"', "sh", sys.executable, "-I", CLIENT)
        alice = self.start(*stty, "localhost", self.server().port, terminal=True, name="alice")
        alice.row("username> |")
        iflag, _, _, lflag, _, _, cc = termios.tcgetattr(alice.terminal)
        off, on = termios.ICANON | termios.ECHO | termios.IEXTEN, termios.ISIG | termios.NOFLSH
        self.assertEqual([lflag & (on | off), cc[termios.VMIN]], [on, 1])
        self.assertEqual(iflag & (termios.IXON | termios.ICRNL), 0)
        alice.types(CTRL_C)
        alice.ends(-2)

    def test_without_a_row_lines_wait_and_no_escape_sequence_is_written(self) -> None:
        bob = self.server(terminal=True, env={"TERM": "dumb"}, **AT_ONCE)
        for term, terminal in (
            ("TERM=dumb", True), ("TERM=unknown", True), ("TERM=network", True), ("-uTERM", True), ("TERM=xterm", "stdin stderr"),
        ):  # fmt: skip
            command = ("env", term, sys.executable, "-I", CLIENT, "localhost", bob.port)
            alice = self.start(*command, terminal=terminal, name="alice")
            alice.is_told("your turn")
            alice.enters("alice", "hello", "are you there?")
            bob.sees("alice> hello")
            bob.enters("yes")
            bob.sees("alice> are you there?")
            bob.enters("yes!")
            alice.sees("server> yes", "server> yes!")
            alice.is_told("your turn")
            alice.types(CTRL_D)
            alice.ends(0)
            self.assertTrue(alice.modes_as_found() and bob.modes_as_found())
            self.assertNotIn(ESCAPE, alice.out.text + alice.err.text + bob.out.text)


if __name__ == "__main__":
    unittest.main()
