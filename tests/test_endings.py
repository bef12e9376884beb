"""How a conversation ends: quit, left, lost, by a signal; also while a person types."""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import time

from harness import (
    BACKSPACE, CLIENT, CONNECTED, CTRL_C, CTRL_D, EDITED, EDITED_NO_MORE, ENTER,
    GOODBYE_SECONDS, GREETING, IN_QUEUE, LOST, MESSAGE_LONGEST, NO_TURN, NOTICED_SECONDS, PAUSE_SECONDS, QUIT,
    SERVER, UNREAD_LONGEST, ChatTest, Patience, Peer, Program, TerminalTest, main, with_line_editing,
)  # fmt: skip

ERASED = r"(\r\x1b\[K)?"  # what may bring the cursor to an empty line


class Quit(TerminalTest):
    def test_quit_is_understood_in_every_state_and_only_as_a_line(self) -> None:
        server, port = self.server()
        peer = self.peer(port)
        peer.line()
        peer.quit()
        server.err.expect(r"\* 127\.0\.0\.1 port \d+ quit\n")
        peer = self.visitor(port)
        peer.send(f"{QUIT}x\n")
        server.out.expect(r"alice> \\quitx\n")
        peer.send(f"one\n{QUIT}\ntwo\n")  # out of turn, behind a line
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
        silent = self.peer(port)
        server.at().expect(CONNECTED)
        server.type("who are you?" + ENTER)
        server.at().expect(NO_TURN + r"127\.0\.0\.1 port \d+")
        server.type(f" {QUIT}" + ENTER)
        silent.line()
        self.assert_goodbye(silent)

    @with_line_editing
    def test_the_notice_stands_right_below_a_quit_at_the_prompt(self) -> None:
        for program, peer in (self.server_at_turn(), self.client_at_turn()):
            typed = f"{program.screen()[-1]} {QUIT}"
            program.type(QUIT + ENTER)
            program.at().expect(r"\* you quit\r\n")
            screen = program.screen()
            self.assertRegex(screen[screen.index(typed) + 1], r"^\* you quit$")
            self.assert_goodbye(peer)

    def test_the_notice_stands_right_below_a_quit_out_of_turn(self) -> None:
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        client.type(QUIT + ENTER)
        client.at().expect(rf"{re.escape(QUIT)}\r\n{ERASED}\* you quit\r\n")

    def test_every_end_sets_the_exit_status_of_the_client(self) -> None:
        def type_quit(client: Program, _: Peer) -> None:
            client.type(QUIT + (ENTER if client.terminal else "\n"))

        def end_the_input(client: Program, _: Peer) -> None:
            if client.terminal:
                client.type(CTRL_D)
            else:
                client.end_input()

        for terminal in ("", "in out err"):
            for end, by_peer, status in (
                (type_quit, False, 0),
                (end_the_input, False, 0),
                (lambda _, peer: peer.quit(), True, 0),
                (lambda _, peer: peer.close(), True, 1),
                (lambda _, peer: peer.reset(), True, 1),
                (lambda _, peer: peer.send("x\n" * UNREAD_LONGEST), False, 1),
            ):
                client, peer = self.client_of_peer(terminal=terminal)
                if terminal:
                    self.at_prompt(client)
                end(client, peer)
                if not by_peer:
                    self.assert_goodbye(peer)
                    peer.close()
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
            peer = self.visitor(port, name)
            peer.send("hello\n")
            self.assertEqual(peer.line(), QUIT)
        other, port = self.server()
        client = self.start(CLIENT, "localhost", port, stdin=subprocess.DEVNULL)
        self.assertEqual(client.status(), 0)
        other.err.expect(r"\* 127\.0\.0\.1 port \d+ quit\n")

    def test_ctrl_d_is_quit_and_leaves_the_server_running(self) -> None:
        server, peer = self.server_at_turn()
        server.type(CTRL_D)
        self.assert_goodbye(peer)
        server.at().expect(rf"\* you quit\r\n{ERASED}\* waiting on")
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        client.type(CTRL_D)  # while the other side has the turn
        self.assert_goodbye(peer)
        peer.close()
        self.assertEqual(client.status(), 0)

    def test_ctrl_d_behind_half_a_line_sends_nothing(self) -> None:
        client, peer = self.client_at_turn(env={"TERM": "dumb"})
        client.type("half a line" + CTRL_D + CTRL_D)
        self.assert_goodbye(peer)
        peer.close()
        self.assertEqual(client.status(), 0)
        client.at().expect(r"\* you quit")


class LeftOrLost(ChatTest):
    def test_the_client_exits_1_when_the_server_leaves_or_is_lost(self) -> None:
        client, peer = self.client_of_peer()
        peer.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\* server left\n")
        client, peer = self.client_of_peer()
        peer.reset()
        self.assertEqual(client.status(), 1)
        client.err.expect(rf"\* server {LOST}\n")
        self.assert_calm(client)

    def test_a_client_that_leaves_or_is_lost_is_told_and_the_next_served(self) -> None:
        server, port = self.server()
        peer = self.visitor(port, "alice")
        peer.close()
        server.err.expect(r"\* alice left\n")
        peer = self.visitor(port, "bob")
        server.err.expect("is bob")
        peer.reset()
        server.err.expect(rf"\* bob {LOST}\n")
        self.assertTrue(self.peer(port).line().startswith(GREETING))

    def test_the_end_is_noticed_while_the_server_has_the_turn(self) -> None:
        server, port = self.server()
        for name, end, how in (("alice", Peer.close, "left"), ("bob", Peer.reset, "was lost"),
                               ("carol", Peer.quit, "quit")):  # fmt: skip
            peer = self.visitor(port, name)
            peer.send("hello\n")
            server.out.expect(f"{name}> hello\n")
            end(peer)
            server.err.expect(rf"\* {name} {how}")
            server.err.expect(r"\* waiting on")

    def test_the_client_notices_the_end_at_its_turn(self) -> None:
        client, peer = self.client_of_peer()
        peer.quit()
        self.assertEqual(client.status(), 0)
        client.err.expect(r"\* server quit\n")

    def test_lines_ahead_are_shown_before_the_end(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        lines = [f"line {i} {'x' * 90}" for i in range(400)]
        peer.send("first\n" + "\n".join(lines) + "\n")
        server.out.expect("alice> first\n")
        peer.close()
        server.err.expect(r"\* alice left\n")
        text = "".join(f"alice> {line}\n" for line in ["first", *lines])
        server.out.expect(lines[-1] + "\n")
        self.assertEqual(server.out.data.decode(), text)


class Goodbye(ChatTest):
    def test_the_last_line_arrives_although_input_is_unread(self) -> None:
        server, port = self.server()
        for _ in range(20):
            peer = self.visitor(port)
            server.err.expect("is alice")
            begin = time.monotonic()
            peer.send("x" * (MESSAGE_LONGEST + 1) + "\n" + "unread\n" * 40_000)
            try:
                self.assert_goodbye(peer)
                for _ in range(5):  # it reads on: no reset, which could have overtaken the line
                    peer.sock.sendall(b"late\n")
            except (AssertionError, ConnectionError):
                if time.monotonic() - begin < GOODBYE_SECONDS:  # afterwards, it need not read on
                    raise
            peer.close()

    def test_the_end_of_the_stream_comes_with_the_last_line(self) -> None:
        server, port = self.server()
        seconds = []
        for name in ("alice", "bob", "carol"):
            peer = self.visitor(port, name)
            peer.send("hello\n")
            server.out.expect(f"{name}> hello\n")
            server.type(f"{QUIT}\n")
            self.assertEqual(peer.line(), QUIT)
            begin = time.monotonic()
            self.assertEqual(peer.rest(), "")  # although this side has not closed
            seconds.append(time.monotonic() - begin)
            peer.close()
        self.assertLess(min(seconds), GOODBYE_SECONDS / 2)

    def test_a_goodbye_does_not_wait_for_ever(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)  # and it never closes
        server.err.expect("is alice")
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        self.assertEqual(server.status(), 0)
        self.assertLess(time.monotonic() - begin, 4 * GOODBYE_SECONDS)
        self.assert_goodbye(peer)

    def test_a_queue_is_served_in_order_without_a_pause(self) -> None:
        server, port = self.server()
        queue = [self.peer(port) for _ in range(20)]
        begin = time.monotonic()
        for i, peer in enumerate(queue):
            peer.send(f"guest{i}\nhello\n{QUIT}\n")
        for i in range(20):
            server.err.expect(rf"is guest{i}\n")
            server.out.expect(rf"guest{i}> hello\n")
        self.assertLess(time.monotonic() - begin, len(queue) * PAUSE_SECONDS / 2)


class Signals(ChatTest):
    def test_signals_say_goodbye_and_set_the_exit_status(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number):
                client, peer = self.client_of_peer()
                client.signal(number)
                self.assertEqual(peer.line(), QUIT)
                peer.close()
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
        peer = self.accept(listener, "")
        queued.err.expect(IN_QUEUE)
        queued.signal(signal.SIGTERM)
        self.assertEqual(peer.line(), QUIT)
        peer.close()
        self.assertEqual(queued.status(), 143)
        server, port = self.server()
        server.signal(signal.SIGTERM)  # it listens
        self.assertEqual(server.status(), 0)
        server, port = self.server()
        peer = self.peer(port)
        peer.line()  # it waits for a username
        server.signal(signal.SIGHUP)
        self.assertEqual(peer.line(), QUIT)
        peer.close()
        self.assertEqual(server.status(), 0)
        self.assert_calm(queued, server)

    def test_a_second_signal_changes_nothing(self) -> None:
        client, peer = self.client_of_peer()
        client.signal(signal.SIGTERM)
        self.assertEqual(peer.line(), QUIT)  # and the goodbye waits for the peer to close
        client.signal(signal.SIGINT)
        client.signal(signal.SIGHUP)
        peer.close()
        self.assertEqual(client.status(), 143)
        self.assert_calm(client)

    def test_signals_in_quick_succession_are_one(self) -> None:
        for first, second in ((signal.SIGHUP, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)):
            for _ in range(10):
                client, peer = self.client_of_peer()
                client.signal(first)
                client.signal(second)
                self.assert_goodbye(peer)
                peer.close()
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

    def test_signals_while_a_client_exits_leave_it_a_status_of_its_own(self) -> None:
        for _ in range(10):
            client, peer = self.client_of_peer()
            peer.quit()
            self.signal_until_it_ends(client, signal.SIGTERM)
            self.assertIn(client.status(), (0, 128 + signal.SIGTERM))
            self.assert_calm(client)

    def test_a_signal_right_behind_a_notice_is_obeyed(self) -> None:
        for i in range(30):
            server = self.start(SERVER, 0)
            port = server.port()
            if i % 2:
                peer = self.peer(port)
                server.err.expect(CONNECTED)
            server.signal(signal.SIGINT)
            if i % 2:
                peer.close()
            self.assertEqual(server.status(), 0)
            self.assert_calm(server)
            server.kill()

    def test_a_hangup_that_is_ignored_from_the_start_stays_ignored(self) -> None:
        server, port = self.server(prefix=("nohup",))
        server.signal(signal.SIGHUP)
        peer = self.visitor(port)
        server.err.expect("is alice")
        server.signal(signal.SIGTERM)
        self.assertEqual(peer.line(), QUIT)


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
        self.assertTrue(any(re.fullmatch(notice, line) for line in screen), screen)
        self.wait_until_editing_is_off(program)
        self.assertNotIn("Traceback", program.at().so_far())

    @with_line_editing
    def test_every_end_is_noticed_with_a_reply_half_typed(self) -> None:
        ends = (
            ("quit", Peer.quit),
            ("left", Peer.close),
            (LOST, Peer.reset),
            ("left", lambda peer: (peer.send("\n".join(self.LINES) + "\n"), peer.close())),
        )
        for how, end in ends:
            with self.subTest(how=how):
                server, peer = self.server_at_turn()
                self.type_and_see(server, "half typed", "server> half typed")
                end(peer)
                self.noticed(server, rf"\* alice {how}", "server> half typed")
                client, peer = self.client_at_turn()
                self.type_and_see(client, "half typed", "alice> half typed")
                end(peer)
                self.noticed(client, rf"\* server {how}", "alice> half typed")
                self.assertEqual(client.status(), 0 if how == "quit" else 1)
        # A busy machine may be late, but not most of the time.
        self.assertLess(statistics.median(self.seconds), NOTICED_SECONDS + 1)
        text = client.screen()
        first = text.index(f"server> {self.LINES[0]}"[:80])
        self.assertEqual(text[first : first + 800 : 2], [f"server> {line}"[:80] for line in self.LINES])

    @with_line_editing
    def test_a_client_that_is_interrupted_or_killed_is_noticed(self) -> None:
        for number, how in ((signal.SIGINT, "quit"), (signal.SIGKILL, "left")):
            server, port = self.server_at_terminal()
            client = self.start(CLIENT, "localhost", port)
            client.type("alice\nhello\n")
            self.at_prompt(server)
            self.type_and_see(server, "half typed", "server> half typed")
            client.signal(number)
            self.noticed(server, rf"\* alice {how}", "server> half typed")

    @with_line_editing
    def test_the_end_is_noticed_while_waiting_with_a_line_half_typed(self) -> None:
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        self.type_and_see(client, "half typed", "half typed")
        peer.close()
        self.noticed(client, r"\* server left", "alice> hello")
        self.assertEqual(client.status(), 1)

    @with_line_editing
    def test_a_tick_that_comes_while_keys_are_worked_on_is_not_the_last(self) -> None:
        server, peer = self.server_at_turn()
        deadline = time.monotonic() + 2  # ten ticks of the timer, or so
        while time.monotonic() < deadline:  # keep readline busy
            server.type("many words \x15")
        peer.close()
        self.noticed(server, r"\* alice left", "* alice left")

    @with_line_editing
    def test_a_tick_that_is_lost_in_a_hook_of_readline_is_not_the_last(self) -> None:
        hook = "set_startup_hook(lambda: "
        slow = self.changed(CLIENT, hook, hook + "time.sleep(0.5) or ")
        listener = self.listener()
        client = self.start(slow, *listener.getsockname(), terminal="in out err")
        peer = self.accept(listener)
        client.at().expect(re.escape(EDITED))
        peer.close()
        self.noticed(client, r"\* server left", "username>")
        self.assertEqual(client.status(), 1)

    def test_ctrl_c_that_makes_the_terminal_forget_a_line(self) -> None:
        read = "            data = self.interruptibly("
        slow = self.changed(CLIENT, read, "            time.sleep(0.5)\n" + read)
        for env in ({}, {"TERM": "dumb"}):
            listener = self.listener()
            client = self.start(slow, *listener.getsockname(), terminal="in out err", env=env)
            client.at().expect(IN_QUEUE)
            client.type("a line" + ENTER)
            client.at().expect("a line\r\n")
            client.type(CTRL_C)
            self.assertEqual(client.status(), 130)

    def test_two_signals_at_once_at_the_prompt(self) -> None:
        for first, second in ((signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, None)):
            for program, peer in (self.server_at_turn(), self.client_at_turn()):
                program.signal(signal.SIGSTOP)
                time.sleep(0.3)  # so that a tick of its timer waits too, as well as the signals
                program.signal(first)
                if second:
                    program.signal(second)
                program.signal(signal.SIGCONT)
                self.assertTrue(peer.rest().endswith(f"{QUIT}\n"))
                peer.close()
                self.assertIn(program.status(), (0, 128 + first, 128 + signal.SIGHUP))
                self.assertNotIn("Traceback", program.at().so_far())
                self.assertTrue(self.is_as_found(program))

    def test_ctrl_c_amid_fast_typing(self) -> None:
        for i in range(10):
            client, peer = self.client_at_turn()
            client.type(("abc" + 3 * BACKSPACE) * (20 + i) + CTRL_C)
            client.at().expect(r"\* you quit")
            self.assert_goodbye(peer)
            peer.close()
            self.assertEqual(client.status(), 130)

    def test_a_terminal_that_hangs_up(self) -> None:
        for script in (SERVER, CLIENT):
            listener = self.listener()
            arguments = (0,) if script is SERVER else listener.getsockname()
            program = self.start(script, *arguments, terminal="in out")
            program.err.expect("waiting")
            program.hang_up()
            self.assertEqual(program.status(), 0 if script is SERVER else 129)

    @with_line_editing
    def test_the_terminal_is_restored_and_the_status_right_after_a_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            server, peer = self.server_at_turn()
            client, other = self.client_at_turn()
            for program, partner, status in ((server, peer, 0), (client, other, 128 + number)):
                self.type_and_see(program, "half", program.screen()[-1] + " half")
                if number == signal.SIGINT:
                    program.type(CTRL_C)
                else:
                    program.signal(number)
                self.assertEqual(partner.line(), QUIT)
                program.signal(signal.SIGTERM)  # while the first is being obeyed
                partner.close()
                self.assertEqual(program.status(), status)
                self.assertTrue(self.is_as_found(program))
                text = program.at().so_far()
                self.assertEqual(text.count(EDITED), text.count(EDITED_NO_MORE))
                self.assertRegex(program.screen()[-2], r"^\* (server closed|you quit)$")
                self.assertEqual(program.screen()[-1], "")
                self.assertNotIn("Traceback", text)


if __name__ == "__main__":
    main()
