#!/usr/bin/env python3
"""Listen on a port (0: any free one), and chat with one client at a time, in turns. A client
gives a username; then each side sends a line after the other, the client first. The line \\quit,
typed at any time, ends the conversation, and the next client is picked up. Ctrl-C closes."""

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
    from typing import Any, Callable, TextIO

# ==== The conversation: what stands up to the next such line is the same in both scripts. ====

QUIT = "\\quit"  # the line that ends a conversation, from either side
NAME_MAX = 10  # characters of a username
NAME_WITHIN = 120  # seconds from the greeting to the end of the username's line
TEXT_MAX = 500  # characters of a message
LINE_MAX = 4 * TEXT_MAX + 1  # bytes before the LF: four a character (RFC 3629), and a CR
AHEAD_MAX = 64 * 1024  # bytes of lines that wait for the peer's next turns; also of one read
GOODBYE = 1.0  # seconds for the last line to arrive
LOOK = 1.0  # seconds of a select: a signal that came right before it is obeyed behind it
TICK = 0.2  # seconds between two looks at the socket while a line is edited
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A host that vanished is given up in a minute: seconds, seconds, probes, milliseconds (tcp(7)).
LIVENESS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
# C0 but tab; DEL and C1; separators, bidirectional embeddings and overrides; and isolates.
UNSAFE = (range(9), range(10, 32), range(127, 160), range(0x2028, 0x202F), range(0x2066, 0x206A))
ESCAPES = {c: f"\\x{c:02x}" if c < 256 else f"\\u{c:04x}" for codes in UNSAFE for c in codes}


class Ended(Exception):
    """The conversation is over: `how`, in words, by this side (`ours`) or the peer. `last` is the
    line to send yet, None if the peer closed; `status` the exit status that follows."""

    def __init__(self, how: str, ours: bool = False, last: str | None = QUIT, status: int = 1):
        self.how, self.ours, self.last, self.status = how, ours, last, status


def username_fault(name: str) -> str:
    """Return what is wrong with a username, and by which rule of the protocol, or ""."""
    ok = 1 <= len(name) <= NAME_MAX and name.isprintable() and " " not in name and name != "server"
    rule = f"1 to {NAME_MAX} printable characters, no white space, not 'server', in {NAME_WITHIN} s"
    return "" if ok else f"rule 2: '{name[: 2 * NAME_MAX]}' is no username ({rule})"


def message_fault(text: str) -> str:
    """Return what is wrong with a message, and by which rule of the protocol, or ""."""
    return f"rule 3: {len(text)} characters, {TEXT_MAX} at most" if len(text) > TEXT_MAX else ""


class Lines:
    """The lines of a descriptor that `read` reads once. Of one that never ends, a part is kept."""

    def __init__(self, read: Callable[[], bytes], encoding: str) -> None:
        self.read, self.encoding = read, encoding
        self.data = b""  # what has come and was not taken yet

    def fill(self) -> None:
        data = self.read()  # first, as it may clear self.data
        self.data = (self.data[: AHEAD_MAX + 1] + data).replace(b"\r\n", b"\n")

    def whole(self) -> bool:
        return b"\n" in self.data

    def take(self) -> str:
        line, _, self.data = self.data.partition(b"\n")  # or what there is of one
        return line.decode(self.encoding, "replace")


class Conversation:
    """The person here, `me`, in turns with one `peer` after the other. All may raise Ended."""

    def __init__(self, me: str) -> None:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:  # closed: lest a socket takes its number
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
            getattr(sys, name).reconfigure(errors="replace")
        self.me, self.keyboard = me, Lines(self.read_keys, sys.stdin.encoding)
        self.status: int | None = None  # the exit status, once the script has to end
        self.at_terminal = os.isatty(0)
        self.prompts = sys.stdout if os.isatty(1) else sys.stderr
        self.editor: Any = None
        if self.at_terminal and os.isatty(1) and os.environ.get("TERM", "dumb") not in ("", "dumb"):
            with contextlib.suppress(ImportError):
                self.editor = importlib.import_module("readline")
                self.editor.set_auto_history(False)
                for setting in ("enable-bracketed-paste on", "bell-style none"):
                    self.editor.parse_and_bind(f"set {setting}")
        # Brings the cursor to an empty line (ECMA-48 EL) from the echo of half a line, or of ^C.
        self.blank = "" if not self.at_terminal else "\r\x1b[K" if self.editor else "\n"
        self.margin = ""  # what put() writes first, so that a line has a line of its own

    def run(self, main: Callable[[Conversation], int]) -> int:
        """Run `main` until it returns or a signal comes; return the exit status."""
        try:
            for signum in SIGNALS:
                if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                    signal.signal(signum, self.stop)
            status = main(self)
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # from here on the status stands
        except Ended as end:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            self.notice(f"{self.me} closed")
            status = end.status
        self.drop()
        return status if self.status is None else self.status

    def stop(self, signum: int, _: object) -> None:
        """Handle a signal by raising Ended; while that is being obeyed, another changes nothing."""
        if self.status is None:
            self.status = 0 if self.me == "server" else 128 + signum  # no client has that name
            raise Ended("quit", ours=True)

    def begin(self, sock: socket.socket, peer: str) -> None:
        """Start a conversation over a connected socket, with none but its own words in it."""
        self.sock, self.peer = sock, peer
        self.wire = Lines(self.read_socket, "utf-8")
        self.over: Ended | None = None  # how the peer ended it, after the lines still in `wire`
        self.prompting = False
        self.drop()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in LIVENESS.keys() & vars(socket).keys():
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), LIVENESS[option])

    def read_keys(self) -> bytes:
        """Read the keyboard: a CR is an Enter, and the end of the input a line `\\quit`."""
        data = b""
        with contextlib.suppress(OSError):  # closed, hung up, or opened by nohup for writing
            data = os.read(0, AHEAD_MAX)
        if not data and self.at_terminal:  # Ctrl-D: what is half typed is not sent
            self.keyboard.data = b""
        return data.replace(b"\r", b"\n") or (b"\n" if self.keyboard.data else b"\\quit\n")

    def read_socket(self) -> bytes:
        """Read the socket; its end completes a last line without an LF."""
        try:
            data, how = self.sock.recv(AHEAD_MAX), "left"
        except OSError as error:
            data, how = b"", f"was lost ({error.strerror})"
        if not data:
            self.over = Ended(how, last=None)
        return data or (b"" if self.wire.data[-1:] in b"\n" else b"\n")

    def say(self, text: str) -> None:
        """Send a line. A broken connection ends only when the peer's last lines have been read."""
        with contextlib.suppress(OSError):
            self.sock.sendall(f"{text}\n".encode("utf-8", "replace"))

    def write(self, stream: TextIO, text: str) -> None:
        """Write at once. Only a stdout that cannot be written is an end."""
        data = text.encode(stream.encoding, "replace")
        try:  # once the script has to end, it does not wait for ever for a reader
            limit = None if self.status is None else GOODBYE
            while data and select.select([], [stream], [], limit)[1]:
                data = data[os.write(stream.fileno(), data) :]
        except OSError as error:
            if stream is sys.stdout and self.status is None:
                self.status = 1
                raise Ended(f"lost stdout ({error.strerror})", ours=True) from None

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
            self.keyboard.data = b""
            with contextlib.suppress(termios.error):  # hung up
                termios.tcflush(0, termios.TCIFLUSH)

    def typed(self, keep: bool = True) -> str:
        """Take a line from the keyboard, to `keep` it in the history. `\\quit` raises Ended."""
        text = self.keyboard.take()
        if text.strip() == QUIT:
            raise Ended("quit", ours=True, status=0)
        if self.editor and keep and text.strip():
            with contextlib.suppress(ValueError):  # a NUL in it, or not in the locale's encoding
                self.editor.add_history(text)
        return text

    def wait(self, timeout: float, keyboard: bool) -> bool:
        """Wait `timeout` seconds at most for something to read, and read it, once."""
        watched: list[socket.socket | int] = [] if self.over else [self.sock]
        if keyboard:
            watched.append(0)
            self.margin = self.blank
        ready = select.select(watched, [], [], timeout)[0]
        if self.sock in ready:
            self.wire.fill()
            before, found, _ = (b"\n" + self.wire.data).partition(b"\n\\quit\n")
            if found:
                self.wire.data = (before + b"\n")[1:]  # without the LF put in front
                self.over = Ended("quit", last=None, status=0)
        if 0 in ready and not self.over:
            self.keyboard.fill()
        return bool(ready)

    def catch_up(self) -> None:
        """Read what has come out of turn. Raises Ended if it is the end, or too much."""
        while len(self.wire.data) <= AHEAD_MAX and self.wait(0, keyboard=False):
            pass
        if len(self.wire.data) > AHEAD_MAX:
            raise Ended(f"broke rule 4: over {AHEAD_MAX // 1024} KiB out of turn")
        if self.over:
            raise self.over

    def hear(self, deadline: float | None = None) -> str:
        """Return the peer's next line, or "" soon after the `deadline` of time.monotonic()."""
        while not deadline or time.monotonic() < deadline:
            ready = self.wire.whole() or self.over
            self.wait(0 if ready else LOOK, self.at_terminal)
            while self.at_terminal and self.keyboard.whole():
                self.typed()
                self.notice(f"not sent: it is the turn of {self.peer}")
            if self.wire.whole() or len(self.wire.data) > LINE_MAX:  # too long is not waited for
                return self.wire.take()
            if self.over:
                raise self.over
        return ""

    def ask(self, prompt: str, fault: Callable[[str], str]) -> str:
        """Return a line that the person types and that has no `fault`."""
        while True:
            self.catch_up()
            self.prompting = True
            if self.editor:
                self.edit(prompt)
            elif self.at_terminal:
                self.write(self.prompts, prompt)
            while not self.keyboard.whole():
                self.wait(LOOK, keyboard=True)
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
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)  # on and on, as readline misses some

        half = self.keyboard.take()
        self.editor.set_startup_hook(functools.partial(self.editor.insert_text, half))
        self.margin = "\n"
        signal.signal(signal.SIGALRM, tick)
        signal.siginterrupt(signal.SIGALRM, False)  # a write cut short would lose characters
        with contextlib.suppress(termios.error):  # hung up
            before = termios.tcgetattr(0)  # Ctrl-C must not flush a key that readline is to read
            edited = [*before[:3], before[3] | termios.NOFLSH, *before[4:]]
            try:
                termios.tcsetattr(0, termios.TCSANOW, edited)
                signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
                text = input(prompt).replace("\n", " ")
                self.margin = self.blank
            except (EOFError, KeyboardInterrupt, SystemError):  # input() muddles two signals up
                text = QUIT
            finally:
                signal.signal(signal.SIGALRM, lambda *_: None)  # a tick may be on its way
                signal.setitimer(signal.ITIMER_REAL, 0)
                termios.tcsetattr(0, termios.TCSANOW, before)
            self.keyboard.data = f"{text}\n".encode(self.keyboard.encoding, "replace")

    def close(self, end: Ended) -> Ended:
        """Show what came before the end, tell of it and say goodbye; return the end told of."""
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)  # if edit() did not come to it
            while end.last is None and self.wire.whole():
                self.show(self.wire.take())
            self.notice(f"{f'you ({self.me})' if end.ours else self.peer} {end.how}")
            if end.last is not None:
                self.goodbye(end.last)
        except Ended as worse:
            return self.close(worse)
        return end

    def goodbye(self, line: str) -> None:
        """Send the last line; read to the end, lest a reset takes it back (RFC 1122, 4.2.2.13)."""
        deadline = time.monotonic() + GOODBYE
        with contextlib.suppress(OSError):  # the peer is gone
            self.sock.settimeout(GOODBYE)  # or does not read
            self.say(line)
            self.sock.shutdown(socket.SHUT_WR)
        while not self.over and (left := deadline - time.monotonic()) > 0:
            self.wait(left, keyboard=False)
            self.wire.data = b""
            time.sleep(0.01)  # so that a flood does not keep a core busy


# ==== The end of what both scripts share. ====


def welcome(talk: Conversation) -> None:
    """Greet the client, and learn its username."""
    talk.say(f"chatserve here: send your username, then take turns, you first; {QUIT} ends")
    name = talk.hear(time.monotonic() + NAME_WITHIN)
    if fault := username_fault(name):
        raise Ended(f"broke {fault}", last=f"chatserve: {fault.translate(ESCAPES)}")
    talk.notice(f"{talk.peer} is {name}")
    talk.peer = name


def serve(talk: Conversation, sock: socket.socket, client: str) -> None:
    """Hold a conversation with a client that was picked up. Raises Ended if it was the last."""
    talk.begin(sock, client)
    try:
        talk.notice(f"{client} connected; take turns, {QUIT} ends")
        welcome(talk)
        talk.show(talk.hear())
        talk.drop()  # typed before the first prompt, it may have been for another client
        while True:
            talk.say(talk.ask("server> ", message_fault))
            talk.show(talk.hear())
    except Ended as ended:
        end = talk.close(ended)
    if talk.status is not None:
        raise end
    if talk.prompting and talk.at_terminal and not end.ours:
        talk.margin = talk.blank
        time.sleep(1)  # the person may be in the middle of a line to the client that is gone


def main(talk: Conversation) -> int:
    """Serve one client after the other; return the exit status if that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost", help="where to listen (%(default)s)")
    parser.add_argument("port", metavar="PORT", type=int)
    args = parser.parse_args()
    if not 0 <= args.port <= 65535:
        parser.error("PORT is a number from 0 to 65535")
    try:
        family, *_, address = min(socket.getaddrinfo(args.host, args.port, type=socket.SOCK_STREAM))
        with socket.create_server(address, family=family) as listener:  # min: IPv4 goes first
            while True:
                port = listener.getsockname()[1]
                talk.notice(f"waiting on {args.host} port {port} (Ctrl-C closes)")
                talk.margin = talk.blank
                while not select.select([listener], [], [], LOOK)[0]:
                    pass
                sock, client = listener.accept()
                with sock:
                    serve(talk, sock, f"{client[0]} port {client[1]}")
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        talk.notice(f"cannot listen on {args.host} port {args.port}: {why}; try another PORT/HOST")
        return 1


if __name__ == "__main__":
    sys.exit(Conversation("server").run(main))
