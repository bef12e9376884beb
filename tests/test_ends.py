"""How a conversation, or a program, ends in every state; signals; and what shells do with jobs."""

from __future__ import annotations

import itertools
import os
import re
import sys
import termios
import unittest
from pathlib import Path
from signal import SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM
from typing import Any, Callable, Iterator, NamedTuple

from harness import CLIENT, CTRL_C, CTRL_D, CTRL_Z, ENTER, SERVER, ChatTest, Peer, Program, wait

QUIT, CTRL_U = r"\quit", "\x15"
SOON: Any = {"QUIET_SECONDS": 0.01, "PAUSE_SECONDS": 0.01}
NEVER: Any = {"QUIET_SECONDS": 60, "PAUSE_SECONDS": 60}


class State(NamedTuple):
    """Where a person is when the end comes."""

    who: str
    heard: list[str]  # what the other side has said
    said: list[str]  # what the person has answered
    row: str
    waiting: list[str]  # what was entered, and waits for its turn
    half: str  # what is half typed

    def whole_row(self) -> str:
        return f"{self.row}{' (2 waiting)' if self.waiting else ''} {self.half}|"


STATES = [
    State("alice", [], [], "(in the queue)", [], "is any"),
    State("alice", ["chatserve"], [], "username>", [], "al"),
    State("alice", ["chatserve"], ["alice"], "alice>", [], "hel"),
    State("alice", ["chatserve"], ["alice", "hello"], "(server's turn)", ["one", "two"], "thr"),
    State("bob", [], [], "(no username yet)", [], ""),
    State("bob", [], [], "(no username yet)", [], "who is th"),
    State("bob", ["alice"], [], "(alice's turn)", ["one", "two"], "thr"),
    State("bob", ["alice", "hello"], [], "server>", [], "hi al"),
]
TALKING = STATES[2:4] + STATES[6:]
SIGNALS = (SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGINT)
OTHER = r"(alice|port \d+|server\b.*)"
ENDS: tuple[tuple[str, Callable[[Program, Peer], None], str, int], ...] = (
    # what the person is told; the end; what the other side hears of it; the client's exit status
    ("you quit", lambda person, _: person.types(CTRL_U, r" \Quit ", ENTER), r"\\quit", 0),
    ("you quit", lambda person, _: person.types(CTRL_U, CTRL_D), r"\\quit", 0),
    (f"{OTHER} quit", lambda _, peer: peer.says(QUIT), "", 0),
    (f"{OTHER} left", lambda _, peer: peer.half_closes(), "", 1),
    (f"{OTHER} was lost", lambda _, peer: peer.resets(), "", 1),
    (f"{OTHER} was disconnected", lambda _, peer: peer.sends("x" * 70_000), r"\\quit|chatserve: .*", 1),
)


class EndsTest(ChatTest):
    def start_of(self, state: State, **options: Any) -> tuple[Program, Peer]:
        """Start a program and bring its person to a state. Return it, and the other side."""
        if state.who == "bob":
            bob = self.server(terminal=True, **options)
            return bob, self.bring(bob, self.visit(bob), state)
        listener = self.listener()
        alice = self.client(listener, terminal=True, **options)
        return alice, self.bring(alice, self.accept(listener, ""), state)

    def bring(self, program: Program, peer: Peer, state: State) -> Peer:
        """Have both sides say what was said before a state. Return the other side."""
        peer.says(*state.heard)
        program.row("username>" if state.said else state.row)
        program.enters(*state.said)
        peer.hears(*(state.said if state.who == "alice" else ["chatserve.*"]))
        program.row(state.row)
        program.enters(*state.waiting)
        program.types(state.half)
        program.row(state.whole_row())
        return peer

    def assert_unsent(self, program: Program, *lines: str, before: str = "") -> None:
        """The person was told that these lines were not sent, and no others."""
        told = re.findall(r"\* not sent.*?: (.*)\r", program.out.text[len(before) :])
        self.assertEqual(told, [line for line in lines if line])

    def type_on(self, program: Program, state: State, keys: str) -> None:
        program.types(keys)
        wait(lambda: state.half + keys in program.out.text, "the row goes on after the end")


class Ends(EndsTest):
    def test_every_end_in_every_state(self) -> None:
        bob: Any = None  # the same for all
        for state, (told, end, heard, status) in itertools.product(STATES, ENDS):
            if state.who == "bob":
                bob = program = bob or self.server(terminal=True, **SOON)
                peer = self.bring(bob, self.visit(bob), state)
            else:
                program, peer = self.start_of(state, **SOON)
            before = program.out.text
            end(program, peer)
            if "lost" not in told:
                peer.hears_end(*[heard] * bool(heard))
                peer.leaves()
            program.is_told(told)
            if program is bob:
                bob.is_told("waiting on")
                bob.row("(nobody is connected)")
            else:
                program.ends(status)
                self.assertTrue(program.modes_as_found())
            self.assert_unsent(program, *state.waiting, "" if told == "you quit" else state.half, before=before)

    def assert_ends(self, program: Program, number: int, *unsent: str) -> None:
        if program.name == "bob":
            program.is_told("server closed")
        program.ends(-number if program.name == "alice" else 0)
        self.assertTrue(program.modes_as_found())
        self.assert_unsent(program, *unsent)

    def test_signals_in_every_state(self) -> None:
        numbers = itertools.cycle(SIGNALS)
        for state, at_keyboard in itertools.product(STATES, (True, False)):
            program, peer = self.start_of(state)
            number = SIGINT if at_keyboard else next(numbers)
            if at_keyboard:
                program.types(CTRL_C)
            else:
                program.signals(number)
            peer.hears_end(QUIT)
            self.assertTrue(program.modes_as_found(), "not after the goodbye's second")
            peer.leaves()
            program.is_told("you quit")
            self.assert_ends(program, number, *state.waiting, state.half)

    def test_signals_to_a_server_to_which_nobody_is_connected(self) -> None:
        for number in SIGNALS:
            bob = self.server(terminal=True)
            bob.types("is any")
            bob.row("(nobody is connected) is any")
            bob.signals(number)
            self.assert_ends(bob, number, "is any")

    def test_signals_in_the_pause_after_the_other_side_ended_it(self) -> None:
        for state, number in zip(TALKING, SIGNALS):
            program, peer = self.start_of(state, **NEVER)
            peer.says(QUIT)
            peer.hears_end()  # at once
            self.type_on(program, state, "k")
            program.signals(number)
            self.assert_ends(program, number, *state.waiting, state.half + "k")

    def test_signals_in_the_goodbyes_second(self) -> None:
        for state, number in zip(TALKING, SIGNALS):
            program, peer = self.start_of(state, GOODBYE_SECONDS=60)
            program.types(CTRL_U, QUIT, ENTER)
            peer.hears_end(QUIT)
            program.signals(number)
            peer.leaves()
            self.assert_ends(program, number, *state.waiting)

    def test_signals_that_are_ignored_from_the_start(self) -> None:
        for number in (SIGTERM, SIGHUP, SIGQUIT, SIGINT):
            python = ("sh", "-c", f'trap "" {number:d}; exec "$@"', "sh", sys.executable, "-I", "-S")
            bob = self.start(*python, SERVER, 0, name="bob")
            alice = self.start(*python, CLIENT, "localhost", bob.is_told(r"port (\d+)")[1], name="alice")
            alice.is_told("connected")
            bob.signals(number)
            alice.signals(number)
            alice.enters("alice", "hello")
            bob.sees("alice> hello")

    def test_a_window_that_is_closed(self) -> None:
        for state in STATES:
            program, peer = self.start_of(state)
            program.hangs_up()
            peer.hears_end(QUIT)
            peer.leaves()
            program.ends(-SIGHUP if state.who == "alice" else 0)


@unittest.skipUnless(Path("/proc/self/stat").exists(), "only Linux tells which programs are stopped")
class Jobs(EndsTest):
    SHELLS = ("bash", "dash", "zsh")

    def start_in(self, shell: Program, line: str, state: State | None = None, **constants: Any) -> Peer:
        """Start a script, CHAT in the line; bring its person to a state, else greet. Return the other side."""
        listener, copy = self.listener(), self.copy(str(CLIENT), constants)
        client = f"{copy} localhost {listener.getsockname()[1]}"
        script = f"{SERVER} 0" if state and state.who == "bob" else client
        shell.enters("stty -g >~/modes; " + line.replace("CHAT", f"{sys.executable} -I -S {script}"))
        if line.endswith("&"):
            shell.enters("echo number $!")
            self.wait_until_stopped(int(shell.out.find(re.compile(r".*number (\d+)").fullmatch, "number")[1]))
            shell.enters("fg")
            shell.sees(".*fg")  # and not before that:
        shell.port = int(shell.is_told(r"(waiting on|connecting to) .* port (\d+)")[2])
        if state:
            peer = self.visit(shell) if state.who == "bob" else self.accept(listener, "")
            return self.bring(shell, peer, state)
        server = self.accept(listener)
        shell.is_told("connected")
        return server

    def jobs(self, line: str = "CHAT") -> Iterator[tuple[Program, Peer, State, int]]:
        """Start scripts in shells. Give the shell, the other side, the state, and the process."""
        for name, state in zip(itertools.cycle(self.SHELLS), TALKING):
            shell = self.shell(name)
            yield shell, self.start_in(shell, line, state), state, os.tcgetpgrp(shell.terminal)

    def wait_until_stopped(self, number: int) -> None:
        wait(lambda: ") T " in Path(f"/proc/{number}/stat").read_text(), f"{number} is stopped")

    def assert_prompt(self, shell: Program) -> None:
        """The shell waits for a command, and has run none; the terminal is as it was."""
        shell.row("$ |")
        shell.enters("stty -g | cmp - ~/modes && echo the $((1 + 1))nd line")
        shell.sees(".*the 2nd line")
        self.assertFalse((self.folder / "stolen").exists())

    def test_ctrl_z_then_bg_then_fg_then_kill(self) -> None:
        for shell, peer, state, number in self.jobs():
            shell.types(CTRL_Z)
            self.assert_prompt(shell)
            shell.enters("bg; echo the $((1 + 2))rd line")
            shell.sees(".*the 3rd line")
            self.wait_until_stopped(number)
            shell.enters("fg")
            shell.row(state.whole_row())
            shell.types(CTRL_Z)
            self.assert_prompt(shell)
            shell.enters("kill %1; kill -CONT %1")  # dash does not continue it by itself
            peer.hears_end(QUIT)
            shell.sees(f".*not sent.*: {state.half}")
            self.assert_unsent(shell, *state.waiting, state.half)

    def test_start_in_the_background_then_fg(self) -> None:
        list(self.jobs("CHAT &"))  # brings them to their states, and that is all

    def test_jobs_without_a_row(self) -> None:
        for name in self.SHELLS:
            shell = self.shell(name)
            server = self.start_in(shell, "TERM=dumb CHAT &")
            number = os.tcgetpgrp(shell.terminal)
            shell.types(CTRL_Z)
            self.assert_prompt(shell)
            shell.enters("bg")
            self.assert_prompt(shell)
            self.wait_until_stopped(number)
            shell.enters("kill %1; kill -CONT %1")
            server.hears_end(QUIT)

    def test_a_stop_and_an_end_from_elsewhere(self) -> None:
        for shell, peer, state, number in self.jobs():
            os.kill(number, SIGSTOP)
            shell.row("$ |")
            shell.types("fg\n")  # not Enter for dash, which sets no modes of its own
            shell.row(state.whole_row())
            shell.types(CTRL_Z)
            self.assert_prompt(shell)
            shell.enters("fg")
            shell.row(state.whole_row())
            os.kill(number, SIGSTOP)
            shell.row("$ |")
            shell.types("echo the $((1")
            modes = termios.tcgetattr(shell.terminal)
            os.kill(number, SIGTERM)
            os.kill(number, SIGCONT)
            peer.hears_end(QUIT)
            self.assertEqual(termios.tcgetattr(shell.terminal), modes)
            shell.types(" + 1))nd line\n")
            shell.sees(".*the 2nd line")

    def test_timeout_in_a_script(self) -> None:
        shell, port = self.shell("bash"), self.listener().getsockname()[1]
        shell.enters(f"bash -c 'timeout 0.5 chatclient localhost {port}; echo status $?'")
        shell.sees("status 124")

    def test_ctrl_c_in_a_scripts_loop(self) -> None:
        for line in ("CHAT", "TERM=dumb CHAT", "CHAT | tee ~/log"):
            shell = self.shell("bash")
            server = self.start_in(shell, f"bash -c 'while :; do {line}; done'")
            shell.types(CTRL_C)
            server.hears_end(QUIT)
            server.leaves()
            shell.row("$ |")
            self.assertEqual(shell.out.text.count("* connecting"), 1)

    def test_the_rest_of_a_sentence_is_not_run(self) -> None:
        for name in self.SHELLS:
            shell = self.shell(name)
            server = self.start_in(shell, "CHAT", STATES[2], **NEVER)
            server.says(QUIT)
            self.type_on(shell, STATES[2], "lo")
            shell.types("\rtouch ~/stolen\rtouch ~/sto", CTRL_C)
            self.assert_prompt(shell)

    def test_half_a_line_without_a_row_is_not_run(self) -> None:
        for name in self.SHELLS:
            shell = self.shell(name)
            server = self.start_in(shell, "TERM=dumb CHAT")
            shell.is_told("your turn")
            shell.types("touch ~/sto")
            shell.row("touch ~/sto|")
            server.says(QUIT)
            self.assert_prompt(shell)

    def test_what_is_typed_to_a_program_that_cannot_begin_is_not_run(self) -> None:
        port = self.listener().getsockname()[1]
        for name, command in itertools.product(self.SHELLS, ("chatclient localhost 1", f"chatserve {port}")):
            shell = self.shell(name)
            shell.types(f"stty -g >~/modes; {command}\rtouch ~/stolen\r")
            shell.is_told("cannot")
            self.assert_prompt(shell)

    def test_a_window_with_a_shell_that_is_closed(self) -> None:
        kinds = (("CHAT", False), ("CHAT", True), ("TERM=dumb CHAT", False), ("CHAT | tee ~/log", False))
        for name, (line, is_stopped) in itertools.product(self.SHELLS, kinds):
            shell = self.shell(name)
            server = self.start_in(shell, line)
            if is_stopped:
                shell.types(CTRL_Z)
                shell.row("$ |")
            shell.hangs_up()
            server.hears_end(QUIT)


if __name__ == "__main__":
    unittest.main()
