"""Both sides at pseudo-terminals: line editing, and what a person expects there."""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import termios
import time
import tty
import unittest

from harness import CLIENT, DEADLINE, SERVER, ChatTest, Peer, Program, main

ESCAPE = "\x1b"
ENTER = "\r"
UP, LEFT, RIGHT, HOME, END = "\x1b[A", "\x1b[D", "\x1b[C", "\x01", "\x05"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"


class TerminalTest(ChatTest):
    def server_at_turn(self, hello: str = "hello", **options: object) -> tuple[Program, Peer]:
        """Return a server whose person has the turn at the prompt, and its client."""
        server, port = self.server(0, terminal="in out err", **options)
        server.listens_on = port
        peer = self.visitor(port)
        peer.send(f"{hello}\n")
        self.at_prompt(server)
        return server, peer

    def client_at_turn(self, **options: object) -> tuple[Program, Peer]:
        client, peer = self.client_of_peer(terminal="in out err", **options)
        self.at_prompt(client)
        return client, peer

    def at_prompt(self, program: Program) -> None:
        assert program.terminal
        program.terminal.expect(r"(alice|server)> (?=[^\r\n]*$)")
        if program.environment["TERM"] == "xterm":
            self.wait_for(lambda: program.settings_now() != program.settings, "line editing is on")

    def wait_for(self, condition: object, what: str, within: float = DEADLINE) -> None:
        deadline = time.monotonic() + within
        while not condition():  # type: ignore[operator]
            self.assertLess(time.monotonic(), deadline, f"not in time: {what}")
            time.sleep(0.002)

    def wait_for_screen(self, program: Program, line: str) -> None:
        self.wait_for(lambda: line in program.screen(), f"{line!r} in {program.screen()}")

    def type_and_see(self, program: Program, text: str, last: str) -> None:
        """Type, and wait until the last line of the screen is `last`."""
        program.type(text)
        self.wait_for(lambda: program.screen()[-1] == last, f"{last!r} last in {program.screen()}")


class Editing(TerminalTest):
    def test_arrows_home_end_and_backspace_over_wide_characters(self) -> None:
        client, peer = self.client_at_turn()
        client.type("\u4f60\u597d\u4e16\x7f\u754c" + HOME + "<" + END + ">" + LEFT + LEFT + "|" + RIGHT + "!" + ENTER)
        self.assertEqual(peer.line(), "<\u4f60\u597d|\u754c!>")

    def test_history_has_messages_the_too_long_and_the_untimely_but_not_the_name(self) -> None:
        client, peer = self.client_at_turn()
        client.type(UP + UP + "first" + ENTER)  # nothing above: not the username
        self.assertEqual(peer.line(), "first")
        client.type("untimely\r")
        client.terminal.expect("not sent: it is the turn of server")
        peer.send("go on\n")
        self.at_prompt(client)
        client.type("x" * 501 + ENTER)
        client.terminal.expect("not sent: rule 3: 501 characters, 500 at most")
        self.at_prompt(client)
        client.type(UP + "\x7f" + ENTER)
        self.assertEqual(peer.line(), "x" * 500)
        for presses, text in ((3, "untimely"), (5, "first")):
            peer.send("go on\n")
            self.at_prompt(client)
            client.type(UP * presses + ENTER)
            self.assertEqual(peer.line(), text)

    def test_a_nul_can_be_typed(self) -> None:
        client, peer = self.client_at_turn()
        client.type("hello\r")
        self.assertEqual(peer.line(), "hello")
        self.wait_for(lambda: client.settings_now() == client.settings, "it waits")
        client.type(b"a\x00b\r")
        client.terminal.expect("not sent: it is the turn of server")
        peer.send("go on\n")
        self.at_prompt(client)

    def test_the_bell_does_not_ring_among_the_notices(self) -> None:
        listener = self.listener()
        port = listener.getsockname()[1]
        client = self.start(CLIENT, "127.0.0.1", port, terminal="in out")
        peer = self.accept(listener)
        client.terminal.expect("username> ")
        client.type(UP + "\x7fbob\r")
        self.assertEqual(peer.line(), "bob")
        peer.close()
        self.assertEqual(client.status(), 1)
        self.assert_calm(client)

    def test_several_pasted_lines_become_one_message_on_enter(self) -> None:
        client, peer = self.client_at_turn()
        client.type(f"{PASTE}one\rtwo\r\\quit{PASTED}")
        self.assertIn(ESCAPE + "[?2004h", client.terminal.so_far())  # the terminal was asked to
        self.wait_for(lambda: "\\quit" in client.screen()[-1], "the paste shows")
        client.type(ENTER)
        self.assertEqual(peer.line(), "one two \\quit")

    def test_a_half_typed_line_survives_a_message_and_goes_on_at_the_prompt(self) -> None:
        server, port = self.server(0, terminal="in out err")
        peer = self.visitor(port)
        peer.send("hello\n")
        self.at_prompt(server)
        server.type("hi\r")
        self.assertEqual(peer.line(), "hi")
        self.type_and_see(server, "half a l", "half a l")
        peer.send("interrupted?\n")
        self.wait_for(lambda: server.screen()[-1] == "server> half a l", "the line goes on")
        self.assertEqual(server.screen()[-2], "alice> interrupted?")
        server.type("ine" + ENTER)
        self.assertEqual(peer.line(), "half a line")

    def test_no_character_is_lost_fifty_times_in_a_row(self) -> None:
        server, peer = self.server_at_turn()
        for i in range(50):
            self.type_and_see(server, f"re{i}", f"server> re{i}")
            self.type_and_see(server, f"ply{ENTER}", "")
            self.assertEqual(peer.line(), f"re{i}ply")
            self.type_and_see(server, f"ha{i}", f"ha{i}")
            peer.send(f"message {i}\n")
            self.wait_for(lambda: server.screen()[-1] == f"server> ha{i}", "the prompt")  # noqa: B023
            self.assertEqual(server.screen()[-3:-1], [f"server> re{i}ply", f"alice> message {i}"])
            self.type_and_see(server, "\x7f" * 4, "server>")


class TheEndAtAPrompt(TerminalTest):
    LINES = [f"line {i} {'x' * 90}" for i in range(400)]

    def noticed(self, program: Program, notice: str, after: str) -> None:
        """The notice comes within half a second (and a margin), on a line of its own."""
        assert program.terminal
        begin = time.monotonic()
        program.terminal.expect(re.escape(notice))
        self.assertLess(time.monotonic() - begin, 1.5)
        screen = program.screen()
        self.assertIn(notice, screen)
        self.assertIn(after, screen)
        self.wait_for(lambda: program.settings_now() == program.settings, "settings as before")
        self.assertNotIn("Traceback", program.terminal.so_far())

    def test_every_end_is_noticed_with_a_reply_half_typed(self) -> None:
        ends = (
            ("quit", lambda peer: peer.send("\\quit\n")),
            ("left", Peer.close),
            ("was lost (Connection reset by peer)", Peer.reset),
            ("left", lambda peer: (peer.send("\n".join(self.LINES) + "\n"), peer.close())),
        )
        for how, end in ends:
            with self.subTest(how=how):
                server, peer = self.server_at_turn()
                self.type_and_see(server, "half typed", "server> half typed")
                end(peer)
                self.noticed(server, f"* alice {how}", "server> half typed")
                client, peer = self.client_at_turn()
                self.type_and_see(client, "half typed", "alice> half typed")
                end(peer)
                self.noticed(client, f"* server {how}", "alice> half typed")
                self.assertEqual(client.status(), 0 if how == "quit" else 1)
        text = client.screen()
        first = text.index(f"server> {self.LINES[0]}"[:80])
        self.assertEqual(text[first : first + 800 : 2], [f"server> {line}"[:80] for line in self.LINES])

    def test_a_client_that_is_interrupted_or_killed_is_noticed(self) -> None:
        for number, how in ((signal.SIGINT, "quit"), (signal.SIGKILL, "left")):
            server, port = self.server(0, terminal="in out err")
            client = self.start(CLIENT, "localhost", port)
            client.type("alice\nhello\n")
            self.at_prompt(server)
            self.type_and_see(server, "half typed", "server> half typed")
            client.signal(number)
            self.noticed(server, f"* alice {how}", "server> half typed")

    def test_the_end_is_noticed_while_waiting_with_a_line_half_typed(self) -> None:
        client, peer = self.client_at_turn()
        client.type("hello\r")
        self.assertEqual(peer.line(), "hello")
        self.type_and_see(client, "half typed", "half typed")
        peer.close()
        self.noticed(client, "* server left", "alice> hello")
        self.assertEqual(client.status(), 1)

    def test_a_tick_that_comes_while_keys_are_worked_on_is_not_the_last(self) -> None:
        server, peer = self.server_at_turn()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:  # keep readline busy
            server.type("many words \x15")
        peer.close()
        self.noticed(server, "* alice left", "* alice left")

    def test_two_signals_at_once_at_the_prompt(self) -> None:
        for first, second in ((signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, None)):
            for program, peer in (self.server_at_turn(), self.client_at_turn()):
                program.signal(signal.SIGSTOP)
                time.sleep(0.3)  # a tick of the timer comes meanwhile, too
                program.signal(first)
                if second:
                    program.signal(second)
                program.signal(signal.SIGCONT)
                self.assertTrue(peer.rest().endswith("\\quit\n"))
                peer.close()
                self.assertIn(program.status(), (0, 128 + first, 128 + signal.SIGHUP))
                self.assertNotIn("Traceback", program.terminal.so_far())
                self.assertEqual(program.settings_now(), program.settings)

    def test_ctrl_c_amid_fast_typing(self) -> None:
        for i in range(10):
            client, peer = self.client_at_turn()
            client.type("abc\x7f\x7f\x7f" * (20 + i) + "\x03")
            client.terminal.expect(r"\* you \(alice\) quit", within=5)
            self.assertEqual(peer.rest(), "\\quit\n")
            peer.close()
            self.assertEqual(client.status(), 130)

    def test_a_terminal_that_hangs_up(self) -> None:
        for script in (SERVER, CLIENT):
            listener = self.listener()
            arguments = (0,) if script is SERVER else listener.getsockname()
            program = self.start(script, *arguments, terminal="in out", stderr=subprocess.DEVNULL)
            program.terminal.read(0.5)
            program.hang_up()
            self.assertEqual(program.status(), 0 if script is SERVER else 129)

    def test_a_prompt_costs_next_to_nothing(self) -> None:
        server, _ = self.server_at_turn()
        self.assertLess(processor_seconds(server.pid, 1.0), 0.05)

    def test_the_terminal_is_restored_and_the_status_right_after_a_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            server, peer = self.server_at_turn()
            client, other = self.client_at_turn()
            for program, partner, status in ((server, peer, 0), (client, other, 128 + number)):
                self.type_and_see(program, "half", program.screen()[-1] + " half")
                if number == signal.SIGINT:
                    program.type("\x03")
                else:
                    program.signal(number)
                self.assertEqual(partner.line(), "\\quit")
                program.signal(signal.SIGTERM)  # while the first is being obeyed
                partner.close()
                self.assertEqual(program.status(), status)
                self.assertEqual(program.settings_now(), program.settings)
                text = program.terminal.so_far()
                self.assertEqual(text.count(ESCAPE + "[?2004h"), text.count(ESCAPE + "[?2004l"))
                self.assertRegex(program.screen()[-2], r"^\* (server closed|you \(alice\) quit)$")
                self.assertEqual(program.screen()[-1], "")
                self.assertNotIn("Traceback", text)


class Keys(TerminalTest):
    def test_ctrl_d_is_quit_and_leaves_the_server_running(self) -> None:
        server, peer = self.server_at_turn()
        server.type("\x04")
        self.assertEqual(peer.rest(), "\\quit\n")
        server.terminal.expect(r"\* you \(server\) quit\r\n\* waiting on")
        client, peer = self.client_at_turn()
        client.type("hello\r")
        self.assertEqual(peer.line(), "hello")
        self.wait_for(lambda: client.settings_now() == client.settings, "it waits")
        client.type("\x04")  # while the other side has the turn
        self.assertEqual(peer.rest(), "\\quit\n")
        peer.close()
        self.assertEqual(client.status(), 0)

    def test_ctrl_d_behind_half_a_line_sends_nothing(self) -> None:
        client, peer = self.client_at_turn(env={"TERM": "dumb"})
        client.type("half a line\x04\x04")
        self.assertEqual(peer.rest(), "\\quit\n")
        peer.close()
        self.assertEqual(client.status(), 0)
        self.assertIn("* you (alice) quit", client.screen())

    def test_quit_can_be_typed_while_waiting(self) -> None:
        server, port = self.server(0, terminal="in out err")
        silent = self.peer(port)
        server.terminal.expect("connected")
        server.type("who are you?\r")
        server.terminal.expect(r"not sent: it is the turn of 127\.0\.0\.1 port \d+")
        server.type(" \\quit\r")
        silent.line()
        self.assertEqual(silent.rest(), "\\quit\n")

    def test_lines_in_one_packet_are_sent_in_turn_only(self) -> None:
        client, peer = self.client_at_turn()
        client.type("one\rtwo\rthr")
        self.assertEqual(peer.line(), "one")
        client.terminal.expect("not sent: it is the turn of server")
        peer.send("go on\n")
        self.wait_for(lambda: client.screen()[-1] == "alice> thr", "the half line goes on")
        client.type("ee\r")
        self.assertEqual(peer.line(), "three")

    def test_enters_alone_are_told_and_asked_again(self) -> None:
        client, peer = self.client_at_turn()
        client.type("\r\r\r")
        for _ in range(3):
            client.terminal.expect("not sent: nothing but white space")
        client.type("then this\r")
        self.assertEqual(peer.line(), "then this")

    def test_a_name_that_breaks_a_rule_is_asked_for_again(self) -> None:
        listener = self.listener()
        client = self.at_terminal(CLIENT, "127.0.0.1", listener.getsockname()[1])
        client.terminal.expect("picked up")
        client.type("early\r")
        client.terminal.expect(r"not sent: it is the turn of 127\.0\.0\.1 port")
        peer = self.accept(listener)
        for name in ("two words", "server", "elevenchars", "", "alice"):
            client.terminal.expect("username> ")
            client.type(name + "\r")
        self.assertEqual(peer.line(), "alice")


class Readers(TerminalTest):
    """Nothing typed for one reader reaches another."""

    def test_what_is_typed_to_one_who_left_does_not_reach_the_next(self) -> None:
        server, port = self.server(0, terminal="in out err")
        first = self.visitor(port, "alice")
        first.send("hello\n")
        self.at_prompt(server)
        second = self.visitor_in_queue(port, "bob\nhello\n")
        server.type("dear al")
        first.close()
        server.terminal.expect(r"\* alice left\r\n")
        begin = time.monotonic()
        server.type("ice, I love you\r")
        self.answer_to_bob(server, second)
        self.assertGreater(time.monotonic() - begin, 0.5)  # of the second that it waits

    def visitor_in_queue(self, port: int, lines: str) -> Peer:
        peer = self.peer(port)
        peer.send(lines)
        return peer

    def test_the_pause_is_for_a_peer_that_broke_a_rule_as_well(self) -> None:
        server, first = self.server_at_turn()
        second = self.visitor_in_queue(server.listens_on, "bob\nhello\n")
        server.type("dear al")
        first.send("x\n" * 40_000)
        first.half_close()
        server.terminal.expect(r"\* alice broke rule 4.*\r\n")
        begin = time.monotonic()
        first.close()
        server.type("ice, I love you\r")
        server.terminal.expect(r"\* waiting on")
        self.assertGreater(time.monotonic() - begin, 0.5)  # of the second that it waits
        self.answer_to_bob(server, second)

    def answer_to_bob(self, server: Program, bob: Peer) -> None:
        server.terminal.expect("bob> hello")
        self.at_prompt(server)
        server.type("hi bob\r")
        bob.line()
        self.assertEqual(bob.line(), "hi bob")

    def test_what_is_typed_right_before_the_first_prompt_is_dropped(self) -> None:
        server, port = self.server(0, terminal="in out err")
        bob = self.visitor(port, "bob")
        server.terminal.expect("is bob")
        server.type("not for b")
        server.terminal.expect("not for b")
        bob.send("hello\n")
        self.at_prompt(server)
        server.type("hi bob\r")
        self.assertEqual(bob.line(), "hi bob")

    def test_what_is_typed_while_nobody_is_connected_reaches_nobody(self) -> None:
        server, port = self.server(0, terminal="in out err")
        server.type("hello?\r\\quit\ranybody?")
        server.terminal.expect(r"anybody\?")
        peer = self.visitor_in_queue(port, "alice\nhello\n")
        self.at_prompt(server)
        server.type("hi\r")
        peer.line()
        self.assertEqual(peer.line(), "hi")

    def test_what_is_unread_when_the_client_exits_does_not_reach_the_shell(self) -> None:
        client, peer = self.client_at_turn()
        client.type("hello\r")
        peer.line()
        self.wait_for(lambda: client.settings_now() == client.settings, "it waits")
        client.signal(signal.SIGSTOP)
        client.type("rm -rf precious")
        client.terminal.expect("precious")
        peer.send("\\quit\n")
        client.signal(signal.SIGCONT)
        self.assertEqual(client.status(), 0)
        tty.setraw(client.slave, termios.TCSANOW)  # which lets half a line be read
        unread = struct.unpack("i", fcntl.ioctl(client.slave, termios.FIONREAD, b"\0" * 4))[0]
        self.assertEqual(unread, 0)

    def test_the_pause_is_only_for_a_person_at_the_prompt(self) -> None:
        server, port = self.server(0, terminal="in out err")
        begin = time.monotonic()
        for i in range(10):
            self.visitor_in_queue(port, f"guest{i}\nhello\n\\quit\n").rest()
        self.assertLess(time.monotonic() - begin, 5)


class WithoutEditing(TerminalTest):
    """The same conversations where there is no readline, or no terminal that knows escapes."""

    def converse(self, script_terminal: str = "in out err", **options: object) -> tuple[str, str]:
        """Hold a small conversation; return what the client's terminal and its stdout got."""
        listener = self.listener()
        port = listener.getsockname()[1]
        client = self.start(CLIENT, "127.0.0.1", port, terminal=script_terminal, **options)
        peer = self.accept(listener)
        client.terminal.expect("username> ")
        client.type("alice\n")
        self.assertEqual(peer.line(), "alice")
        client.terminal.expect("alice> ")
        client.type("\n")
        client.terminal.expect("white space")
        client.type("x" * 501 + "\n")
        client.terminal.expect("501 characters")
        client.type("hello\n")
        self.assertEqual(peer.line(), "hello")
        client.type("untimely\n")
        client.terminal.expect("it is the turn of server")
        client.type("half a ")
        client.terminal.expect("half a ")
        peer.send("hi alice\n")
        client.terminal.expect("alice> ")
        client.type("line\n")
        self.assertEqual(peer.line(), "half a line")
        peer.send("one more\n")
        client.terminal.expect("alice> ")
        client.type("never sent")
        client.terminal.expect("never sent")
        peer.close()
        self.assertEqual(client.status(), 1)
        client.terminal.expect(r"\n\* server left\r\n")
        self.assertEqual(client.settings_now(), client.settings)
        return client.terminal.so_far(), client.out.so_far()

    def test_terminals_that_know_no_escapes_get_none(self) -> None:
        for term in ("dumb", ""):
            with self.subTest(term=term):
                text, _ = self.converse(env={"TERM": term})
                self.assertNotIn(ESCAPE, text)
                self.assertIn("\nserver> hi alice\r\n", text)

    def test_without_term(self) -> None:
        text, _ = self.converse(prefix=("env", "-u", "TERM"))
        self.assertNotIn(ESCAPE, text)

    def test_without_readline(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "readline.py").write_text("raise ImportError\n")
            text, _ = self.converse(flags=(), env={"PYTHONPATH": folder})
            self.assertNotIn(ESCAPE, text)

    def test_a_log_through_a_pipe_holds_the_conversation_alone(self) -> None:
        text, log = self.converse("in err")
        self.assertEqual(log, "server> hi alice\nserver> one more\n")
        self.assertNotIn(ESCAPE, text)


def processor_seconds(pid: int, seconds: float) -> float:
    """Return the processor time that a process uses in so many seconds."""
    ticks = [0, 0]
    for i in range(2):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks[i] = int(fields[11]) + int(fields[12])
        if i == 0:
            time.sleep(seconds)
    return (ticks[1] - ticks[0]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
