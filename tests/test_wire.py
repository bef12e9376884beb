"""The numbered rules of the protocol, spoken by hand to the real scripts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import unittest

from harness import CLIENT, DEADLINE, ChatTest, Peer, Program, main

AHEAD = 64 * 1024


class Greeting(ChatTest):  # rule 1
    def test_the_server_speaks_first_and_says_what_to_send(self) -> None:
        _, port = self.server()
        self.assertRegex(self.peer(port).line(), r"^chatserve.*username.*\\quit")

    def test_a_client_in_the_queue_is_told_and_not_connected_yet(self) -> None:
        _, port = self.server()
        first = self.visitor(port)
        client = self.start(CLIENT, "localhost", port)
        client.err.expect("picked up")
        self.assertNotIn("connected", client.err.so_far())
        first.close()
        client.err.expect(r"\* connected to")

    def test_a_server_that_is_no_chatserve_is_shown_and_sent_nothing(self) -> None:
        for first, shown in (
            ("SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2\n"),
            ("220 mail\x1b[2J\n250 more\n", r"220 mail\\x1b\[2J\n"),
            ("Chatserve\n", "Chatserve\n"),
            ("\n", "\n"),
            ("x" * 70_000, "x{500}\n"),
            ("chatserve" + "x" * 3000, "chatservex{491}\n"),
        ):
            with self.subTest(first=first[:20]):
                listener = self.listener()
                client = self.start(CLIENT, "127.0.0.1", listener.getsockname()[1])
                peer = self.accept(listener, first)
                self.assertEqual(client.status(), 1)
                client.err.expect(rf"\* 127\.0\.0\.1 port \d+ is no chatserve .*: {shown}$")
                self.assertEqual(client.out.all(), "")
                self.assertEqual(peer.rest(), "")

    def test_a_server_that_leaves_or_quits_before_its_greeting(self) -> None:
        cases = (("", 1, "left"), ("\\quit\n", 0, "quit"), ("chat", 1, "is no chatserve"))
        for first, status, how in cases:
            listener = self.listener()
            client = self.start(CLIENT, "127.0.0.1", listener.getsockname()[1])
            self.accept(listener, first).close()
            self.assertEqual(client.status(), status)
            client.err.expect(rf"\* 127\.0\.0\.1 port \d+ {how}")


class Username(ChatTest):  # rule 2
    def test_names_that_follow_the_rule(self) -> None:
        server, port = self.server()
        for name in ("a", "tenletters", "\u5317" * 10, "Server", "e\u0301ric"):
            peer = self.visitor(port, name)
            server.err.expect(f"port \\d+ is {name}\n")
            peer.close()

    def test_a_name_that_breaks_the_rule_is_refused_and_the_server_listens_again(self) -> None:
        server, port = self.server()
        for name, shown in (
            ("", ""), ("elevenchars", "elevenchars"), ("two words", "two words"),
            ("server", "server"),
            ("a\tb", "a\tb"), ("\x1b[31mred", r"\\x1b\[31mred"), ("a\u00a0b", "a\u00a0b"),
            ("ab\u202ecd", r"ab\\u202ecd"), ("\u3000", "\u3000"), ("n" * 3000, "n{20}"),
        ):  # fmt: skip
            with self.subTest(name=name[:20]):
                peer = self.visitor(port, name)
                self.assertRegex(peer.line(), r"^chatserve: rule 2: ")
                self.assertEqual(peer.rest(), "")
                server.err.expect(rf"\* 127\.0\.0\.1 port \d+ broke rule 2: '{shown}'")
                peer.close()
        self.visitor(port, "alice")
        server.err.expect("is alice")
        self.assert_calm(server)

    def test_the_client_shows_why_it_was_refused(self) -> None:
        client, peer = self.client_of_peer()
        peer.send("chatserve: rule 2: no such \x1b[1mname\n")
        peer.close()
        self.assertEqual(client.status(), 1)
        client.out.expect(r"chatserve: rule 2: no such \\x1b\[1mname\n")
        self.assert_calm(client)

    def test_a_name_that_never_ends(self) -> None:
        server, port = self.server()
        peer = self.peer(port)
        peer.line()
        peer.send("n" * 100_000)
        self.assertRegex(peer.line(), r"^chatserve: rule 2: ")
        server.err.expect("broke rule 2")


class Turns(ChatTest):  # rules 3 and 4
    def test_500_characters_of_four_bytes_and_an_empty_line_are_messages(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        for text in ("\U0001f600" * 500, "", "  ", "x" * 500):
            peer.send(text + "\r\n")
            server.out.expect(f"alice> {text}\n")
            server.type("ok\n")
            self.assertEqual(peer.line(), "ok")

    def test_a_message_too_long_breaks_the_rule_when_its_turn_comes(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        peer.send("hello\n" + "x" * 501 + "\nmore\n")
        server.out.expect("alice> hello\n")
        server.type("hi\n")
        self.assertEqual(peer.line(), "hi")
        self.assertEqual(peer.rest(), "\\quit\n")
        server.err.expect(r"\* alice broke rule 3: 501 characters, 500 at most\n")
        self.assertEqual(server.out.so_far(), "alice> hello\n")
        client, peer = self.client_of_peer()
        client.type("hello\n")
        peer.line()
        peer.send("x" * 501 + "\n")
        self.assertEqual(peer.rest(), "\\quit\n")
        peer.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\* server broke rule 3")

    def test_a_message_that_never_ends(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        peer.send("x" * 100_000)
        self.assertEqual(peer.line(), "\\quit")
        server.err.expect(r"\* alice broke rule 3")

    def test_lines_sent_ahead_wait_for_their_turns(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        peer.send("one\ntwo\nthree\n")
        for text in ("one", "two", "three"):
            server.out.expect(f"alice> {text}\n")
            self.assertTrue(server.out.so_far().endswith(f"alice> {text}\n"))
            server.type("next\n")
            self.assertEqual(peer.line(), "next")

    def test_64_kib_ahead_are_allowed_and_more_are_not(self) -> None:
        for extra in (0, 1):
            with self.subTest(extra=extra):
                server, port = self.server()
                peer = self.visitor(port)
                peer.send("first\n")
                server.out.expect("alice> first\n")
                lines = "x" * 255 + "\n"
                peer.send(lines * (AHEAD // 256) + "y" * extra)
                if extra:
                    self.assertEqual(peer.rest(), "\\quit\n")
                    server.err.expect(r"\* alice broke rule 4")
                    self.assertEqual(server.out.so_far(), "alice> first\n")
                    continue
                peer.send("\\quit\nbehind it")  # noticed behind all of them, which are shown
                server.out.expect(r"(alice> x{255}\n){256}")
                server.err.expect(r"\* alice quit\n")

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


class Segments(ChatTest):
    def test_one_byte_at_a_time(self) -> None:
        server, port = self.server()
        peer = self.peer(port)
        for byte in "ali\u00e7e\r\nh\u00e9llo \U0001f600\r\n\\quit\r\n".encode():
            peer.send(bytes([byte]))
        server.err.expect("is ali\u00e7e\n")
        server.err.expect("ali\u00e7e quit\n")
        self.assertEqual(server.out.so_far(), "ali\u00e7e> h\u00e9llo \U0001f600\n")

    def test_everything_at_once_and_a_last_line_without_an_end(self) -> None:
        server, port = self.server()
        peer = self.peer(port)
        peer.send("alice\nhello\nand bye")
        peer.half_close()
        server.err.expect(r"\* alice left\n")
        server.out.expect("and bye\n")
        self.assertEqual(server.out.data, b"alice> hello\nalice> and bye\n")
        peer = self.peer(port)
        peer.send("bob\n\\quit")
        peer.half_close()
        server.err.expect(r"\* bob quit\n")

    def test_bytes_that_are_no_utf_8(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)
        peer.send(b"a\xff\xfeb \xc3( \xed\xa0\x80\n")
        server.out.expect("^alice> a\ufffd\ufffdb \ufffd\\( \ufffd\ufffd\ufffd\n")


class TheEnd(ChatTest):  # rules 5, 6 and 7
    def test_quit_is_understood_in_every_state_and_only_as_a_line(self) -> None:
        server, port = self.server()
        peer = self.peer(port)
        peer.line()
        peer.send("\\quit\n")
        server.err.expect(r"\* 127\.0\.0\.1 port \d+ quit\n")
        peer = self.visitor(port)
        peer.send("\\quitx\n")
        server.out.expect(r"alice> \\quitx\n")
        peer.send("one\n\\quit\ntwo\n")  # out of turn, behind a line
        server.err.expect(r"\* alice quit\n")
        server.out.expect("alice> one\n")
        self.assertNotIn("two", server.out.so_far())

    def test_the_end_is_noticed_while_the_server_has_the_turn(self) -> None:
        server, port = self.server()
        for name, end, how in (("alice", Peer.close, "left"), ("bob", Peer.reset, "was lost"),
                               ("carol", lambda peer: peer.send("\\quit\n"), "quit")):  # fmt: skip
            peer = self.visitor(port, name)
            peer.send("hello\n")
            server.out.expect(f"{name}> hello\n")
            end(peer)
            server.err.expect(rf"\* {name} {how}", within=5)
            server.err.expect(r"\* waiting on")

    def test_the_client_notices_the_end_at_its_turn(self) -> None:
        client, peer = self.client_of_peer()
        peer.send("\\quit\n")
        self.assertEqual(client.status(within=5), 0)
        client.err.expect(r"\* server quit\n")

    def test_the_last_line_arrives_although_input_is_unread(self) -> None:
        server, port = self.server()
        for _ in range(20):
            peer = self.visitor(port)
            server.err.expect("is alice")
            peer.send("x" * 501 + "\n" + "unread\n" * 40_000)
            self.assertEqual(peer.rest(), "\\quit\n")
            for _ in range(5):  # it reads on: no reset, which could have overtaken the line
                peer.send("late\n")
            self.assertIsNone(peer.stream.error)
            peer.close()

    def test_a_goodbye_takes_about_a_second_at_most(self) -> None:
        server, port = self.server()
        peer = self.visitor(port)  # and it never closes
        server.err.expect("is alice")
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        self.assertEqual(server.status(), 0)
        self.assertLess(time.monotonic() - begin, 2.5)
        self.assertEqual(peer.rest(), "\\quit\n")

    def test_a_queue_is_served_in_order_without_a_pause(self) -> None:
        server, port = self.server()
        queue = [self.peer(port) for _ in range(20)]
        begin = time.monotonic()
        for i, peer in enumerate(queue):
            peer.send(f"guest{i}\nhello\n\\quit\n")
        for i in range(20):
            server.err.expect(rf"is guest{i}\n")
            server.out.expect(rf"guest{i}> hello\n")
        self.assertLess(time.monotonic() - begin, 10)


class OtherPrograms(ChatTest):
    """What people have at hand, as client or as server."""

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    def converse(self, *command: str) -> None:
        if not shutil.which(command[0]):
            self.skipTest(f"there is no {command[0]} here")
        server, port = self.server()
        other = self.spawn(*(argument.replace("PORT", str(port)) for argument in command))
        assert other.stdin and other.stdout
        server.err.expect("connected")
        for line in ("alice\n", "hello\n"):
            other.stdin.write(line)
            other.stdin.flush()
        server.out.expect("^alice> hello\n")
        server.type("hi alice\n")
        while "hi alice" not in (line := other.stdout.readline()):
            self.assertTrue(line, "the end came first")
        other.stdin.write("\\quit\n")
        other.stdin.flush()
        server.err.expect(r"\* alice quit\n")

    def test_nc(self) -> None:
        self.converse("nc", "localhost", "PORT")

    def test_ncat(self) -> None:
        self.converse("ncat", "-C", "localhost", "PORT")

    def test_socat(self) -> None:
        self.converse("socat", "-", "TCP:localhost:PORT")

    def test_telnet(self) -> None:
        self.converse("telnet", "127.0.0.1", "PORT")

    @unittest.skipUnless(shutil.which("nc"), "there is no nc here")
    def test_nc_as_a_server(self) -> None:
        listener = self.listener()
        port = listener.getsockname()[1]
        listener.close()
        other = self.spawn("nc", "-l", "127.0.0.1", str(port))
        assert other.stdin and other.stdout
        deadline = time.monotonic() + DEADLINE
        while True:
            client: Program = self.start(CLIENT, "127.0.0.1", port)
            client.type("alice\nhello\n")
            if b"picked up" in client.err.expect(r"picked up|refused").group():
                break
            self.assertLess(time.monotonic(), deadline, "nc -l does not listen")
        for line in ("chatserve by hand\n", "hi alice\n"):
            other.stdin.write(line)
            other.stdin.flush()
        client.out.expect("^server> hi alice\n")
        self.assertEqual([other.stdout.readline() for _ in range(2)], ["alice\n", "hello\n"])


if __name__ == "__main__":
    main()
