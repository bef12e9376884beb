r"""The words in which the tests tell a conversation. Whatever should happen is waited for.

    bob = self.server(terminal=True)          chatserve, at a terminal (else at pipes); bob.port
    alice = self.client(bob, terminal=True)   chatclient; to a server, a listener or a port
    bob, alice = self.server_and_hand()       chatserve, to which a Peer has said that it is alice
    alice, server = self.client_and_hand()    chatclient, named alice; its server is a Peer
    carol = self.visit(bob, "carol")          a Peer, greeted by bob, that has sent the name carol;
                                              without a name: has neither read nor sent anything
    server = self.accept(self.listener())     a Peer, the server of a chatclient; has greeted
    shell = self.shell("bash")                a shell at a terminal, that knows both scripts
    nc = self.start("nc", "localhost", 4711)  any program (options: see there)

    alice.types("hel", LEFT)                  she presses keys
    alice.enters("hello")                     types a line and Enter
    alice.sees("server> hi")                  sees a line that is this, or that this matches, behind
                                              what she saw before
    alice.is_told("bob quit")                 sees a notice in which this matches; in the same order
    alice.row("alice> he|l")                  has this last row on her screen; | is the cursor
    alice.signals(SIGINT)                     has her program get a signal
    alice.ends(0)                             sees it end with this status; -2: by signal 2
    alice.ends_input(), resizes(40), hangs_up(), modes_as_found(), out.text, err.text, screen.bells

    carol.says("hi", "bye")                   sends lines; `sends` sends text or bytes as they are
    carol.hears("yes", "chat.*")              gets as the very next lines these, or lines that match
    carol.hears_end("\\quit")                 gets these lines, and then the end of the stream
    carol.leaves(), half_closes(), resets()
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unicodedata
import unittest
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent
SERVER, CLIENT = ROOT / "chatserve.py", ROOT / "chatclient.py"
PATIENCE = 12.0  # seconds for anything that must happen; nothing ever takes so long
STREAMS = ("stdin", "stdout", "stderr")
STDOUT = subprocess.STDOUT  # for stderr=STDOUT, one pipe for both
ENTER, BACKSPACE, ESCAPE, CTRL_C, CTRL_D, CTRL_Z = "\r", "\x7f", "\x1b", "\x03", "\x04", "\x1a"
UP, DOWN, RIGHT, LEFT, HOME, END = (f"\x1b[{letter}" for letter in "ABCDHF")
DELETE, PASTE, PASTE_END = "\x1b[3~", "\x1b[200~", "\x1b[201~"

told: list[str] = []  # the conversation so far, for the reader of a failure
streams: list[Stream] = []  # of all programs: they are read while anything is waited for


class Unexpected(AssertionError):
    """A failure, with the conversation up to there."""

    def __init__(self, message: object = "") -> None:
        last = [f"{stream.name} | {stream.lines()[-1]!r}..." for stream in streams if stream.lines()[-1]]
        super().__init__("\n    ".join([str(message), *told[-80:], *last]))


def tell(name: str, does: str, what: object = "") -> None:
    told.append(f"{name} {does} {repr(what)[:300]}")


def wait(condition: Callable[[], Any], what: str, *needed: Stream) -> None:
    """Wait until a condition is true; fail when all streams that it needs have ended. A machine
    may stand still for a while: the time between two looks counts for a second at most."""
    left, last = PATIENCE, time.monotonic()
    while not condition():
        now = time.monotonic()
        left, last = left - min(now - last, 1.0), now
        if left < 0 or (needed and all(stream.ended for stream in needed)):
            raise Unexpected(what)
        live = {stream.descriptor: stream for stream in (*streams, *needed) if not stream.ended}
        for descriptor in select.select([*live], [], [], 0.1 if live else 0.01)[0]:
            live[descriptor].read()


def is_like(pattern: str, line: str) -> bool:
    with contextlib.suppress(re.error):
        return line == pattern or re.fullmatch(pattern, line) is not None
    return False


class Stream:
    """What comes out of a pipe, a socket, or a terminal (which has a screen)."""

    def __init__(self, name: str, descriptor: int, screen: Screen | None = None) -> None:
        self.name, self.descriptor, self.screen = name, descriptor, screen
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.text = ""  # all that came
        self.place = self.shown = 0  # how many lines the test has looked at, and were told
        self.error: OSError | None = None  # that ended it
        self.ended = descriptor < 0

    def read(self) -> None:
        data = b""
        try:
            data = os.read(self.descriptor, 65536)
        except OSError as error:  # a reset; or all that were at the terminal have ended
            self.error = error
        self.ended, text = not data, self.decode(data)
        self.text += text
        if self.screen:
            self.screen.show(text)
        for line in self.lines()[self.shown : -1]:
            tell(self.name, "|", line)
            self.shown += 1

    def lines(self) -> list[str]:
        """Return all lines. The last one is not finished."""
        return self.screen.lines() if self.screen else self.text.split("\n")

    def find(self, look: Callable[[str], Any], what: str) -> Any:
        """Return what `look` finds in the next line that has it."""
        found = None

        def is_found() -> Any:
            nonlocal found
            while not found and self.place < len(self.lines()) - 1:
                found = look(self.lines()[self.place])
                self.place += 1
            return found

        wait(is_found, f"{self.name}: no {what!r}", self)
        return found


class Screen:
    """What a person sees of a terminal: finished lines, and the one with the cursor. It fails at
    whatever the scripts need not write, unless a shell is there, which may do more."""

    PART = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\-~]|(?P<half>\x1b(\[[0-?]*)?[ -/]*\Z)|.", re.S)

    def __init__(self, columns: int, has_shell: bool) -> None:
        self.columns, self.has_shell = columns, has_shell
        self.finished: list[list[str]] = []  # lines
        self.cells: list[str] = []  # of the last line; a wide character and a "" are two
        self.column = self.saved = self.bells = 0  # the columns of a further row go on behind
        self.half = ""  # an escape sequence, of which the rest has not come

    def lines(self) -> list[str]:
        return ["".join(cells).rstrip() for cells in (*self.finished, self.cells)]

    def row(self, cursor: str = "") -> str:
        """Return the last row of the last line, with a mark where the cursor is."""
        cells = [*self.cells, *" " * (self.column - len(self.cells))]
        cells.insert(self.column, cursor)
        return "".join(cells[max(0, len(cells) - 2) // self.columns * self.columns :]).rstrip()

    def show(self, text: str) -> None:
        text, self.half = self.half + text, ""
        for match in self.PART.finditer(text):
            part = match[0]
            if part == "\n":
                self.finished.append(self.cells)
                self.cells, self.column = [], self.column % self.columns
            elif part == "\r":
                self.column = max(0, self.column - 1) // self.columns * self.columns
            elif part == "\b":
                self.column = max(0, self.column - 1)
            elif part == "\a":
                self.bells += 1
            elif part == "\t" or (part >= " " and part != "\x7f"):
                for char in part.expandtabs(8 - self.column % 8):
                    self.put(char)
            elif part == "\x1b[K":
                del self.cells[self.column :]
            elif part in ("\x1b7", "\x1b8"):
                self.column = self.saved = self.column if part == "\x1b7" else self.saved
            elif match["half"]:
                self.half = part
            elif part not in ("\x1b[?2004h", "\x1b[?2004l") and not self.has_shell:
                raise Unexpected(f"{part!r} was written to a terminal")

    def put(self, char: str) -> None:
        cells = [char, ""] if unicodedata.east_asian_width(char) in "WF" else [char]
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # it belongs to the one before
            self.cells[self.column - 1] += char
            return
        if len(cells) > 1 and self.column % self.columns == self.columns - 1:
            cells.insert(0, "")  # no place for it in this row
        self.cells += " " * (self.column - len(self.cells))
        self.cells[self.column : self.column + len(cells)] = cells
        self.column += len(cells)


class Program:
    """A program, and the person at its keyboard."""

    port = 0  # where a server listens

    def __init__(self, name: str, command: list[str], screen: Screen, terminal: str, **options: Any) -> None:
        self.name, self.screen, tests = name, screen, os.getpid()
        self.terminal, slave = pty.openpty() if terminal else (-1, -1)

        def prepare() -> None:  # in the child, before the command
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # to come when the tests end (PDEATHSIG)
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)  # nohup or & may have had them ignored
            if terminal:
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            if os.getppid() != tests:
                os._exit(1)

        if terminal:
            self.resizes(screen.columns)
            self.modes = termios.tcgetattr(slave)
        files = {key: slave if key in terminal else subprocess.PIPE for key in STREAMS}
        self.process = subprocess.Popen(
            command, bufsize=0, start_new_session=True, preexec_fn=prepare, **{**files, **options})  # noqa: PLW1509
        shown = Stream(name, self.terminal, screen)
        out, err = self.process.stdout, self.process.stderr
        self.out = Stream(f"{name}'s stdout", out.fileno()) if out else shown
        self.err = Stream(f"{name}'s stderr", err.fileno()) if err else shown if "stderr" in terminal else self.out  # stderr=STDOUT
        self.streams = {shown, self.out, self.err}
        streams.extend(self.streams)
        if terminal:
            os.close(slave)

    def types(self, *keys: str | bytes) -> None:
        data = b"".join(key if isinstance(key, bytes) else key.encode() for key in keys)
        tell(self.name, "types", data)
        keyboard = self.process.stdin.fileno() if self.process.stdin else self.terminal
        with contextlib.suppress(BrokenPipeError):  # it has ended: that is seen in what comes next
            while data:
                wait(lambda: select.select([], [keyboard], [], 0)[1], f"{self.name} reads no keys")
                data = data[os.write(keyboard, data[:64]) :]

    def enters(self, *lines: str) -> None:
        for line in lines:
            self.types(line, "\n" if self.process.stdin else ENTER)

    def ends_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def sees(self, *lines: str) -> None:
        for line in lines:
            self.out.find(lambda shown, line=line: is_like(line, shown), line)  # type: ignore[misc]

    def is_told(self, pattern: str) -> Any:
        return self.err.find(re.compile(rf"^\* .*?(?:{pattern})").search, f"* {pattern}")

    def row(self, text: str) -> None:
        what = f"{self.name} does not have the row {text!r}"
        wait(lambda: self.screen.row("|" * text.count("|")) == text.rstrip(), what, self.out)

    def signals(self, number: int) -> None:
        tell(self.name, "gets signal", number)
        self.process.send_signal(number)

    def resizes(self, columns: int) -> None:
        self.screen.columns = columns
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def modes_as_found(self) -> bool:
        return termios.tcgetattr(self.terminal) == self.modes

    def hangs_up(self) -> None:
        os.close(self.terminal)
        self.terminal, self.out.ended, self.err.ended = -1, True, True

    def ends(self, status: int) -> None:
        wait(lambda: self.process.poll() is not None, f"{self.name} does not end")
        wait(lambda: all(stream.ended for stream in self.streams), f"{self.name} leaves a child")
        if self.process.returncode != status:
            raise Unexpected(f"{self.name} ended with {self.process.returncode}, not {status}")

    def kill(self) -> None:
        """End the program and its whole session, and close what leads to it."""
        for entry in Path("/proc").glob("[0-9]*") if self.process.poll() is None else ():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == self.process.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
        with self.process:  # it closes its pipes, and waits for it
            self.process.kill()
            if self.terminal >= 0:
                os.close(self.terminal)


class Peer:
    """The other side of a connection, by hand. Sending to one that has gone is no error."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name, self.sock, self.stream = name, sock, Stream(f"{name} hears", sock.fileno())
        sock.settimeout(PATIENCE)

    def sends(self, data: str | bytes) -> None:
        tell(self.name, "sends", data)
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def says(self, *lines: str) -> None:
        self.sends("".join(line + "\n" for line in lines))

    def hears(self, *lines: str) -> None:
        for line in lines:
            heard = self.stream.find(lambda heard: [heard], line)[0]
            if not is_like(line, heard):
                raise Unexpected(f"{self.name} hears {heard!r}, not {line!r}")

    def hears_end(self, *lines: str) -> None:
        self.hears(*lines)
        wait(lambda: self.stream.ended, f"{self.name} does not hear the end", self.stream)
        rest = self.stream.text.split("\n", self.stream.place)[-1]
        if rest or self.stream.error:
            raise Unexpected(f"{self.name} hears, instead of the end, {rest!r}, {self.stream.error}")

    def half_closes(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def resets(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leaves()

    def leaves(self) -> None:
        tell(self.name, "leaves")
        self.sock.close()


class ChatTest(unittest.TestCase):
    failureException = Unexpected

    def setUp(self) -> None:
        told.clear()
        streams.clear()
        self.stack = contextlib.ExitStack()  # what the end of the test closes
        self.addCleanup(self.stack.close)
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def start(self, *command: object, **options: Any) -> Program:
        """Start a program, or a script with Python's `flags`. The test is skipped if there is none.
        Its streams are pipes; those that `terminal` names (True: all) are at a terminal with some
        `columns`; stdin=b"..." is a pipe with just that; `redirect` is for the shell: "2>&1". An
        option in capitals, BELL_SECONDS=1, is a constant in a copy of the script. `env` is added to
        a plain environment. The rest are Popen's."""
        words, is_script = [str(word) for word in command], isinstance(command[0], Path)
        if is_script:
            constants = {key: options.pop(key) for key in [*options] if key.isupper()}
            script = self.copy(words[0], constants) if constants else words[0]
            words = [sys.executable, *options.pop("flags", ("-I", "-S")), script, *words[1:]]
        if not shutil.which(words[0]):
            self.skipTest(f"there is no {words[0]} here")
        if "redirect" in options:
            words = ["sh", "-c", f'exec "$@" {options.pop("redirect")}', "sh", *words]
        typed = options.pop("stdin") if isinstance(options.get("stdin"), bytes) else None
        options["env"] = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8",
                          "TERM": "xterm", **options.get("env", {})}  # fmt: skip
        name, terminal = options.pop("name", Path(str(command[0])).stem), options.pop("terminal", "")
        screen = Screen(options.pop("columns", 80), has_shell=not is_script)
        program = Program(name, words, screen, " ".join(STREAMS) if terminal is True else terminal, **options)
        self.addCleanup(program.kill)
        if typed is not None:
            program.types(typed)
            program.ends_input()
        return program

    def copy(self, script: str, constants: dict[str, float]) -> str:
        """Return a copy of a script that has other constants."""
        text = Path(script).read_text()
        for name, value in constants.items():
            text, count = re.subn(rf"(?m)^{name} = [\d.]+", f"{name} = {value}", text)
            self.assertEqual(count, 1, f"{script} has no {name}")
        copy = Path(tempfile.mkdtemp(dir=self.folder), Path(script).name)
        copy.write_text(text)
        return str(copy)

    def server(self, *arguments: object, **options: Any) -> Program:
        server = self.start(SERVER, *(arguments or (0,)), **{"name": "bob", **options})
        server.port = int(server.is_told(r"waiting on .* port (\d+)")[1])
        return server

    def client(self, server: Any, host: str = "127.0.0.1", **options: Any) -> Program:
        port = server.getsockname()[1] if isinstance(server, socket.socket) else getattr(server, "port", server)
        return self.start(CLIENT, host, port, **{"name": "alice", **options})

    def server_and_hand(self, **options: Any) -> tuple[Program, Peer]:
        server = self.server(**options)
        return server, self.visit(server, "alice")

    def client_and_hand(self, **options: Any) -> tuple[Program, Peer]:
        listener = self.listener()
        client = self.client(listener, **options)
        server = self.accept(listener)
        client.is_told("connected")
        client.enters("alice")
        server.hears("alice")
        return client, server

    def visit(self, server: Program, username: str = "", host: str = "127.0.0.1") -> Peer:
        sock = self.stack.enter_context(socket.create_connection((host, server.port), PATIENCE))
        peer = Peer(username or "a visitor", sock)
        if username:
            peer.hears("chatserve.*")
            peer.says(username)
        return peer

    def listener(self) -> socket.socket:
        return self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def accept(self, listener: socket.socket, greeting: str = "chatserve by hand\n") -> Peer:
        listener.settimeout(PATIENCE)
        peer = Peer("server", self.stack.enter_context(listener.accept()[0]))
        peer.sends(greeting)
        return peer

    def shell(self, name: str) -> Program:
        """Start a shell that knows `chatserve` and `chatclient`, and wait for its prompt, `$`."""
        for script in (SERVER, CLIENT):
            command = self.folder / script.stem
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{script}" "$@"\n')
            command.chmod(0o755)
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}", "PS1": "$ "}
        flags = {"bash": ("--norc", "--noprofile"), "zsh": ("-f",)}.get(name, ())
        shell = self.start(name, *flags, "-i", terminal=True, env=env)
        shell.row("$")
        return shell
