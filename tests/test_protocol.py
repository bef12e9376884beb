"""The rules of the protocol, spoken by hand to the real scripts, and by other programs."""

from __future__ import annotations

import shutil
import socket
import unittest

from harness import (
    BROKE, CLIENT, CONNECTED, GREETING, IN_QUEUE,
    MESSAGE_LONGEST, NO_CHATSERVE, NO_USERNAME, QUIT, TOO_LONG, UNREAD_LONGEST,
    TOO_FAR_AHEAD, USERNAME_LONGEST, USERNAME_SECONDS, WAITING, ChatTest, Patience,
    main,
)  # fmt: skip

REFUSAL = f"^{GREETING}: "


class Conversations(ChatTest):
    """Both scripts, from the greeting to the end."""

    def test_two_people_take_turns_until_one_quits(self) -> None:
        server, port = self.server()
        client = self.start(CLIENT, "localhost", port)
        client.type("alice\nhello\n")
        server.out.expect(r"^alice> hello\n")
        server.type("hi alice\n")
        client.out.expect(r"^server> hi alice\n")
        client.type(f"  {QUIT} \n")
        self.assertEqual(client.status(), 0)
        server.err.expect(r"\n\* alice quit\n\* waiting on")
        self.assertEqual(client.out.all(), "server> hi alice\n")
        self.assertEqual(server.out.so_far(), "alice> hello\n")
        self.assert_calm(server, client)

    def test_notices_tell_of_every_step(self) -> None:
        server, port = self.server()
        client = self.start(CLIENT, "localhost", port)
        client.err.expect(rf"^\* .*{IN_QUEUE}")
        client.err.expect(rf"\n\* {CONNECTED}.* localhost port {port}\b.*turns.*you begin.*\\quit.*\n")
        client.err.expect(rf"\* .*username.*\b{USERNAME_SECONDS} s")
        server.err.expect(rf"\* 127\.0\.0\.1 port \d+ .*{CONNECTED}.*turns.*the client begins.*\\quit.*\n")
        client.type("alice\n")
        server.err.expect(r"\* 127\.0\.0\.1 port \d+ is alice\n")
        self.assertRegex(server.err.so_far(), rf"^{WAITING} \(Ctrl-C closes\)\n")
        for line in (server.err.so_far() + client.err.so_far()).splitlines():
            self.assertRegex(line, r"^\* ")


class Greeting(ChatTest):
    def test_the_server_speaks_first_and_says_what_to_send(self) -> None:
        _, port = self.server()
        self.assertRegex(self.partner(port).line(), rf"^{GREETING}.*username.*\\quit")

    def test_a_client_in_the_queue_is_told_and_not_connected_yet(self) -> None:
        _, port = self.server()
        first = self.visitor(port)
        client = self.start(CLIENT, "localhost", port)
        client.err.expect(IN_QUEUE)
        self.assertNotIn(CONNECTED, client.err.so_far())
        first.close()
        client.err.expect(CONNECTED)

    def test_a_server_that_is_no_chatserve_is_shown_and_sent_nothing(self) -> None:
        for first, shown in (
            ("SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2\n"),
            ("220 mail\x1b[2J\n250 more\n", r"220 mail\\x1b\[2J\n"),
            ("Chatserve\n", "Chatserve\n"),
            ("\n", "\n"),
            ("x" * 70_000, f"x{{{MESSAGE_LONGEST}}}\n"),
        ):
            with self.subTest(first=first[:20]):
                listener = self.listener()
                client = self.client_of(listener)
                partner = self.accept(listener, first)
                self.assertEqual(client.status(), 1)
                client.err.expect(rf"\* 127\.0\.0\.1 port \d+ {NO_CHATSERVE}.*: {shown}$")
                self.assertEqual(client.out.all(), "")
                self.assertEqual(partner.rest(), "")

    def test_a_server_that_leaves_or_quits_before_its_greeting(self) -> None:
        closed = "left .*closed, or is no chatserve, but a tunnel with nothing behind it$"
        cases = (("", 1, closed), (f"{QUIT}\n", 0, "quit$"), ("chat", 1, NO_CHATSERVE))
        for first, status, how in cases:
            listener = self.listener()
            client = self.client_of(listener)
            self.accept(listener, first).close()
            self.assertEqual(client.status(), status)
            client.err.expect(rf"\* 127\.0\.0\.1 port \d+ {how}")


class Username(ChatTest):
    def test_names_that_follow_the_rule(self) -> None:
        server, port = self.server()
        for name in ("a", "x" * USERNAME_LONGEST, "\u5317" * USERNAME_LONGEST, "Server", "e\u0301ric"):
            partner = self.visitor(port, name)
            server.err.expect(f"port \\d+ is {name}\n")
            partner.close()

    def test_a_name_that_breaks_the_rule_is_refused_and_the_server_listens_again(self) -> None:
        server, port = self.server()
        for name, shown in (
            ("", ""), ("x" * (USERNAME_LONGEST + 1), "x+"), ("two words", "two words"),
            ("server", "server"), ("a\tb", r"a\\tb"), ("\x1b[31mred", r"\\x1b\[31mred"), ("a\u00a0b", r"a\\xa0b"), ("a\u200bb", r"a\\u200bb"),
            ("ab\u202ecd", r"ab\\u202ecd"), ("\u3000", r"\\u3000"), ("n" * 3000, "n{11,50}"),
        ):  # fmt: skip
            with self.subTest(name=name[:20]):
                partner = self.visitor(port, name)
                self.assertRegex(partner.line(), REFUSAL)
                self.assertEqual(partner.rest(), "")
                server.err.expect(rf"\* 127\.0\.0\.1 port \d+ {BROKE}.*'{shown}' {NO_USERNAME}")
                partner.close()
        self.visitor(port, "alice")
        server.err.expect("is alice")
        self.assert_calm(server)

    def test_the_client_shows_why_it_was_refused(self) -> None:
        client, partner = self.client_of_partner()
        partner.send(f"{GREETING}: no such \x1b[1mname\n")
        partner.close()
        self.assertEqual(client.status(), 1)
        client.out.expect(rf"{GREETING}: no such \\x1b\[1mname\n")
        self.assert_calm(client)

    def test_a_name_that_never_ends(self) -> None:
        server, port = self.server()
        partner = self.partner(port)
        partner.line()
        partner.send("n" * 100_000)
        self.assertRegex(partner.line(), REFUSAL)
        server.err.expect(f"{BROKE}'n+' {NO_USERNAME}")


class Turns(ChatTest):
    def test_the_longest_line_of_four_byte_characters_and_an_empty_line_are_messages(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        for text in ("\U0001f600" * MESSAGE_LONGEST, "", "  ", "x" * MESSAGE_LONGEST):
            partner.send(text + "\r\n")
            server.out.expect(f"alice> {text}\n")
            server.type("ok\n")
            self.assertEqual(partner.line(), "ok")

    def test_a_message_too_long_breaks_the_rule_when_its_turn_comes(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send("hello\n" + "x" * (MESSAGE_LONGEST + 1) + "\nmore\n")
        server.out.expect("alice> hello\n")
        server.type("hi\n")
        self.assertEqual(partner.line(), "hi")
        self.assert_goodbye(partner)
        server.err.expect(rf"\* alice {BROKE}{TOO_LONG}")
        self.assertEqual(server.out.so_far(), "alice> hello\n")
        client, partner = self.client_of_partner()
        client.type("hello\n")
        partner.line()
        partner.send("x" * (MESSAGE_LONGEST + 1) + "\n")
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(rf"\* server {BROKE}{TOO_LONG}")

    def test_a_message_that_never_ends(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send("x" * 100_000)
        self.assertEqual(partner.line(), QUIT)
        server.err.expect(rf"\* alice {BROKE}{TOO_LONG}")

    def test_lines_sent_ahead_wait_for_their_turns(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send("one\ntwo\nthree\n")
        for text in ("one", "two", "three"):
            server.out.expect(f"alice> {text}\n")
            self.assertTrue(server.out.so_far().endswith(f"alice> {text}\n"))
            server.type("next\n")
            self.assertEqual(partner.line(), "next")

    def test_so_many_bytes_ahead_are_allowed_and_no_more(self) -> None:
        for extra in (0, 1):
            with self.subTest(extra=extra):
                server, port = self.server()
                partner = self.visitor(port)
                partner.send("first\n")
                server.out.expect("alice> first\n")
                lines = "x" * 255 + "\n"
                partner.send(lines * (UNREAD_LONGEST // 256) + "y" * extra)
                if extra:
                    self.assert_goodbye(partner)
                    server.err.expect(rf"\* alice {BROKE}{TOO_FAR_AHEAD}")
                    self.assertEqual(server.out.so_far(), "alice> first\n")
                    continue
                partner.send(f"{QUIT}\nbehind it")  # noticed behind all of them, which are shown
                server.out.expect(r"(alice> x{255}\n){256}")
                server.err.expect(r"\* alice quit\n")

    def test_messages_of_every_length_and_script_are_sent(self) -> None:
        client, partner = self.client_of_partner()
        for text in ("x", "\U0001f600" * MESSAGE_LONGEST, " white space around ", "cafe\u0301 \u05d0\u0628"):
            client.type(text + "\n")
            self.assertEqual(partner.line(), text)
            partner.send(text + "\n")
            client.out.expect(f"server> {text}\n")


class Segments(ChatTest):
    def test_one_byte_at_a_time(self) -> None:
        server, port = self.server()
        partner = self.partner(port)
        for byte in "ali\u00e7e\r\nh\u00e9llo \U0001f600\r\n\\quit\r\n".encode():
            partner.send(bytes([byte]))
        server.err.expect("is ali\u00e7e\n")
        server.err.expect("ali\u00e7e quit\n")
        self.assertEqual(server.out.so_far(), "ali\u00e7e> h\u00e9llo \U0001f600\n")

    def test_everything_at_once_and_a_last_line_without_an_end(self) -> None:
        server, port = self.server()
        partner = self.partner(port)
        partner.send("alice\nhello\nand bye")
        partner.half_close()
        server.err.expect(r"\* alice left\n")
        server.out.expect("and bye\n")
        self.assertEqual(server.out.data, b"alice> hello\nalice> and bye\n")
        partner = self.partner(port)
        partner.send("bob\n\\quit")
        partner.half_close()
        server.err.expect(r"\* bob quit\n")

    def test_bytes_that_are_no_utf_8(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send(b"a\xfe\xfdb \xc3( \xed\xa0\x80\n")
        server.out.expect("^alice> a\ufffd\ufffdb \ufffd\\( \ufffd\ufffd\ufffd\n")


class OtherPrograms(ChatTest):
    """What people have at hand, as client or as server."""

    def converse(self, *command: str) -> None:
        if not shutil.which(command[0]):
            self.skipTest(f"there is no {command[0]} here")
        server, port = self.server()
        other = self.start(*(argument.replace("PORT", str(port)) for argument in command))
        server.err.expect(CONNECTED)
        other.type("alice\nhello\n")
        server.out.expect("^alice> hello\n")
        server.type("hi alice\n")
        other.out.expect("hi alice")
        other.type(f"{QUIT}\n")
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
        address = "127.0.0.9"  # at which no other test listens, that could be given the port meanwhile
        try:
            with socket.create_server((address, 0)) as listener:
                port = listener.getsockname()[1]
        except OSError:
            self.skipTest(f"{address} is no address of this machine")
        other = self.start("nc", "-l", address, str(port))
        patience = Patience()
        while True:  # nc does not tell when it listens
            client = self.start(CLIENT, address, port)
            client.type("alice\nhello\n")
            if IN_QUEUE.encode() in client.err.expect(f"{IN_QUEUE}|refused").group():
                break
            self.assertTrue(patience.lasts(), "nc -l does not listen")
        other.type(f"{GREETING} by hand\nhi alice\n")
        client.out.expect("^server> hi alice\n")
        other.out.expect("^alice\nhello\n")


if __name__ == "__main__":
    main()
