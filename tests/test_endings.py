"""How a conversation ends: quit, left, lost, by a signal; also while a person types."""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import time
import unittest

from harness import (
    BACKSPACE, CLIENT, CONNECTED, CTRL_C, CTRL_D, CTRL_U, ENTER, MARKS,
    GOODBYE_SECONDS, GREETING, IN_QUEUE, LOST, MESSAGE_LONGEST, NO_NAME_YET, NOTICED_SECONDS, ON_PYPY, PAUSE_SECONDS,
    QUIT, SERVER, UNREAD_LONGEST, ChatTest, Patience, Partner, Program, TerminalTest, main,
)  # fmt: skip


class Quit(TerminalTest):
    def test_quit_is_understood_in_every_state_and_only_as_a_line(self) -> None:
        server, port = self.server()
        partner = self.partner(port)
        partner.line()
        partner.quit()
        server.err.expect(r"\* 127\.0\.0\.1 port \d+ quit\n")
        partner = self.visitor(port)
        partner.send(f"{QUIT}x\n")
        server.out.expect(r"alice> \\quitx\n")
        partner.send(f"one\n{QUIT}\ntwo\n")  # out of turn, behind a line
        server.err.expect(r"\* alice quit\n")
        server.out.expect("alice> one\n")
        self.assertNotIn("two", server.out.so_far())

    def test_the_servers_person_quits_and_the_server_serves_the_next(self) -> None:
        server, port = self.server()
        client = self.start(CLIENT, "localhost", port)
        client.type("alice\nhello\n")
        server.type(f"{QUIT}\nwelcome bob\n")
        self.assertEqual(client.status(), 0)
        client.err.expect(r"\* server quit\n")
        server.err.expect(r"\* you quit\n\* waiting on")
        bob = self.visitor(port, "bob")
        bob.send("hello\n")
        self.assertEqual(bob.line(), "welcome bob")

    def test_quit_can_be_typed_while_waiting(self) -> None:
        server, port = self.server_at_terminal()
        silent = self.partner(port)
        server.at().expect(CONNECTED)
        server.type("who are you?" + ENTER)
        server.at().expect(NO_NAME_YET)
        self.type_and_see(server, CTRL_U, "")
        server.type(f" {QUIT}" + ENTER)
        silent.line()
        self.assert_goodbye(silent)

    def test_the_notice_stands_right_below_a_quit_at_the_prompt(self) -> None:
        for program, partner in (self.server_at_turn(), self.client_at_turn()):
            typed = f"{program.screen()[-1]} {QUIT}"
            program.type(QUIT + ENTER)
            program.at().expect(r"\* you quit\r\n")
            screen = program.screen()
            self.assertRegex(screen[screen.index(typed) + 1], r"^\* you quit$")
            self.assert_goodbye(partner)

    def test_the_notice_stands_right_below_a_quit_out_of_turn(self) -> None:
        client, partner = self.client_at_turn()
        self.say(client, partner, "hello")
        client.type(QUIT + ENTER)
        client.at().expect(r"\* you quit\r\n")
        self.assertEqual(client.screen()[-3:], [QUIT, "* you quit", ""])

    def test_every_end_sets_the_exit_status_of_the_client(self) -> None:
        def type_quit(client: Program, _: Partner) -> None:
            client.type(QUIT + (ENTER if client.terminal else "\n"))

        def end_the_input(client: Program, _: Partner) -> None:
            if client.terminal:
                client.type(CTRL_D)
            else:
                client.end_input()

        for terminal in ("", "in out err"):
            for end, by_peer, status in (
                (type_quit, False, 0),
                (end_the_input, False, 0),
                (lambda _, partner: partner.quit(), True, 0),
                (lambda _, partner: partner.close(), True, 1),
                (lambda _, partner: partner.reset(), True, 1),
                (lambda _, partner: partner.send("x\n" * UNREAD_LONGEST), False, 1),
            ):
                client, partner = self.client_of_partner(terminal=terminal)
                if terminal:
                    client.wait_for_row("alice>")
                end(client, partner)
                if not by_peer:
                    self.assert_goodbye(partner)
                    partner.close()
                self.assertEqual(client.status(), status, client.err.so_far())


class EndOfInput(TerminalTest):
    def test_the_end_of_piped_input_is_quit_on_either_side(self) -> None:
        server, port = self.server(stdin=subprocess.DEVNULL)
        client = self.start(CLIENT, "localhost", port)
        client.type("alice\nhello")  # and the last line has no LF
        client.end_input()
        server.out.expect(r"^alice> hello\n")
        self.assertEqual(client.status(), 0)
        client.err.expect(r"\* server quit\n")
        for name in ("bob", "carol"):  # with its input at /dev/null, it goes on listening
            partner = self.visitor(port, name)
            partner.send("hello\n")
            self.assertEqual(partner.line(), QUIT)
        other, port = self.server()
        client = self.start(CLIENT, "localhost", port, stdin=subprocess.DEVNULL)
        self.assertEqual(client.status(), 0)
        other.err.expect(r"\* 127\.0\.0\.1 port \d+ quit\n")

    def test_ctrl_d_is_quit_and_leaves_the_server_running(self) -> None:
        server, partner = self.server_at_turn()
        server.type(CTRL_D)
        self.assert_goodbye(partner)
        server.at().expect(r"\* you quit\r\n\r\x1b\[K\* waiting on")
        client, partner = self.client_at_turn()
        self.say(client, partner, "hello")
        client.type(CTRL_D)  # while the other side has the turn
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 0)

    def test_ctrl_d_behind_half_a_line_sends_nothing(self) -> None:
        client, partner = self.client_of_partner(terminal="in out err", env={"TERM": "dumb"})
        client.type("half a line" + CTRL_D + CTRL_D)
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 0)
        client.at().expect(r"\* you quit")


class LeftOrLost(ChatTest):
    def test_the_client_exits_1_when_the_server_leaves_or_is_lost(self) -> None:
        client, partner = self.client_of_partner()
        partner.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\* server left\n")
        client, partner = self.client_of_partner()
        partner.reset()
        self.assertEqual(client.status(), 1)
        client.err.expect(rf"\* server {LOST}\n")
        self.assert_calm(client)

    def test_a_client_that_leaves_or_is_lost_is_told_and_the_next_served(self) -> None:
        server, port = self.server()
        partner = self.visitor(port, "alice")
        partner.close()
        server.err.expect(r"\* alice left\n")
        partner = self.visitor(port, "bob")
        server.err.expect("is bob")
        partner.reset()
        server.err.expect(rf"\* bob {LOST}\n")
        self.assertTrue(self.partner(port).line().startswith(GREETING))

    def test_the_end_is_noticed_while_the_server_has_the_turn(self) -> None:
        server, port = self.server()
        for name, end, how in (("alice", Partner.close, "left"), ("bob", Partner.reset, "was lost"),
                               ("carol", Partner.quit, "quit")):  # fmt: skip
            partner = self.visitor(port, name)
            partner.send("hello\n")
            server.out.expect(f"{name}> hello\n")
            end(partner)
            server.err.expect(rf"\* {name} {how}")
            server.err.expect(r"\* waiting on")

    def test_the_client_notices_the_end_at_its_turn(self) -> None:
        client, partner = self.client_of_partner()
        partner.quit()
        self.assertEqual(client.status(), 0)
        client.err.expect(r"\* server quit\n")

    def test_lines_ahead_are_shown_before_the_end(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        lines = [f"line {i} {'x' * 90}" for i in range(400)]
        partner.send("first\n" + "\n".join(lines) + "\n")
        server.out.expect("alice> first\n")
        partner.close()
        server.err.expect(r"\* alice left\n")
        text = "".join(f"alice> {line}\n" for line in ["first", *lines])
        server.out.expect(lines[-1] + "\n")
        self.assertEqual(server.out.data.decode(), text)

    def test_a_reset_that_a_send_meets_first_is_told_as_lost(self) -> None:
        server, port = self.server()
        server.type("one\ntwo\nthree\n")
        partner = self.visitor(port)
        partner.send("hello\n")
        self.assertEqual(partner.line(), "one")
        server.freeze()
        partner.send("again\n")
        partner.reset()
        server.signal(signal.SIGCONT)
        server.out.expect("^alice> hello\nalice> again\n$")
        server.err.expect(rf"\* alice {LOST}\n")

    def test_a_quit_without_its_newline_counts_also_before_a_reset(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        server.err.expect("is alice")
        server.freeze()
        partner.send(f"hello\n{QUIT}")
        partner.reset()
        server.signal(signal.SIGCONT)
        server.err.expect(r"\* alice quit\n")
        server.out.expect("^alice> hello\n$")


class Goodbye(ChatTest):
    def test_the_last_line_arrives_although_input_is_unread(self) -> None:
        server, port = self.server()
        for _ in range(20):
            partner = self.visitor(port)
            server.err.expect("is alice")
            begin = time.monotonic()
            partner.send("x" * (MESSAGE_LONGEST + 1) + "\n" + "unread\n" * 40_000)
            try:
                self.assert_goodbye(partner)
                for _ in range(5):  # it reads on: no reset, which could have overtaken the line
                    partner.sock.sendall(b"late\n")
            except (AssertionError, ConnectionError):
                if time.monotonic() - begin < GOODBYE_SECONDS:  # afterwards, it need not read on
                    raise
            partner.close()

    def test_the_end_of_the_stream_comes_with_the_last_line(self) -> None:
        server, port = self.server()
        seconds = []
        for name in ("alice", "bob", "carol"):
            partner = self.visitor(port, name)
            partner.send("hello\n")
            server.out.expect(f"{name}> hello\n")
            server.type(f"{QUIT}\n")
            self.assertEqual(partner.line(), QUIT)
            begin = time.monotonic()
            self.assertEqual(partner.rest(), "")  # although this side has not closed
            seconds.append(time.monotonic() - begin)
            partner.close()
        self.assertLess(min(seconds), GOODBYE_SECONDS / 2)

    def test_a_goodbye_does_not_wait_for_ever(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)  # and it never closes
        server.err.expect("is alice")
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        self.assertEqual(server.status(), 0)
        self.assertLess(time.monotonic() - begin, 4 * GOODBYE_SECONDS)
        self.assert_goodbye(partner)

    def test_a_queue_is_served_in_order_without_a_pause(self) -> None:
        server, port = self.server()
        queue = [self.partner(port) for _ in range(20)]
        begin = time.monotonic()
        for i, partner in enumerate(queue):
            partner.send(f"guest{i}\nhello\n{QUIT}\n")
        for i in range(20):
            server.err.expect(rf"is guest{i}\n")
            server.out.expect(rf"guest{i}> hello\n")
        self.assertLess(time.monotonic() - begin, len(queue) * PAUSE_SECONDS / 2)


class Signals(ChatTest):
    def test_signals_say_goodbye_and_set_the_exit_status(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number):
                client, partner = self.client_of_partner()
                client.signal(number)
                self.assertEqual(partner.line(), QUIT)
                partner.close()
                self.assertEqual(client.status(), 128 + number)
                server, port = self.server()
                visitor = self.visitor(port)
                server.err.expect("is alice")
                server.signal(number)
                self.assertEqual(visitor.line(), QUIT)
                visitor.close()
                self.assertEqual(server.status(), 0)
                server.err.expect(r"\* server closed\n")
                self.assert_calm(server, client)

    def test_signals_are_obeyed_in_every_state(self) -> None:
        listener = self.listener()
        queued = self.client_of(listener)
        partner = self.accept(listener, "")
        queued.err.expect(IN_QUEUE)
        queued.signal(signal.SIGTERM)
        self.assertEqual(partner.line(), QUIT)
        partner.close()
        self.assertEqual(queued.status(), 143)
        server, port = self.server()
        server.signal(signal.SIGTERM)  # it listens
        self.assertEqual(server.status(), 0)
        server, port = self.server()
        partner = self.partner(port)
        partner.line()  # it waits for a username
        server.signal(signal.SIGHUP)
        self.assertEqual(partner.line(), QUIT)
        partner.close()
        self.assertEqual(server.status(), 0)
        self.assert_calm(queued, server)

    def test_a_second_signal_changes_nothing(self) -> None:
        client, partner = self.client_of_partner()
        client.signal(signal.SIGTERM)
        self.assertEqual(partner.line(), QUIT)  # and the goodbye waits for the partner to close
        client.signal(signal.SIGINT)
        client.signal(signal.SIGHUP)
        partner.close()
        self.assertEqual(client.status(), 143)
        self.assert_calm(client)

    def test_signals_in_quick_succession_are_one(self) -> None:
        for first, second in ((signal.SIGHUP, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)):
            for _ in range(5):
                client, partner = self.client_of_partner()
                client.signal(first)
                client.signal(second)
                self.assert_goodbye(partner)
                partner.close()
                self.signal_until_it_ends(client, second)
                self.assertEqual(client.status(), 128 + first)
                self.assertEqual(client.err.all().count("quit\n"), 1)
                self.assert_calm(client)

    def signal_until_it_ends(self, program: Program, number: int) -> None:
        """Send one signal after the other, also while the program exits."""
        patience = Patience()
        while program.process.poll() is None:
            self.assertTrue(patience.lasts())
            program.signal(number)
            time.sleep(0.001)  # so that the program gets on as well

    def test_signals_while_a_client_exits_leave_it_a_status_of_its_own(self) -> None:
        for _ in range(10):
            client, partner = self.client_of_partner()
            partner.quit()
            partner.half_close()
            self.signal_until_it_ends(client, signal.SIGTERM)
            self.assertIn(client.status(), (0, 128 + signal.SIGTERM))
            self.assert_calm(client)

    def test_a_signal_right_behind_a_notice_is_obeyed(self) -> None:
        for i in range(16):
            server = self.start(SERVER, 0)
            port = server.port()
            if i % 2:
                partner = self.partner(port)
                server.err.expect(CONNECTED)
            server.signal(signal.SIGINT)
            if i % 2:
                partner.close()
            self.assertEqual(server.status(), 0)
            self.assert_calm(server)
            server.kill()


class AtAPrompt(TerminalTest):
    LINES = [f"line {i} {'x' * 90}" for i in range(400)]

    def setUp(self) -> None:
        self.seconds: list[float] = []  # from each end to its notice

    def noticed(self, program: Program, notice: str, after: str) -> None:
        """The notice comes, on a line of its own, and what was typed stays readable."""
        begin = time.monotonic()
        program.at().expect(notice)
        self.seconds.append(time.monotonic() - begin)
        screen = program.screen()
        self.assertIn(after, screen)
        self.assertLess(screen.index(after), len(screen) - 2)
        self.assertTrue(any(re.fullmatch(notice, line) for line in screen), screen)
        self.assertNotIn("Traceback", program.at().so_far())

    def test_every_end_is_noticed_with_a_reply_half_typed(self) -> None:
        ends = (
            ("quit", Partner.quit),
            ("left", Partner.close),
            (LOST, Partner.reset),
            ("left", lambda partner: (partner.send("\n".join(self.LINES) + "\n"), partner.close())),
        )
        for how, end in ends:
            with self.subTest(how=how):
                server, partner = self.server_at_turn()
                self.type_and_see(server, "half typed", "server> half typed")
                end(partner)
                self.noticed(server, rf"\* alice {how}", "server> half typed")
                client, partner = self.client_at_turn()
                self.type_and_see(client, "half typed", "alice> half typed")
                end(partner)
                self.noticed(client, rf"\* server {how}", "alice> half typed")
                self.assertEqual(client.status(), 0 if how == "quit" else 1)
        # A busy machine may be late, but not most of the time.
        self.assertLess(statistics.median(self.seconds), NOTICED_SECONDS + 1)
        text = client.screen()
        first = text.index(f"server> {self.LINES[0]}"[:80])
        self.assertEqual(text[first : first + 800 : 2], [f"server> {line}"[:80] for line in self.LINES])

    def test_a_client_that_is_interrupted_or_killed_is_noticed(self) -> None:
        for number, how in ((signal.SIGINT, "quit"), (signal.SIGKILL, "left")):
            server, port = self.server_at_terminal()
            client = self.start(CLIENT, "localhost", port)
            client.type("alice\nhello\n")
            server.wait_for_row("server>")
            self.type_and_see(server, "half typed", "server> half typed")
            client.signal(number)
            self.noticed(server, rf"\* alice {how}", "server> half typed")

    def test_the_end_is_noticed_while_waiting_with_a_line_half_typed(self) -> None:
        client, partner = self.client_at_turn()
        self.say(client, partner, "hello")
        self.type_and_see(client, "half typed", "half typed")
        partner.close()
        self.noticed(client, r"\* server left", "half typed")
        self.assertEqual(client.status(), 1)

    def test_a_person_quits_a_queue(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, terminal="in out err")
        client.at().expect("picked up")
        client.type(QUIT + ENTER)
        client.at().expect(r"\* you quit\r\n")
        partner = self.accept(listener)
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 0)

    def test_a_person_quits_a_queue_in_the_moment_in_which_the_server_leaves(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, terminal="in out err")
        client.at().expect("picked up")
        client.freeze()
        listener.accept()[0].close()
        client.type(QUIT + ENTER)
        self.wait_until_there_is_unread(client)
        client.signal(signal.SIGCONT)
        client.at().expect(r"\* you quit\r\n")
        self.assertEqual(client.status(), 0)

    def test_two_signals_at_once_at_the_prompt(self) -> None:
        for first, second in ((signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, None)):
            for program, partner in (self.server_at_turn(), self.client_at_turn()):
                program.freeze()
                program.signal(first)
                if second:
                    program.signal(second)
                program.signal(signal.SIGCONT)
                self.assertTrue(partner.rest().endswith(f"{QUIT}\n"))
                partner.close()
                self.assertIn(program.status(), (0, 128 + first, 128 + signal.SIGHUP))
                self.assertNotIn("Traceback", program.at().so_far())
                self.assertTrue(self.is_as_found(program))

    def test_ctrl_c_amid_fast_typing(self) -> None:
        for i in range(10):
            client, partner = self.client_at_turn()
            client.type(("abc" + 3 * BACKSPACE) * (20 + i) + CTRL_C)
            client.at().expect(r"\* you quit")
            self.assert_goodbye(partner)
            partner.close()
            self.assertEqual(client.status(), 130)

    def test_a_terminal_that_hangs_up(self) -> None:
        for script in (SERVER, CLIENT):
            listener = self.listener()
            arguments = (0,) if script is SERVER else listener.getsockname()
            program = self.start(script, *arguments, terminal="in out")
            program.err.expect("waiting")
            program.hang_up()
            self.assertEqual(program.status(), 0 if script is SERVER else 129)

    @unittest.skipIf(ON_PYPY, "PyPy does not tell which signals are ignored")
    def test_a_terminal_that_hangs_up_where_sighup_is_ignored_is_an_end_of_the_input(self) -> None:
        server, port = self.server(0, terminal="in", prefix=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
        server.hang_up()
        for name in ("alice", "bob"):
            partner = self.visitor(port, name)
            partner.send("hello\n")
            server.out.expect(f"{name}> hello")
            self.assert_goodbye(partner)
            partner.close()
            server.err.expect("waiting on")
        self.assertLess(server.err.so_far().count("not sent"), 2)

    def test_a_terminal_that_hangs_up_at_ones_turn(self) -> None:
        for term in ("xterm", "dumb"):
            for _ in range(5):
                client, partner = self.client_of_partner(terminal="in out", env={"TERM": term})
                client.hang_up()
                self.assertEqual(partner.line(), QUIT)
                partner.close()
                self.assertEqual(client.status(), 129)

    def test_the_terminal_is_restored_and_the_status_right_after_a_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            server, partner = self.server_at_turn()
            client, other = self.client_at_turn()
            for program, side, status in ((server, partner, 0), (client, other, 128 + number)):
                self.type_and_see(program, "half", program.screen()[-1] + " half")
                if number == signal.SIGINT:
                    program.type(CTRL_C)
                else:
                    program.signal(number)
                self.assertEqual(side.line(), QUIT)
                program.signal(signal.SIGTERM)  # while the first is being obeyed
                side.close()
                self.assertEqual(program.status(), status)
                self.assertTrue(self.is_as_found(program))
                text = program.at().so_far()
                self.assertEqual(text.count(MARKS), 1)
                self.assertRegex(program.screen()[-2], r"^\* (server closed|you quit)$")
                self.assertEqual(program.screen()[-1], "")
                self.assertFalse(program.display.marks_pastes)
                self.assertNotIn("Traceback", text)


if __name__ == "__main__":
    main()
