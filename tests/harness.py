"""Start the real scripts, and speak to them: over sockets, through pipes, at pseudo-terminals.

Nothing here sleeps to be safe: whatever is expected is waited for, until a deadline that is far
beyond what any machine needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import termios
import time
import unittest
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER = ROOT / "chatserve.py"
CLIENT = ROOT / "chatclient.py"
DEADLINE = 20.0  # seconds for anything that must happen


class Stream:
    """What comes out of a descriptor, kept whole; `expect` goes on behind what it last found."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.data = b""
        self.position = 0
        self.ended = False
        self.error: OSError | None = None  # what ended it, if not its end

    def read(self, timeout: float = 0) -> bool:
        """Read once what comes within `timeout` seconds; False if nothing did."""
        if self.ended or not select.select([self.descriptor], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.descriptor, 65536)
        except OSError as error:  # a reset; or the other side of a pseudo-terminal is gone
            data, self.error = b"", error
        self.data += data
        self.ended = not data
        return not self.ended

    def expect(self, pattern: str, within: float = DEADLINE) -> re.Match[bytes]:
        """Wait for a regular expression behind the last match."""
        deadline = time.monotonic() + within
        while True:
            match = re.compile(pattern.encode()).search(self.data, self.position)
            if match:
                self.position = match.end()
                return match
            if self.ended or time.monotonic() > deadline:
                rest = self.data[self.position :]
                raise AssertionError(f"no {pattern!r} in {rest!r}, behind {self.data!r}")
            self.read(max(0.0, deadline - time.monotonic()))

    def all(self) -> str:
        """Return everything up to the end of the stream."""
        deadline = time.monotonic() + DEADLINE
        while not self.ended:
            self.read(max(0.0, deadline - time.monotonic()))
            assert time.monotonic() < deadline, f"no end of the stream behind {self.data!r}"
        return self.data.decode()

    def so_far(self) -> str:
        while self.read():
            pass
        return self.data.decode("utf-8", "replace")


class Program:
    """A running script. Each of its streams is a pipe, unless it is at the terminal.

    `terminal` names the streams at a pseudo-terminal, of "in", "out" and "err"; `prefix` is a
    command that starts the script, `flags` are Python's; other options are those of subprocess.
    """

    def __init__(
        self,
        script: pathlib.Path,
        *args: object,
        terminal: str = "",
        columns: int = 80,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.terminal: Stream | None = None
        self.columns = columns
        names = {"in": "stdin", "out": "stdout", "err": "stderr"}
        streams = dict.fromkeys(names.values(), subprocess.PIPE)
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"),
                            "LANG": "C.UTF-8", "TERM": "xterm", **(env or {})}  # fmt: skip
        if terminal:
            master, self.slave = pty.openpty()
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            self.terminal = Stream(master)
            self.settings = termios.tcgetattr(self.slave)
            for name in terminal.split():
                streams[names[name]] = self.slave
            options.setdefault("preexec_fn", self.control_terminal)
        streams.update({key: options.pop(key) for key in list(options) if key in streams})
        command = [*options.pop("prefix", ()), sys.executable, *options.pop("flags", ("-I",))]
        command += [str(script), *map(str, args)]
        self.process = subprocess.Popen(command, env=self.environment, **streams, **options)
        self.pid = self.process.pid
        self.out = self.stream("stdout")
        self.err = self.stream("stderr")
        if self.terminal and "err" in terminal:
            self.err = self.terminal
        if self.terminal and "out" in terminal:
            self.out = self.terminal

    def control_terminal(self) -> None:
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def stream(self, name: str) -> Stream:
        file = getattr(self.process, name)
        return Stream(file.fileno()) if file else Stream(-1)

    def type(self, text: str | bytes) -> None:
        """Write to the keyboard, whatever it is."""
        data = text.encode() if isinstance(text, str) else text
        if self.terminal:
            while data:  # and read the echo meanwhile: a terminal that nobody reads stops
                self.terminal.read()
                if select.select([], [self.terminal.descriptor], [], 0.01)[1]:
                    data = data[os.write(self.terminal.descriptor, data[:64]) :]
        else:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def end_input(self) -> None:
        self.process.stdin.close()

    def port(self) -> int:
        """Wait until the server listens; return its port."""
        return int(self.err.expect(r"\* waiting on \S+ port (\d+)").group(1))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def status(self, within: float = DEADLINE) -> int:
        """Wait for the end; return the exit status. What it writes meanwhile is read."""
        deadline = time.monotonic() + within
        streams = [s for s in {self.out, self.err, self.terminal} if s and s.descriptor >= 0]
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"still running; {[s.so_far() for s in streams]}")
            live = [s for s in streams if not s.ended]
            for stream in live:
                stream.read(0.02 / len(live))
            if not live:
                time.sleep(0.005)
        return self.process.returncode

    def settings_now(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def screen(self) -> list[str]:
        """Return the lines on the terminal, as a person sees them."""
        assert self.terminal
        return render(self.terminal.so_far(), self.columns)

    def hang_up(self) -> None:
        """Take the terminal away, as when its window is closed."""
        assert self.terminal
        os.close(self.terminal.descriptor)
        os.close(self.slave)
        self.terminal.descriptor = -1
        self.terminal = None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):  # a pipe with what nobody read
                if file:
                    file.close()
        if self.terminal:
            os.close(self.terminal.descriptor)
            os.close(self.slave)


# What moves the cursor: rows down, columns to the right.
MOVES = {"A": (-1, 0), "B": (1, 0), "C": (0, 1), "D": (0, -1),
         "\n": (1, 0), "\b": (0, -1), "\r": (0, -9999)}  # fmt: skip


def render(text: str, columns: int) -> list[str]:
    """Return the lines that a terminal shows for the text: as much of ECMA-48 as readline uses."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for match in re.finditer(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b.|(.)", text, re.S):
        count, command, char = match.group(1), match.group(2), match.group(3)
        amount = int(count) if count and count.isdigit() else 1
        if command == "K":
            del rows[row][column:]
        elif command == "J":
            del rows[row][column:]
            del rows[row + 1 :]
        elif command == "P":
            del rows[row][column : column + amount]
        elif command == "@":
            rows[row][column:column] = [" "] * amount
        elif command in MOVES or (char in MOVES and char not in "ABCD"):
            down, right = MOVES[command or char]
            row, column = max(0, row + down * amount), max(0, column + right * amount)
        elif char and char != "\a":
            if column >= columns:
                row, column = row + 1, 0
            while len(rows) <= row:
                rows.append([])
            rows[row].extend(" " * (column + 1 - len(rows[row])))
            rows[row][column] = char
            column += 1
        while len(rows) <= row:
            rows.append([])
    return ["".join(cells).rstrip() for cells in rows]


class Peer:
    """The other side of a connection, by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self.stream = Stream(sock.fileno())

    def send(self, data: str | bytes) -> None:
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def line(self) -> str:
        """Return the next line that comes, without its LF."""
        return self.stream.expect(r"([^\n]*)\n").group(1).decode()

    def rest(self) -> str:
        """Return everything up to the end of the stream that was not taken as a line."""
        self.stream.all()
        return self.stream.data[self.stream.position :].decode()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class ChatTest(unittest.TestCase):
    """A vocabulary: a server, a client, a peer of either, and what the two people do."""

    def start(self, script: pathlib.Path, *args: object, **options: Any) -> Program:
        program = Program(script, *args, **options)
        self.addCleanup(program.kill)
        return program

    def server(self, *args: object, **options: Any) -> tuple[Program, int]:
        """Start a server on a free port; return it and the port."""
        program = self.start(SERVER, *(args or (0,)), **options)
        return program, program.port()

    def at_terminal(self, script: pathlib.Path, *args: object, **options: Any) -> Program:
        return self.start(script, *args, terminal="in out err", **options)

    def peer(self, port: int, host: str = "127.0.0.1") -> Peer:
        """Connect to a server; the greeting is not read yet."""
        peer = Peer(socket.create_connection((host, port), DEADLINE))
        self.addCleanup(peer.close)
        return peer

    def visitor(self, port: int, name: str = "alice") -> Peer:
        """Connect to a server, be greeted, and give a username."""
        peer = self.peer(port)
        self.assertTrue(peer.line().startswith("chatserve"))
        peer.send(f"{name}\n")
        return peer

    def listener(self) -> socket.socket:
        """Return a listening socket, to be a client's server by hand."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        self.addCleanup(listener.close)
        return listener

    def accept(self, listener: socket.socket, greeting: str = "chatserve by hand\n") -> Peer:
        peer = Peer(listener.accept()[0])
        self.addCleanup(peer.close)
        peer.send(greeting)
        return peer

    def client_of_peer(self, *lines: str, **options: Any) -> tuple[Program, Peer]:
        """Start a client; return it and its server by hand. At a terminal, type the username."""
        listener = self.listener()
        client = self.start(CLIENT, "127.0.0.1", listener.getsockname()[1], **options)
        peer = self.accept(listener)
        if client.terminal:
            client.terminal.expect("username> ")
            client.type("alice\r")
        else:
            client.type("alice\n")
        self.assertEqual(peer.line(), "alice")
        return client, peer

    def assert_calm(self, *programs: Program) -> None:
        """No traceback, and nothing but text, tabs and line ends, came out of the programs."""
        for program in programs:
            for stream in {program.out, program.err}:
                if stream.descriptor < 0 or stream is program.terminal:
                    continue
                text = stream.so_far()
                self.assertNotIn("Traceback", text)
                self.assertNotRegex(text, "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
            if program.terminal:
                self.assertNotIn("Traceback", program.terminal.so_far())
