"""What a terminal may do to a script: its calls fail, and a signal comes at any of them."""

from __future__ import annotations

import pathlib
import re
import shlex
import signal
import sys
import tempfile

from harness import CLIENT, CTRL_BACKSLASH, CTRL_Z, ENTER, GREETING, QUIT, TerminalTest, main, unread
from meddling import ALWAYS, MeddlingTest, Outcome, Pair, meddling


class AtATerminal(MeddlingTest, TerminalTest):
    """Signals and failures at a client whose person edits a line."""

    def begin(self, function: str, what: str, when: str) -> Pair:
        listener = self.listener()
        flags = meddling(function, what, when)
        return Pair(self.client_of(listener, terminal="in out err", flags=flags), listener)

    def finish(self, client: Pair) -> Outcome:
        """Type a username and `\\quit`, each when it is asked for, and wait for the end."""
        program, screen = client.program, client.program.at()
        heard, partner = "", self.picked_up(client, f"{GREETING} by hand\n")
        if partner:
            for text in ("alice", QUIT):
                if screen.expect(r"\* you|(username|alice)> ").group().startswith(b"*"):
                    break
                program.type(text + ENTER)
            heard = partner.rest()
            partner.close()
        status = program.status()
        self.assertTrue(self.is_as_found(program), "the terminal is as it was found")
        self.assert_calm(program)
        shown = screen.data.decode()
        notices = "".join(f"{notice}\n" for notice in re.findall(r"\* you [^\r\n]+", shown))
        program.kill()
        client.listener.close()
        return Outcome(status, shown, notices, heard, "meddled" in shown, bool(partner))

    def test_a_signal_at_every_call(self) -> None:
        def check(function: str, _: str, outcome: Outcome) -> None:
            if not outcome.connected:  # it came before there was a connection, or even a handler
                self.assertEqual(function, "signal")
                self.assertIn(outcome.status, (-signal.SIGTERM, 128 + signal.SIGTERM))
                return
            self.assertEqual(outcome.ends(), ["quit"], f"it is told once: {outcome}")
            self.assertIn(outcome.heard, ("\\quit\n", "alice\n\\quit\n"))
            self.assertIn(outcome.status, (0, 128 + signal.SIGTERM))

        kinds = [(function, when) for function in ("tcsetattr", "select", "signal", "keyboard", "stdout")
                 for when in ("before", "after")]  # fmt: skip
        self.each_call(kinds, self.begin, self.finish, check)

    def test_a_signal_between_ctrl_z_and_the_stop_ends_the_client_instead(self) -> None:
        shell, listener = self.bash(), self.listener()
        client = [sys.executable, *meddling("killpg", "before", "count == 1"), str(CLIENT), "127.0.0.1"]
        shell.type(f"{' '.join(map(shlex.quote, client))} {listener.getsockname()[1]}; echo status $?.\r")
        partner = self.accept(listener)
        shell.at().expect("username> ")
        shell.type(CTRL_Z)
        self.assert_goodbye(partner)
        partner.close()
        shell.at().expect(rf"you quit\r\n(.|\r|\n)*status {128 + signal.SIGTERM}\.")

    def test_a_terminal_that_fails_is_done_without(self) -> None:
        for function, what in (
            ("tcgetattr", "EIO"), ("tcsetattr", "EIO"), ("tcflush", "EIO"), ("get_terminal_size", "ENOTTY"), ("tcgetpgrp", "ENOTTY"),
        ):  # fmt: skip
            with self.subTest(function=function):
                listener = self.listener()
                client = self.client_of(listener, terminal="in out err", flags=meddling(function, what, ALWAYS))
                client.at().expect("picked up")
                partner = self.accept(listener)
                client.at().expect("type a username")
                for line in ("alice", "hello"):
                    client.type(line + ENTER)
                    self.assertEqual(partner.line(), line)
                partner.send("hi\n")
                client.at().expect("server> hi")
                client.type(QUIT + ENTER)
                self.assert_goodbye(partner)
                partner.close()
                self.assertEqual(client.status(), 0)
                self.assertIn("meddled", client.at().so_far())
                self.assertTrue(self.is_as_found(client))
                self.assert_calm(client)

    def test_what_was_typed_while_it_connected_in_vain_does_not_reach_the_shell(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder, "now")
            when = f"next(filter(None, iter(lambda: os.path.exists({str(mark)!r}), None)))"  # waits for it
            client = self.client_of(self.listener(), terminal="in out err", flags=meddling("connect", "ETIMEDOUT", when))
            client.type("rm -rf precious\r")
            self.wait_until_there_is_unread(client)
            mark.touch()
            self.assertEqual(client.status(), 1)
            client.at().expect("cannot connect to .*: Connection timed out")
            self.assertEqual(unread(client.slave), 0)

    def test_a_keyboard_that_fails_sends_nothing_that_is_half_typed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder, "from now on")
            flags = meddling("keyboard", "EIO", f"os.path.exists({str(mark)!r})")
            client, partner = self.client_at_turn(flags=flags)
            self.type_and_see(client, "half a line", "alice> half a line")
            mark.touch()
            client.type("x")
            self.assert_goodbye(partner)
            partner.close()
            self.assertEqual(client.status(), 0)
            client.at().expect(r"alice> half a line\r\n[^\n]*\* you quit\r\n")
            self.assert_calm(client)

    def test_a_screen_that_fails_as_the_terminal_hangs_up_is_told_by_sighup(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder, "now")
            hang_up = f"os.path.exists({str(mark)!r}) and not os.kill(os.getpid(), {signal.SIGHUP:d})"
            client, partner = self.client_at_turn(flags=meddling("stdout", "EIO", hang_up))
            mark.touch()
            client.type("x")
            self.assert_goodbye(partner)
            partner.close()
            self.assertEqual(client.status(), 128 + signal.SIGHUP)

    def test_sigquit_is_obeyed_as_the_other_signals(self) -> None:
        for program, partner, status in (
            (*self.client_at_turn(), 128 + signal.SIGQUIT), (*self.server_at_turn(), 0),
        ):  # fmt: skip
            self.type_and_see(program, "half", program.screen()[-1] + " half")
            program.type(CTRL_BACKSLASH)
            self.assertTrue(partner.rest().endswith(f"{QUIT}\n"))
            partner.close()
            self.assertEqual(program.status(), status)
            self.assertTrue(self.is_as_found(program))
            self.assertEqual(program.at().data.count(b"* you quit"), 1)
            self.assert_calm(program)


if __name__ == "__main__":
    main()
