"""Random partners and random signals: `python3 tests/test_fuzz.py [COUNT [SEED]]` for more of them."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

from harness import CLIENT, DEADLINE, GREETING, MESSAGE_LONGEST, QUIT, ChatTest, Partner, Program, main

COUNT = 45
SEED = 20
PIECES = (
    b"alice\n", b"bob\r\n", f"{QUIT}\n".encode(), QUIT.encode(), b"\n", b"\r", b"\x00", b"\xff\xfe\n",
    b"x" * (MESSAGE_LONGEST + 1), b"x" * 3000, b"hello\n" * 50, b"\x1b]0;title\x07\n", b"\xf0\x9f\x98", "\u202e\u2028\n".encode(),
    f"{GREETING}\n".encode(), f"{GREETING}: no\n".encode(), b"y\n" * 40_000,
)  # fmt: skip


def stream(source: random.Random) -> bytes:
    """Return what a partner may send, of pieces that have done harm somewhere."""
    pieces = [source.choice(PIECES) for _ in range(source.randrange(12))]
    if source.random() < 0.5:
        pieces.insert(0, b"alice\n")
    if source.random() < 0.3:
        pieces.append(bytes(source.randrange(256) for _ in range(source.randrange(200))))
    return b"".join(pieces)


def pour(partner: Partner, data: bytes, source: random.Random) -> None:
    """Send the data in random segments, some of them one by one, and leave in some way."""
    while data:
        size = source.choice((1, 7, 100, 5000, 100_000))
        partner.send(data[:size])
        data = data[size:]
        if source.random() < 0.05:
            break
    source.choice((Partner.reset, Partner.close, Partner.half_close))(partner)
    partner.close()


class Fuzz(ChatTest):
    def keep_up(self, server: Program, visits: int) -> None:
        """Read what the server writes, until no more clients wait than its queue holds."""

        def kept_up() -> bool:
            server.out.so_far()
            return server.err.so_far().count("* waiting on") > visits - 50

        self.wait_for(kept_up, lambda: "the server serves its queue")

    def test_random_streams_at_the_server(self) -> None:
        source = random.Random(SEED)
        server, port = self.server()
        for number in range(COUNT):
            self.keep_up(server, number)
            partner = self.partner(port)
            if source.random() < 0.3:
                server.type("an answer\n")
            pour(partner, stream(source), source)
        last = self.partner(port)
        last.send("lastone\nhello\n")
        server.out.expect("lastone> hello\n", within=6 * DEADLINE)  # behind all the others
        self.assert_calm(server)

    def test_random_streams_at_the_client(self) -> None:
        source = random.Random(SEED)
        for _ in range(COUNT // 3):
            listener = self.listener()
            client = self.client_of(listener)
            greeting = source.choice((f"{GREETING}\n", f"{GREETING} here\r\n", "", "SSH-2.0\n"))
            partner = self.accept(listener, greeting)
            client.type("alice\n" + "hello\n" * source.randrange(4))
            pour(partner, stream(source), source)
            self.assertIn(client.status(), (0, 1))
            self.assert_calm(client)
            client.kill()
            listener.close()


class Interrupts(ChatTest):
    def test_signals_at_random_moments_of_a_busy_conversation(self) -> None:
        source = random.Random(SEED)
        answers = b"".join(b"answer %d\n" % i for i in range(20_000))
        for i in range(COUNT // 3):
            server, port = self.server(stdout=subprocess.DEVNULL)
            client = self.start(CLIENT, "localhost", port, stdout=subprocess.DEVNULL)
            for program in (server, client):
                program.type(b"alice\n" + answers[: 60_000 - i])
            server.err.expect("is alice")
            first = source.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
            victim, status = ((server, 0), (client, 128 + first))[i % 2]
            victim.err.read(source.random() * 0.02)  # which is a pause, if nothing comes
            victim.signal(first)
            if i % 3 == 0:
                victim.err.read(source.random() * 0.001)
                victim.signal(first)
            self.assertEqual(victim.status(), status)
            if victim is server:
                self.assertEqual(client.status(), 0)  # it was told
            else:
                server.err.expect("alice quit")
            self.assert_calm(server, client)
            server.kill()
            client.kill()


if __name__ == "__main__":
    numbers = [int(sys.argv.pop(1)) for _ in sys.argv[1:3] if sys.argv[1].isdigit()]
    COUNT, SEED = (*numbers, *(COUNT, SEED)[len(numbers) :])
    main()
