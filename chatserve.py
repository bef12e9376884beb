#!/usr/bin/env python3
"""Listen on a port (0: any free one), and chat with one client at a time, in turns. A client
gives a username; then each side sends a line after the other, the client first. The line \\quit,
typed at any time, ends the conversation, and the next client is picked up. Ctrl-C closes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import select
import signal
import socket
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, TextIO

# ==== The conversation: what stands up to the next such line is the same in both scripts. ====

QUIT = "\\quit"  # the line that ends a conversation, from either side
NAME_MAX = 10  # characters of a username
NAME_WITHIN = 120  # seconds from the greeting to the end of the username's line
TEXT_MAX = 500  # characters of a message
LINE_MAX = 4 * TEXT_MAX + 1  # bytes: four a character at most (RFC 3629), and a CR
AHEAD_MAX = 64 * 1024  # bytes of lines that wait for the peer's next turns; also of one read
GOODBYE_WITHIN = 1.0  # seconds for the last line to arrive
TICK = 0.2  # seconds between two looks at the socket while a line is edited
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup(1), to stay so
    SIGNALS.remove(signal.SIGHUP)
# A host that vanished is given up in a minute: seconds, seconds, probes, milliseconds (tcp(7)).
LIVENESS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
# C0 but tab, DEL, C1; line and paragraph separators, bidirectional overrides; and isolates.
UNSAFE = (range(9), range(10, 32), range(127, 160), range(0x2028, 0x202F), range(0x2066, 0x206A))
ESCAPES = {c: f"\\x{c:02x}" if c < 256 else f"\\u{c:04x}" for codes in UNSAFE for c in codes}


class Ended(Exception):
    """The conversation is over: `how`, in words, by this side (`ours`) or the peer. `last` is the
    line to send yet, None if the peer closed; `status` the exit status that follows; `final` says
    that the script ends, too."""

    def __init__(self, how: str, ours: bool = False, last: str | None = QUIT,
                 status: int = 1, final: bool = False) -> None:  # fmt: skip
        self.how, self.ours, self.last, self.status, self.final = how, ours, last, status, final


def stop(signum: int, _: object) -> None:
    """Handle a signal by raising Ended, once: none gets in between from here on."""
    try:  # runs the handlers of what came together with this signal; this one wins
        signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, signal.SIGALRM))
    finally:
        raise Ended("quit", ours=True, status=128 + signum, final=True)


def username_fault(name: str) -> str:
    """Return what is wrong with a username, and by which rule of the protocol, or ""."""
    if 1 <= len(name) <= NAME_MAX and name.isprintable() and " " not in name and name != "server":
        return ""
    rule = f"1 to {NAME_MAX} printable characters, no white space, not 'server', in {NAME_WITHIN} s"
    return f"rule 2: '{name[: 2 * NAME_MAX]}' is no username ({rule})"


def message_fault(text: str) -> str:
    """Return what is wrong with a message, and by which rule of the protocol, or ""."""
    return f"rule 3: {len(text)} characters, {TEXT_MAX} at most" if len(text) > TEXT_MAX else ""


class Lines:
    """The lines that come out of a descriptor, which `read` reads once, returning bytes."""

    def __init__(self, read: Callable[[], bytes], encoding: str) -> None:
        self.read, self.encoding = read, encoding
        self.whole: list[bytes] = []
        self.rest = b""  # what is not a whole line yet

    def fill(self) -> list[bytes]:
        """Read once, and return the lines that this made whole."""
        data = self.read()
        *lines, self.rest = (self.rest + data).replace(b"\r\n", b"\n").split(b"\n")
        if len(self.rest) > LINE_MAX:  # too long already, whatever follows: not waited for
            lines, self.rest = [*lines, self.rest], b""
        self.whole += lines
        return lines

    def take(self) -> str:
        return self.whole.pop(0).decode(self.encoding, "replace")


class Conversation:
    """The person here, `me`, in conversation with one `peer` after the other. Whatever waits or
    writes may raise Ended."""

    def __init__(self, me: str) -> None:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:  # closed: lest a socket takes its number
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
            getattr(sys, name).reconfigure(errors="replace")
        self.me = me
        self.keyboard = Lines(self.read, sys.stdin.encoding)
        self.at_terminal = os.isatty(0)
        self.prompts = sys.stdout if os.isatty(1) else sys.stderr
        self.editor: Any = None
        if self.at_terminal and os.isatty(1) and os.environ.get("TERM", "dumb") not in ("", "dumb"):
            with contextlib.suppress(ImportError):
                self.editor = importlib.import_module("readline")
                self.editor.set_auto_history(False)
                self.editor.parse_and_bind("set enable-bracketed-paste on")
        # What brings the cursor to an empty line (with ECMA-48 EL) where something half typed, or
        # the ^C of Ctrl-C, may stand echoed; and what does so right now.
        self.blank = "" if not self.at_terminal else "\r\x1b[K" if self.editor else "\n"
        self.margin = ""

    def begin(self, sock: socket.socket, peer: str) -> None:
        """Start a conversation over a connected socket, with none but its own words in it."""
        self.sock, self.peer = sock, peer
        self.wire = Lines(self.receive, "utf-8")
        self.over: Ended | None = None  # how the peer ended it, after the lines still in `wire`
        self.prompting = False
        self.drop()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in LIVENESS.keys() & vars(socket).keys():
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), LIVENESS[option])

    def read(self) -> bytes:
        """Read the keyboard: a CR is an Enter, and the end of the input a line `\\quit`."""
        data = b""
        with contextlib.suppress(OSError):  # closed, hung up, or opened by nohup for writing
            data = os.read(0, AHEAD_MAX)
        if not data and self.at_terminal:  # Ctrl-D sends nothing half typed
            self.keyboard.rest = b""
        return data.replace(b"\r", b"\n") or (b"\n" if self.keyboard.rest else b"\\quit\n")

    def receive(self) -> bytes:
        """Read the socket; its end completes a last line without an LF."""
        try:
            data, how = self.sock.recv(AHEAD_MAX), "left"
        except OSError as error:
            data, how = b"", f"was lost ({error.strerror})"
        if not data:
            self.over = Ended(how, last=None)
        return data or (b"\n" if self.wire.rest else b"")

    def say(self, text: str) -> None:
        """Send a line. A broken connection ends only when the peer's last lines have been read."""
        with contextlib.suppress(OSError):
            self.sock.sendall(f"{text}\n".encode("utf-8", "replace"))

    def write(self, stream: TextIO, text: str) -> None:
        """Write at once. Only a stdout that cannot be written is an end."""
        data = text.encode(stream.encoding, "replace")
        try:
            while data:
                data = data[os.write(stream.fileno(), data) :]
        except OSError as error:
            if stream is sys.stdout:
                raise Ended(f"lost stdout ({error.strerror})", ours=True, final=True) from None

    def put(self, stream: TextIO, line: str) -> None:
        """Write a line of its own, with the control characters in it as escapes."""
        margin, self.margin = self.margin, ""
        self.write(self.prompts, margin)
        self.write(stream, line.translate(ESCAPES) + "\n")

    def notice(self, text: str) -> None:
        self.put(sys.stderr, f"* {text}")

    def show(self, text: str) -> None:
        """Show a message of the peer's."""
        if fault := message_fault(text):
            raise Ended(f"broke {fault}")
        self.put(sys.stdout, f"{self.peer}> {text}")

    def drop(self) -> None:
        """Forget what was typed at a terminal and not read: it was meant for another reader."""
        if self.at_terminal:
            self.keyboard = Lines(self.read, sys.stdin.encoding)
            with contextlib.suppress(termios.error):  # hung up
                termios.tcflush(0, termios.TCIFLUSH)

    def typed(self, keep: bool = True) -> str:
        """Take a line from the keyboard, to `keep` it in the history. `\\quit` raises Ended."""
        self.margin = ""
        text = self.keyboard.take()
        if text.strip() == QUIT:
            raise Ended("quit", ours=True, status=0)
        if self.editor and keep and text.strip():
            with contextlib.suppress(UnicodeError):  # not in the locale's encoding
                self.editor.add_history(text)
        return text

    def wait(self, timeout: float | None, keyboard: bool) -> bool:
        """Wait `timeout` seconds (None: for ever) for something to read, and read it, once."""
        watched: list[socket.socket | int] = [] if self.over else [self.sock]
        if keyboard:
            watched.append(0)
            self.margin = self.blank
        ready = select.select(watched, [], [], timeout)[0]
        if self.sock in ready and QUIT.encode() in self.wire.fill():
            del self.wire.whole[self.wire.whole.index(QUIT.encode()) :]
            self.over = Ended("quit", last=None, status=0)
        if 0 in ready and not self.over:
            self.keyboard.fill()
        return bool(ready)

    def catch_up(self) -> None:
        """Read what has come out of turn. Raises Ended if it is the end, or too much."""
        more = True
        while more:
            more = self.wait(0, keyboard=False)
            if len(b"\n".join([*self.wire.whole, self.wire.rest])) > AHEAD_MAX:
                raise Ended(f"broke rule 4: over {AHEAD_MAX // 1024} KiB out of turn")
        if self.over:
            raise self.over

    def hear(self, deadline: float | None = None) -> str:
        """Return the peer's next line, or "" at the `deadline` of time.monotonic(), in seconds."""
        while True:
            known = self.wire.whole or self.over
            timeout = 0 if known else deadline and max(0, deadline - time.monotonic())
            if not self.wait(timeout, self.at_terminal) and not known:
                return ""
            while self.at_terminal and self.keyboard.whole:
                self.typed()
                self.notice(f"not sent: it is the turn of {self.peer}")
            if self.wire.whole:
                return self.wire.take()
            if self.over:
                raise self.over

    def ask(self, prompt: str, fault: Callable[[str], str]) -> str:
        """Return a line that the person types and that has no `fault`."""
        while True:
            self.catch_up()
            self.prompting = True
            if self.editor:
                self.edit(prompt)
            elif self.at_terminal:
                self.write(self.prompts, prompt)
            while not self.keyboard.whole:
                self.wait(None, keyboard=True)
                self.catch_up()
            self.prompting = False
            text = self.typed(keep=fault is message_fault)
            wrong = fault(text) if text.strip() else "nothing but white space"
            if not wrong:
                return text
            if self.at_terminal:
                self.notice(f"not sent: {wrong}")
            elif text.strip():
                raise Ended(f"broke {wrong}", ours=True)

    def edit(self, prompt: str) -> None:
        """Have a line typed with readline, and the socket looked at all the while."""

        def tick(*_: object) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # so that what raises leaves nothing armed
            self.catch_up()
            # Again and again: readline hears of a signal only where it waits, and misses others.
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)

        half, self.keyboard.rest = self.keyboard.rest, b""
        text = half.decode(self.keyboard.encoding, "replace")
        self.editor.set_startup_hook(functools.partial(self.editor.insert_text, text))
        self.write(sys.stdout, self.blank)
        self.margin = "\n"
        signal.signal(signal.SIGALRM, tick)
        signal.siginterrupt(signal.SIGALRM, False)  # a write cut short would lose characters
        try:
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
            text = input(prompt).replace("\n", " ")
        except EOFError:
            text = QUIT
        finally:
            signal.signal(signal.SIGALRM, lambda *_: None)  # a tick may be on its way
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.keyboard.whole.append(text.encode(self.keyboard.encoding, "replace"))

    def converse(self) -> NoReturn:
        """Take turns, this side first."""
        while True:
            self.say(self.ask(f"{self.me}> ", message_fault))
            self.show(self.hear())

    def close(self, end: Ended) -> Ended:
        """Show what came before the end, tell of it and say goodbye; return the end told of."""
        try:
            while end.last is None and self.wire.whole:
                self.show(self.wire.take())
            self.notice(f"{f'you ({self.me})' if end.ours else self.peer} {end.how}")
        except Ended as worse:
            return self.close(worse)
        if end.last is not None:
            self.goodbye(end.last)
        return end

    def goodbye(self, line: str) -> None:
        """Send the last line, and read to the end of the stream: to close with input unread would
        reset the connection (RFC 1122, 4.2.2.13), and the line be lost."""
        deadline = time.monotonic() + GOODBYE_WITHIN
        with contextlib.suppress(OSError):  # the peer is gone
            self.sock.settimeout(GOODBYE_WITHIN)  # or does not read
            self.say(line)
            self.sock.shutdown(socket.SHUT_WR)
        while not self.over and (left := deadline - time.monotonic()) > 0:
            self.wait(left, keyboard=False)
            self.wire.whole.clear()
            time.sleep(0.01)  # so that a flood does not keep a core busy


# ==== The end of what both scripts share. ====


GREETING = f"chatserve here: send your username, then take turns, you first; {QUIT} ends"


def welcome(talk: Conversation) -> None:
    """Greet the client, and learn its username."""
    talk.say(GREETING)
    name = talk.hear(time.monotonic() + NAME_WITHIN)
    if fault := username_fault(name):
        raise Ended(f"broke {fault}", last=f"chatserve: {fault.translate(ESCAPES)}")
    talk.notice(f"{talk.peer} is {name}")
    talk.peer = name


def serve(talk: Conversation, sock: socket.socket, client: str) -> None:
    """Hold a conversation with a client that was picked up. Raises Ended if it is final."""
    try:
        talk.begin(sock, client)
        talk.notice(f"{client} connected: take turns, the client first; {QUIT} ends")
        welcome(talk)
        talk.show(talk.hear())
        talk.drop()  # typed before the first prompt, it may have been for another client
        talk.converse()
    except Ended as ended:
        end = talk.close(ended)
    if end.final:
        raise end
    if talk.prompting and talk.at_terminal and end.last is None:
        time.sleep(1)  # the person may be in the middle of a line to the client that is gone


def main() -> int:
    """Serve clients one after the other until a signal comes; return the exit status."""
    talk = Conversation("server")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost", help="where to listen (%(default)s)")
    parser.add_argument("port", metavar="PORT", type=int)
    args = parser.parse_args()
    if not 0 <= args.port <= 65535:
        parser.error("PORT is a number from 0 to 65535")
    try:
        for signum in SIGNALS:
            signal.signal(signum, stop)
        addresses = socket.getaddrinfo(args.host, args.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(addresses)  # IPv4 first: localhost is 127.0.0.1
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()  # :: takes IPv4 as well
        with socket.create_server(address, family=family, dualstack_ipv6=both) as listener:
            while True:
                talk.notice(f"waiting on {args.host} port {listener.getsockname()[1]} (Ctrl-C closes)")
                talk.margin = talk.blank
                sock, address = listener.accept()
                with sock:
                    serve(talk, sock, f"{address[0]} port {address[1]}")
    except Ended as end:
        talk.notice("server closed")
        return 0 if end.status > 128 else end.status
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        advice = "try another PORT (0: any free one), or an address of this machine as HOST"
        talk.notice(f"cannot listen on {args.host} port {args.port}: {why}; {advice}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
