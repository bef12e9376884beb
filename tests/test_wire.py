"""On the wire: what the server and the client send and take, and peers that are hostile or fail."""

from __future__ import annotations

import os
import re
import unittest
from pathlib import Path
from signal import SIGTERM
from typing import Any, Callable, Iterator

from harness import STDOUT, ChatTest, Peer, Program, wait

QUIT = r"\quit"
NAMES = ("a", "x" * 10, "\u5317" * 10, "Servers", "yours", "e\u0301ric", "\U0001f600", "a>:")
NO_NAMES = (
    "", "x" * 11, "two words", " bob", "server", "SERVER", "You", "a\tb", "a\x1b[1m", "a\x7f", "a\x9bb",
    "a\u00a0b", "a\u3000b", "a\u200bb", "ab\u202ecd", "a\u2028b", "a\ufeffb",
)  # fmt: skip
NAME_RULE = r"(?=.*\b1\b)(?=.*\b10\b)(?=.*space)(?=.*\bserver\b)(?=.*\byou\b)"
CONTROLS = (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
SHOWN = (  # what comes, and what is shown
    *((text.encode(), text) for text in (
        "x" * 500, "\U0001f600" * 500, "hi\there", "a\u00a0b \u200f\u200e", "\U0001f469\u200d\U0001f467", "e\u0301",
        "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", " around ", r"\quit it", "* bob left", "  ", "",
    )),
    ("".join(map(chr, CONTROLS)).encode(), "".join(f"\\x{c:02x}" if c < 256 else f"\\u{c:04x}" for c in CONTROLS)),
    (b"a\xfe\xfdb \xc3( \xed\xa0\x80", "a\ufffd\ufffdb \ufffd( \ufffd\ufffd\ufffd"), (b"hello\r", "hello"),
)  # fmt: skip


class WireTest(ChatTest):
    def both(self, **options: Any) -> Iterator[tuple[Program, Peer, str]]:
        """The server and alice, then the client and a server: programs whose peer has the turn."""
        yield (*self.server_and_hand(**options), "alice")
        alice, server = self.client_and_hand(**options)
        alice.enters("hello")
        server.hears("hello")
        yield alice, server, "server"


class Beginnings(WireTest):
    def test_the_server_speaks_first_and_to_one_at_a_time(self) -> None:
        bob, alice = self.server_and_hand()
        carol = self.visit(bob)
        carol.says("carol", "hello")
        alice.says("hello", QUIT)
        alice.hears_end()
        carol.hears("chatserve.*username.*")
        bob.sees("alice> hello", "carol> hello")

    def test_the_queue_is_served_in_order_also_those_who_have_left(self) -> None:
        bob, alice = self.server_and_hand()
        names = [f"guest{number}" for number in range(12)]
        for number, guest in enumerate([self.visit(bob) for _ in names]):
            guest.says(names[number], "hello")
            (guest.resets, guest.leaves, guest.half_closes)[number % 3]()
        alice.leaves()
        for name in names:
            bob.is_told(f"is {name}")
            bob.sees(f"{name}> hello")
            bob.is_told(f"{name} (left|was lost)")
        bob.is_told("waiting on")

    def test_how_a_server_may_begin_and_how_something_else_does(self) -> None:
        for first, status, told in (
            ("SSH-2.0\r\n", 1, r"no chatserve.*SSH-2\.0"), ("220 mail\x1b[2J\nmore\n", 1, r"no chatserve.*220 mail\\x1b\[2J"),
            ("Chatserve\n", 1, "no chatserve.*Chatserve"), ("\n", 1, "no chatserve"), ("", 1, "left"),
            ("chatserve by hand\n", 1, "server left"), ("chatserve by hand\n\\quit\n", 0, "server quit"),
        ):  # fmt: skip
            with self.subTest(first=first):
                listener = self.listener()
                alice = self.client(listener)
                self.accept(listener, first).leaves()
                alice.is_told(told)
                alice.ends(status)
                self.assertEqual("* connected" in alice.err.text, first.startswith("chatserve"))
                self.assertEqual(alice.out.text, "")

    def test_the_server_takes_names_that_follow_the_rule_and_no_others(self) -> None:
        bob = self.server()
        for name in NAMES:
            self.visit(bob, name).leaves()
            bob.is_told(f"is {name}")
        for name in NO_NAMES:
            visitor = self.visit(bob)
            visitor.says(name, "never shown")
            visitor.hears_end("chatserve.*", f"chatserve: {NAME_RULE}.*")
            visitor.leaves()
            bob.is_told(rf"port \d+ .*{NAME_RULE}")
            bob.is_told("waiting on")
        self.assertEqual(bob.out.text, "")

    def test_the_client_sends_names_that_follow_the_rule_and_no_others(self) -> None:
        dropped = "\x1b\x7f\x9b\u202e\u2028"  # by a pipe, as are blank lines
        names = [name for name in (*NAMES, *NO_NAMES) if name and not set(name) & set(dropped)]
        listeners = [self.listener() for _ in names]
        clients = [self.client(listener, stdin=f"{name}\nhello\n".encode()) for name, listener in zip(names, listeners)]
        servers = [self.accept(listener) for listener in listeners]
        for name, alice, server in zip(names, clients, servers):
            with self.subTest(name=name):
                if name in NAMES:
                    server.hears(name, "hello")
                else:
                    server.hears_end(QUIT)
                    alice.is_told(NAME_RULE)
                server.leaves()
                alice.ends(1)

    def test_a_refusal_is_a_notice_and_no_message(self) -> None:
        alice, server = self.client_and_hand()
        server.says("chatserve: alice is \x1b[1mtaken")
        server.leaves()
        alice.is_told(r"alice is \\x1b\[1mtaken")
        alice.ends(1)
        self.assertEqual(alice.out.text, "")

    def test_a_later_message_may_begin_like_a_refusal(self) -> None:
        alice, server = self.client_and_hand()
        alice.enters("hello", "what is great?")
        server.says("hi", "chatserve: is great")
        alice.sees("server> hi", "server> chatserve: is great")

    def test_a_username_has_two_minutes(self) -> None:
        self.client(self.server()).is_told(r"username.*\b120 s")
        bob = self.server(USERNAME_SECONDS=1)
        visitor = self.visit(bob)
        visitor.sends("ali")  # and never the rest
        visitor.hears_end("chatserve.*", r"chatserve: .*username.*\b1 s.*")
        bob.is_told(r"port \d+ .*username.*\b1 s")


class Messages(WireTest):
    def test_what_comes_is_shown_and_what_is_typed_is_sent(self) -> None:
        for program, peer, name in self.both():
            for sent, text in SHOWN:
                peer.sends(sent + b"\n")
                program.sees(f"{name}> {re.escape(text)}")
                program.enters(text if text.strip() else "ok")
                peer.hears(re.escape(text) if text.strip() else "ok")

    def test_a_byte_at_a_time(self) -> None:
        bob = self.server()
        visitor = self.visit(bob)
        visitor.hears("chatserve.*")
        for byte in "\u00e7a\r\nh\u00e9llo \U0001f600\r\n\\quit\r\n".encode():
            visitor.sends(bytes([byte]))
        bob.sees("\u00e7a> h\u00e9llo \U0001f600")
        bob.is_told("\u00e7a quit")

    def test_501_characters_end_the_conversation_when_their_turn_comes(self) -> None:
        for program, peer, name in self.both():
            peer.says("hello", "x" * 501, "more")
            program.sees(f"{name}> hello")
            program.enters("go on")
            peer.hears_end("go on", QUIT)
            peer.leaves()
            program.is_told(f"{name} was disconnected: 501 characters, 500 at most")
            self.assertNotIn("xx", program.out.text)
        program.ends(1)

    def test_lines_wait_for_their_turns(self) -> None:
        for program, peer, name in self.both():
            peer.says("one", "two", "three")
            for text in ("one", "two", "three"):
                program.sees(f"{name}> {text}")
                self.assertTrue(program.out.text.endswith(f"> {text}\n"))
                program.enters("next")
                peer.hears("next")

    def test_64_kib_may_wait(self) -> None:
        for program, peer, name in self.both():
            peer.says("hello", *["x" * 255] * 256)
            program.sees(f"{name}> hello")
            program.enters("go on")
            peer.hears("go on")
            peer.leaves()
            program.sees(*[f"{name}> {'x' * 255}"] * 256)

    def test_what_is_further_ahead_ends_the_conversation_with_a_notice(self) -> None:
        bob = self.server()
        floods = ("x" * 1_000_000, "x\n" * 500_000, "\n" * 1_000_000)
        for before, flood in (("", floods[0]), *((said, flood) for said in ("alice\n", "alice\nhello\n") for flood in floods)):
            visitor = self.visit(bob)
            visitor.sends(before + flood)
            visitor.leaves()
            bob.is_told(r"(port \d+|alice) was disconnected")
            bob.is_told("waiting on")
        self.assertLess(len(bob.out.text), 1000)


def quits_without_a_line_end(peer: Peer) -> None:
    peer.sends(QUIT)
    peer.half_closes()


class Endings(WireTest):
    STAGES = ("", "alice\n", "alice\nhello\n", "alice\nhello\none\ntwo\n", "al", "alice\nhello\nan")
    WAYS: tuple[tuple[Callable[[Peer], object], str], ...] = (
        (lambda peer: peer.sends("\\quit\r\nnever shown\n"), "quit"),
        (quits_without_a_line_end, "quit"),
        (Peer.half_closes, "left"), (Peer.leaves, "(left|was lost)"), (Peer.resets, "was lost"),
    )  # fmt: skip

    def test_an_end_is_noticed_at_any_time_and_costs_the_next_client_nothing(self) -> None:
        bob = self.server()
        for stage in self.STAGES:
            for leave, how in self.WAYS[0 if stage[-1:] in "\n" else 2 :]:
                visitor = self.visit(bob)
                visitor.hears("chatserve.*")
                visitor.sends(stage)
                leave(visitor)
                bob.is_told(rf"(al|alice|port \d+) {how}")
                bob.is_told("waiting on")
                if how == "quit":
                    visitor.hears_end()
        self.assertNotIn("never shown", bob.out.text)
        self.visit(bob, "carol").says("hello")
        bob.sees("carol> hello")

    def test_all_that_came_before_the_end_is_shown_and_then_the_notice(self) -> None:
        for leave, how in self.WAYS:
            for program, peer, name in self.both(stderr=STDOUT):
                peer.says("one", "two", "three")
                leave(peer)
                program.sees(f"{name}> one", f"{name}> two", f"{name}> three")
                program.is_told(f"{name} {how}")
            program.ends(0 if how == "quit" else 1)

    def test_the_goodbye_arrives_though_much_is_unread_and_is_not_waited_for_for_long(self) -> None:
        for seconds in (60, 1):
            for program, peer, name in self.both(GOODBYE_SECONDS=seconds):
                peer.says("one", *["two"] * 1000)
                program.sees(f"{name}> one")
                program.signals(SIGTERM)
                peer.says(*["three"] * 1000)
                peer.hears_end(QUIT)
                if seconds == 60:
                    peer.leaves()
                program.ends(0 if name == "alice" else -SIGTERM)
                self.assertEqual(program.out.text, f"{name}> one\n")

    def test_a_peer_that_does_not_read_is_lost(self) -> None:
        answers = self.folder / "answers"
        answers.write_text(("\U0001f600" * 500 + "\n") * 10_000)
        with answers.open() as stdin, Path(os.devnull).open("w") as stdout:
            bob, alice = self.server_and_hand(stdin=stdin, stdout=stdout)
        alice.sends("\n" * 10_000)
        bob.is_told("alice was lost")
        bob.is_told("waiting on")

    @unittest.skipUnless(Path("/proc/net/tcp").exists(), "only Linux tells a connection's timers")
    def test_a_host_that_vanished_is_looked_for_within_a_minute(self) -> None:
        bob = self.server()
        self.client(bob).enters("alice")
        minute = 60 * os.sysconf("SC_CLK_TCK")

        def keepalives() -> int:
            """Return how many ends of the connection have such a timer: 02 (proc(5))."""
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
            timers = [row[5].split(":") for row in rows if f":{bob.port:04X}" in row[1] + row[2]]
            return sum(kind == "02" and int(left, 16) <= minute for kind, left in timers)

        wait(lambda: keepalives() == 2, "keepalive at both ends")


class OtherPrograms(WireTest):
    def test_tools_that_send_lines_are_full_clients(self) -> None:
        for command in ("nc localhost", "ncat -C localhost", "telnet localhost", "socat - TCP:localhost:"):
            with self.subTest(command=command):
                bob = self.server()
                alice = self.start(*f"{command} {bob.port}".replace(": ", ":").split())
                alice.enters("alice", "hello")
                bob.sees("alice> hello")
                bob.enters("hi alice")
                alice.sees("hi alice\r?")
                alice.enters(QUIT)
                bob.is_told("alice quit")
                self.assertEqual(bob.out.text, "alice> hello\n")

    def test_http_and_tls_clients_are_told_what_is_wrong(self) -> None:
        bob = self.server()
        for request in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\3\1\0\5\1\0\0\1\0"):
            visitor = self.visit(bob)
            visitor.sends(request)
            visitor.half_closes()
            visitor.hears_end("chatserve.*", "chatserve: .*")
            bob.is_told(r"127\.0\.0\.1 port \d+ was disconnected")
            bob.is_told("waiting on")


if __name__ == "__main__":
    unittest.main()
