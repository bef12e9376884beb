"""Peers that do harm, and networks that fail, met by the real scripts."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from harness import (
    BROKE, CLIENT, DEADLINE, GOODBYE_SECONDS, GREETING,
    MESSAGE_LONGEST, QUIT, SERVER, TOO_FAR_AHEAD, TOO_LONG, WAITING, ChatTest, Patience,
    Partner, main, memory,
    on_linux, processor_seconds,
)  # fmt: skip

CONTROLS = [
    *range(9), *range(11, 32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A),
]  # fmt: skip
SHOWN = "".join(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in CONTROLS)
HARMLESS = (
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u4e2d\u6587 \u65e5\u672c\u8a9e\u3000\ud55c\uad6d\uc5b4 e\u0301a\u0308\u0323",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f a\u00a0b\tc \u200f\u200e",
)


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open (Linux)."""
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def connections(port: int) -> list[list[str]]:
    """Return what /proc/net/tcp says of the established connections to and from a port (Linux).

    Of note are the fields 1 and 2, the addresses; 4, the queues; and 5, the timer and its jiffies
    (proc(5)).
    """
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()
    rows = [line.split() for line in lines[1:] if f":{port:04X} " in line]
    return [row for row in rows if row[3] == "01"]


class Display(ChatTest):
    def test_control_characters_show_as_escapes_in_messages_on_both_sides(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        client, other = self.client_of_partner()
        client.type("hello\n")
        other.line()
        for text, shown in (("".join(map(chr, CONTROLS)), SHOWN), *zip(HARMLESS, HARMLESS)):
            partner.send(f"a{text}b\n")
            server.out.expect(re.escape(f"alice> a{shown}b\n"))
            server.type("ok\n")
            partner.line()
            other.send(f"a{text}b\n")
            client.out.expect(re.escape(f"server> a{shown}b\n"))
            client.type("ok\n")
            other.line()
        self.assert_calm(server, client)

    def test_control_characters_show_as_escapes_in_greetings_names_and_reasons(self) -> None:
        for code in CONTROLS:
            escape = re.escape(repr(chr(code))[1:-1])
            if code == CONTROLS[0]:
                server, port = self.server()
            partner = self.visitor(port, f"a{chr(code)}b")
            self.assertRegex(partner.rest(), f"^{GREETING}: .*'a{escape}b'")
            server.err.expect(f"{BROKE}.*'a{escape}b'")
            partner.close()
        listener = self.listener()
        client = self.client_of(listener)
        self.accept(listener, "".join(map(chr, CONTROLS)) + "\n")
        client.err.expect(re.escape(SHOWN))
        client, partner = self.client_of_partner()
        partner.send(f"{GREETING}: {''.join(map(chr, CONTROLS))}\n")
        partner.close()
        client.out.expect(re.escape(SHOWN))
        self.assert_calm(server, client)


class Departures(ChatTest):
    STAGES = ("", "al", "alice", "alice\n", "alice\nhel", "alice\nhello\n", "alice\nhello\nand\n")

    def test_a_departure_at_every_stage_costs_the_next_nothing(self) -> None:
        server, port = self.server()
        for queued in (True, False):
            for leave in (Partner.reset, Partner.close, Partner.half_close):
                for stage in self.STAGES:
                    with self.subTest(queued=queued, leave=leave.__name__, stage=stage):
                        first = self.visitor(port, "first") if queued else None
                        partner = self.partner(port)
                        if not queued:
                            partner.line()
                        partner.send(stage)
                        leave(partner)
                        if first:
                            first.close()
                        server.err.expect(rf"\* (alice|alicehel|al|127\S+ port \d+) (left|was lost|{BROKE})")
        self.visitor(port, "next")
        server.err.expect("is next")
        self.assert_calm(server)

    @on_linux  # elsewhere a reset may take with it what came before
    def test_a_queued_client_that_was_reset_is_lost_by_its_name(self) -> None:
        server, port = self.server()
        for said, how, out in (("alice\nhello\nlast", "was lost", "hello\nalice> last\n"),
                               (f"alice\nhello\n{QUIT}\n", "quit", "hello\n")):  # fmt: skip
            first = self.visitor(port, "first")
            server.err.expect("is first")
            queued = self.partner(port)
            queued.send(said)
            queued.reset()
            first.quit()
            server.err.expect(rf"is alice\n\* alice {how}[^\n]*\n\* waiting on")
            server.out.expect(f"alice> {out}$")
            self.assert_calm(server)

    def test_thirty_that_gave_up_in_the_queue(self) -> None:
        server, port = self.server()
        first = self.visitor(port, "first")
        server.err.expect("is first")
        for i in range(30):
            partner = self.partner(port)
            (Partner.reset if i % 2 else Partner.close)(partner)
        last = self.partner(port)
        last.send("last\n")
        first.quit()
        server.err.expect("is last")
        self.assert_calm(server)

    @on_linux
    def test_a_thousand_visitors_leave_nothing_behind(self) -> None:
        server, port = self.server()

        def visit(number: int) -> None:
            partner = self.partner(port)
            partner.send(f"alice\nhello\n{QUIT}\n" if number % 3 else "al")
            (Partner.half_close if number % 2 else Partner.close)(partner)
            if number % 2:
                partner.rest()
                partner.close()
            server.out.so_far()
            server.err.so_far()

        for i in range(200):
            visit(i)
        opened, used = descriptors(server.pid), memory(server.pid)
        for i in range(800):
            visit(i)
        self.visitor(port, "last")
        server.err.expect("is last")
        self.assertEqual(descriptors(server.pid), opened + 1)
        self.assert_grown_by_less(server, used, 4 << 20)

    @on_linux
    def test_a_peer_that_never_reads_does_not_hold_the_server(self) -> None:
        answers = self.file_of((b"y" * MESSAGE_LONGEST + b"\n") * 10_000)
        server, port = self.server(stdin=answers, stdout=subprocess.DEVNULL)
        partner = self.visitor(port)
        partner.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        partner.send("\n" * 10_000)
        patience = Patience()
        queue = [0]
        while len(queue) < 30 or len(set(queue[-30:])) > 1 or not queue[-1]:  # until it blocks
            self.assertTrue(patience.lasts())
            time.sleep(0.01)  # nothing tells when it has stopped growing
            queue.append(next(int(fields[4].split(":")[0], 16) for fields in connections(port)
                              if fields[1].endswith(f":{port:04X}")))  # fmt: skip
        server.signal(signal.SIGINT)
        self.assertEqual(server.status(), 0)
        self.assert_calm(server)

    def test_a_process_stopped_and_continued(self) -> None:
        server, port = self.server()
        client = self.start(CLIENT, "localhost", port)
        client.type("alice\n")
        server.err.expect("is alice")
        for program in (server, client):
            program.freeze()
        client.type("hello\n")
        for program in (server, client):
            program.signal(signal.SIGCONT)
        server.out.expect("alice> hello\n")


class OtherProtocols(ChatTest):
    def test_clients_of_others_are_refused_with_a_notice_each(self) -> None:
        server, port = self.server()
        hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"  # the start of TLS (RFC 8446)
        for request in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", hello):
            partner = self.partner(port)
            partner.line()
            partner.send(request)
            partner.half_close()
            self.assertTrue(partner.line().startswith(f"{GREETING}: "))
            self.assertEqual(partner.rest(), "")
            partner.close()
            server.err.expect(r"\* 127\.0\.0\.1 port \d+ broke a rule: [^\n]+\n\* waiting on")
        self.assertEqual(server.out.so_far(), "")
        self.visitor(port)
        server.err.expect("is alice")
        self.assert_calm(server)


class Bounds(ChatTest):
    def flood(self, partner: Partner, data: bytes, most: int = 20_000_000) -> None:
        """Send until the server ends it, or it is clear that it does not."""
        sent = 0
        try:
            while sent < most:
                sent += partner.sock.send(data)
        except OSError:
            return
        self.fail(f"{sent} bytes were taken")

    @on_linux
    def test_floods_are_ended_in_bounded_memory_and_not_shown(self) -> None:
        for before, flood in (
            ("", b"n" * 65536), ("alice\n", b"x" * 65536), ("alice\nhello\n", b"x" * 65536),
            ("alice\nhello\n", b"x\n" * 32768), ("alice\nhello\n", b"\n" * 65536),
        ):  # fmt: skip
            with self.subTest(before=before, flood=flood[:2]):
                server, port = self.server()
                partner = self.partner(port)
                partner.line()
                used = memory(server.pid)
                partner.send(before)
                if before.endswith("hello\n"):
                    server.out.expect("hello\n")
                self.flood(partner, flood)
                server.err.expect(f"{BROKE}({TOO_FAR_AHEAD}|{TOO_LONG}|'n+')")
                server.err.expect(WAITING)
                self.assert_grown_by_less(server, used, 4 << 20)
                self.assertLess(len(server.out.so_far()) + len(server.err.so_far()), 1000)

    @on_linux
    def test_a_goodbye_to_a_flood_does_not_keep_a_core_busy(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        server.err.expect("is alice")
        partner.sock.setblocking(False)
        before = processor_seconds(server.pid)
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        used = 0.0
        while server.process.poll() is None:
            self.assertLess(time.monotonic() - begin, DEADLINE)
            with contextlib.suppress(OSError):  # it has ended meanwhile
                used = processor_seconds(server.pid) - before
            try:
                partner.sock.send(b"x\n" * 32768)
            except BlockingIOError:
                time.sleep(0.001)  # it reads more slowly than this writes
            except OSError:
                break
        self.assertEqual(server.status(), 0)
        self.assertLess(used, GOODBYE_SECONDS / 2)

    @on_linux
    def test_a_piped_line_that_never_ends_is_bounded_too(self) -> None:
        with pathlib.Path("/dev/zero").open("rb") as endless:
            server, port = self.server(stdin=endless)
        partner = self.visitor(port)
        server.err.expect("is alice")
        used = memory(server.pid)
        partner.send("hello\n")
        counts = pathlib.Path(f"/proc/{server.pid}/io")  # rchar: bytes read (proc(5))
        patience = Patience()
        while int(counts.read_text().split()[1]) < 50 << 20:
            self.assertTrue(patience.lasts())
            time.sleep(0.01)  # nothing tells when it has read so much
        self.assert_grown_by_less(server, used, 8 << 20)
        partner.close()
        server.err.expect(r"\* alice left\n")
        partner = self.visitor(port, "bob")
        partner.send("hello\n")
        server.out.expect("bob> hello\n")
        server.signal(signal.SIGINT)
        self.assert_goodbye(partner)

    def test_the_username_has_a_deadline_that_single_bytes_do_not_extend(self) -> None:
        server, port = self.server(0, script=self.impatient(SERVER, "USERNAME_SECONDS", 1))
        for trickle in (False, True):
            partner = self.partner(port)
            partner.line()
            patience = Patience()
            while not partner.stream.read(0.1):
                self.assertTrue(patience.lasts())
                if trickle:
                    partner.send("a")
            self.assertRegex(partner.rest(), rf"^{GREETING}: no username came in 1 s\n")
            server.err.expect(rf"127\.0\.0\.1 port \d+ {BROKE}no username came in 1 s\n")
            partner.close()

    def test_bytes_that_are_dropped_do_not_extend_it_either(self) -> None:
        server, port = self.server(0, script=self.impatient(SERVER, "USERNAME_SECONDS", 0.5))
        partner = self.partner(port)
        partner.sock.setblocking(False)
        patience = Patience()
        while "no username came" not in server.err.so_far():
            self.assertTrue(patience.lasts())
            with contextlib.suppress(BlockingIOError, ConnectionError):
                partner.sock.send(b"\xff\xf1" * 10_000)  # telnet's NOP (RFC 854)

    def test_a_username_that_came_in_time_counts_though_the_server_was_stopped(self) -> None:
        copy = self.impatient(SERVER, "USERNAME_SECONDS", 2)
        server, port = self.server(script=copy)
        partner = self.partner(port)
        partner.line()
        server.freeze()
        partner.send("alice\n")
        time.sleep(2.2)  # longer than it has for the username
        server.signal(signal.SIGCONT)
        server.err.expect("is alice\n")


@on_linux
class Vanishing(ChatTest):
    """The limits for a host that vanished; that they work takes a minute, and was tried by hand."""

    # Runs a script that tells the options of its connection on SIGUSR1, as only itself can.
    LAUNCHER = """if True:
        import os, runpy, signal, socket, sys
        def tell(*_):
            for descriptor in map(int, os.listdir("/proc/self/fd")):
                try:
                    sock = socket.socket(fileno=os.dup(descriptor))
                    sock.getpeername()
                except OSError:
                    continue
                numbers = [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_" + option))
                           for option in ("KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")]
                os.write(2, "options {} {} {} {}\\n".format(*numbers).encode())
        signal.signal(signal.SIGUSR1, tell)
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """

    def test_the_socket_options_are_set(self) -> None:
        server, port = self.server(flags=("-I", "-c", self.LAUNCHER))
        client = self.start(CLIENT, "127.0.0.1", port, flags=("-I", "-c", self.LAUNCHER))
        client.type("alice\n")
        server.err.expect("is alice")
        for program in (server, client):
            program.signal(signal.SIGUSR1)
            program.err.expect("options 30 10 3 60000\n")

    def test_the_keepalive_timers_run(self) -> None:
        server, port = self.server()
        client = self.start(CLIENT, "127.0.0.1", port)
        client.type("alice\n")
        server.err.expect("is alice")

        def timers() -> list[tuple[int, bool]]:
            """Return the kind of both sides' timers, and whether it runs out within 30 s."""
            pairs = [fields[5].split(":") for fields in connections(port)]
            limit = 30 * os.sysconf("SC_CLK_TCK")
            return [(int(timer), int(left, 16) <= limit) for timer, left in pairs]

        # While something is on its way, a timer is that of a retransmission.
        self.wait_for(lambda: timers() == [(2, True), (2, True)], lambda: f"{timers()}")


if __name__ == "__main__":
    main()
