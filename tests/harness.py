"""Start the real scripts, and speak to them: over sockets, through pipes, at pseudo-terminals.

From the top: what the contract says, in the tests' own words; what a system may lack; a stream, a
program, a terminal's screen, and a partner; the classes that tests are made of; and `main`, which
runs the tests of a file. Nothing here sleeps to be safe: whatever is expected is waited for,
until a deadline that is far beyond what any machine needs.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pathlib
import pty
import re
import resource
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
from typing import IO, Any, Callable

import processes

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER = ROOT / "chatserve.py"
CLIENT = ROOT / "chatclient.py"
DEADLINE = 10.0  # seconds for anything that must happen

# What the contract says. It is not imported from the scripts, as a test has to see it change there.
GREETING = "chatserve"  # how the server's first line starts, and also its refusal of a username
QUIT = "\\quit"  # the line that ends a conversation, from either side
USERNAME_LONGEST = 10  # characters
USERNAME_SECONDS = 120  # from the greeting to the end of the username's line
MESSAGE_LONGEST = 500  # characters
UNREAD_LONGEST = 64 * 1024  # bytes of lines that wait for the partner's next turns
GOODBYE_SECONDS = 1.0  # for the last line to arrive, at the most
PAUSE_SECONDS = 1.0  # before the next client, for a person who may be in the middle of a line
NOTICED_SECONDS = 0.5  # from the end to its notice, while a line is edited

# How the notices say what several files look for, as regular expressions.
WAITING = r"\* waiting on \S+ port (\d+)"
IN_QUEUE = "picked up"  # the client is waiting to be
CONNECTED = "connected"
LOST = r"was lost \(Connection reset by peer\)"
NO_CHATSERVE = "is no chatserve"
BROKE = "broke a rule: "
NO_USERNAME = "is no username"
TOO_FAR_AHEAD = f"over {UNREAD_LONGEST // 1024} KiB"
TOO_LONG = rf"\d+ characters, {MESSAGE_LONGEST} at most\r?\n"
NOT_SENT = "not sent: "
NO_TURN = NOT_SENT + "it is the turn of "
NOT_PICKED_UP = NOT_SENT + "you have not been picked up"
NO_NAME_YET = NOT_SENT + "no username has come yet\r?\n"
BLANK = NOT_SENT + "nothing but white space"

# What is typed at a terminal.
ESCAPE, ENTER, BACKSPACE = "\x1b", "\r", "\x7f"
CTRL_C, CTRL_D, CTRL_K, CTRL_Q, CTRL_S = "\x03", "\x04", "\x0b", "\x11", "\x13"
CTRL_U, CTRL_W, CTRL_Z, CTRL_BACKSLASH = "\x15", "\x17", "\x1a", "\x1c"
UP, DOWN, LEFT, RIGHT = "\x1b[A", "\x1b[B", "\x1b[D", "\x1b[C"
HOME, END, DELETE = "\x1b[H", "\x1b[F", "\x1b[3~"
PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"  # around what was pasted
ERASE = "\r\x1b[K"  # what clears the row
MARKS, NO_MARKS = "\x1b[?2004h", "\x1b[?2004l"  # what asks a terminal for these two


ON_PYPY = sys.implementation.name == "pypy"
on_linux = unittest.skipUnless(sys.platform == "linux", "this looks into the system as Linux has it")


def memory(pid: int) -> int:
    """Return the bytes that a process has in memory (Linux)."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def processor_seconds(pid: int) -> float:
    """Return the seconds that a process has spent on a processor so far (Linux)."""
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def unread(terminal: int) -> int:
    """Return how many bytes a terminal has for a reader."""
    return int(struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, b"\0" * 4))[0])


class Patience:
    """How long a test goes on waiting for what must happen.

    A machine may stand still for a while, with every program on it. Therefore the time between two
    looks counts for a second at most.
    """

    def __init__(self, seconds: float = DEADLINE) -> None:
        self.left = seconds
        self.last_look = time.monotonic()

    def lasts(self) -> bool:
        """Look at the clock, and tell whether to go on waiting."""
        now = time.monotonic()
        self.left -= min(now - self.last_look, 1.0)
        self.last_look = now
        return self.left > 0


class Stream:
    """What comes out of a descriptor, kept whole; `expect` goes on behind what it last found.

    A terminal does not end with the program that writes to it. Therefore `program_ended` tells
    whether nothing more can come of it.
    """

    def __init__(
        self, descriptor: int, program_ended: Callable[[], bool] = lambda: False
    ) -> None:
        self.descriptor = descriptor
        self.program_ended = program_ended
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

    def wait(self) -> None:
        """Wait until something comes, or a moment has passed, or the stream is found to have ended."""
        ended = self.program_ended()  # before the read, which gets what was written before the end
        if not self.read(1.0 if ended else 0.2) and ended:
            self.ended = True

    def expect(self, pattern: str, within: float = DEADLINE) -> re.Match[bytes]:
        """Wait for a regular expression behind the last match."""
        patience = Patience(within)
        while True:
            match = re.compile(pattern.encode()).search(self.data, self.position)
            if match:
                self.position = match.end()
                return match
            if self.ended or not patience.lasts():
                rest, all_of_it = self.data[self.position :][:2000], self.data[-2000:]
                raise AssertionError(f"no {pattern!r} in {rest!r}, at the end of {all_of_it!r}")
            self.wait()

    def all(self) -> str:
        """Return everything up to the end of the stream."""
        patience = Patience()
        while not self.ended:
            if not patience.lasts():
                raise AssertionError(f"no end of the stream behind {self.data!r}")
            self.wait()
        return self.data.decode()

    def so_far(self) -> str:
        """Return everything that has come until now."""
        while self.read():
            pass
        return self.data.decode("utf-8", "replace")


class Program:
    """A running program: a script if it is given as a path, another command if as a string.

    Each of its streams is a pipe, unless it is at the terminal. `terminal` names the streams at a
    pseudo-terminal, of "in", "out" and "err", which has so many `columns`; `prefix` is a command
    that starts the program, `flags` are Python's; other options are those of subprocess.

    A program may end at any moment. To type to one that has ended, to signal it or to kill it is
    therefore no error: a test sees the end in what it expects next.
    """

    LAST = b"\x1e"  # a mark that no program writes

    def __init__(
        self,
        program: pathlib.Path | str,
        *args: object,
        terminal: str = "",
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        flags: tuple[str, ...] = ("-I", "-S"),  # -S, as to load what is installed takes long
        **options: Any,
    ) -> None:
        self.terminal: Stream | None = None
        columns: int = options.pop("columns", 80)
        self.display = Screen(columns, strict=isinstance(program, pathlib.Path))
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.shown = 0  # bytes of the terminal's that the screen shows
        self.killed = False
        names = {"in": "stdin", "out": "stdout", "err": "stderr"}
        streams: dict[str, Any] = dict.fromkeys(names.values(), subprocess.PIPE)
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"),
                            "LANG": "C.UTF-8", "TERM": "xterm", **(env or {})}  # fmt: skip
        if terminal:
            master, self.slave = pty.openpty()
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            self.terminal = Stream(master, lambda: self.process.poll() is not None)
            self.settings = termios.tcgetattr(self.slave)
            for name in terminal.split():
                streams[names[name]] = self.slave
            options.setdefault("in_child", self.control_terminal)
        streams.update({key: options.pop(key) for key in list(options) if key in streams})
        interpreter = (sys.executable, *flags) if isinstance(program, pathlib.Path) else ()
        command = [*prefix, *interpreter, str(program), *map(str, args)]
        self.process = processes.start(
            command, env=self.environment, bufsize=0, **streams, **options
        )
        self.pid = self.process.pid
        self.out = self.stream("stdout")
        self.err = self.stream("stderr")
        if self.terminal and "err" in terminal:
            self.err = self.terminal
        if self.terminal and "out" in terminal:
            self.out = self.terminal

    def control_terminal(self) -> None:
        """Make the pseudo-terminal that of the session (in the child, before the command)."""
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def stream(self, name: str) -> Stream:
        """Return the stream from a pipe of the process, or one of nothing if that is no pipe."""
        file = getattr(self.process, name)
        return Stream(file.fileno()) if file else Stream(-1)

    def at(self) -> Stream:
        """Return the terminal that the program is at."""
        assert self.terminal, "it is not at a terminal"
        return self.terminal

    def type(self, text: str | bytes) -> None:
        """Write to the keyboard, whatever it is."""
        data = text.encode() if isinstance(text, str) else text
        keyboard = self.terminal.descriptor if self.terminal else self.stdin_descriptor()
        size = 64 if self.terminal else select.PIPE_BUF  # what a select() promises to have room for
        patience = Patience()
        with contextlib.suppress(BrokenPipeError):
            while data:
                if not patience.lasts():
                    raise AssertionError(f"nobody reads what is typed: {data[:80]!r}")
                if self.terminal:  # the echo is read meanwhile: a terminal that nobody reads stops
                    self.terminal.read()
                if select.select([], [keyboard], [], 0.01)[1]:
                    data = data[os.write(keyboard, data[:size]) :]

    def stdin_descriptor(self) -> int:
        assert self.process.stdin, "its input is no pipe"
        return self.process.stdin.fileno()

    def end_input(self) -> None:
        assert self.process.stdin, "its input is no pipe"
        self.process.stdin.close()

    def port(self) -> int:
        """Wait until the server listens; return its port."""
        return int(self.err.expect(WAITING).group(1))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def freeze(self) -> None:
        """Stop it by a SIGSTOP, and wait until it is stopped."""
        self.signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def status(self, within: float = DEADLINE) -> int:
        """Wait for the end; return the exit status. What it writes meanwhile is read."""
        patience = Patience(within)
        streams = [s for s in {self.out, self.err, self.terminal} if s and s.descriptor >= 0]
        while self.process.poll() is None:
            if not patience.lasts():
                raise AssertionError(f"still running; {[s.so_far() for s in streams]}")
            live = [s for s in streams if not s.ended]
            for stream in live:
                stream.read(0.02 / len(live))
            if not live:
                time.sleep(0.005)  # no descriptor becomes readable when a process ends
        self.read_to_the_last()
        return self.process.returncode

    def read_to_the_last(self) -> None:
        """Read what an ended program wrote to the terminal.

        The kernel hands that over some time after the write, so it may not be readable yet. A mark
        that is written behind it comes last.
        """
        if not self.terminal or not select.select([], [self.slave], [], 0)[1]:  # or Ctrl-S holds it
            return
        os.write(self.slave, self.LAST)
        patience = Patience()
        while self.LAST not in self.terminal.data and not self.terminal.ended and patience.lasts():
            self.terminal.read(0.1)
        self.terminal.data = self.terminal.data.replace(self.LAST, b"")

    def settings_now(self) -> list[Any]:
        """Return the settings of the terminal, which `settings` has as they were at the start."""
        return termios.tcgetattr(self.slave)

    def screen(self) -> list[str]:
        """Return the lines on the terminal, as a person sees them."""
        self.look()
        return self.display.lines()

    def look(self) -> None:
        """Have the screen show everything that the program has written."""
        self.at().so_far()
        new = self.at().data[self.shown :]
        self.shown += len(new)
        self.display.show(self.decoder.decode(new))

    def wait_for_row(self, row: str) -> None:
        """Wait until the last row of the screen is `row`."""
        patience = Patience()
        while self.screen()[-1] != row:
            if not patience.lasts():
                raise AssertionError(f"{row!r} is not last in {self.screen()}")
            self.at().wait()

    def resize(self, columns: int) -> None:
        """Change the width of the terminal's window; 0 is a width that the terminal does not know."""
        self.look()
        self.display.columns = columns or 80
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.at().descriptor, termios.TIOCSWINSZ, size)

    def hang_up(self) -> None:
        """Take the terminal away, as when its window is closed."""
        os.close(self.at().descriptor)
        os.close(self.slave)
        self.at().descriptor = -1
        self.terminal = None

    def kill(self) -> None:
        """End the program, if it has not ended, and close what led to it."""
        if self.killed:
            return
        self.killed = True
        processes.kill(self.process)
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            if file:
                file.close()
        if self.terminal:
            os.close(self.terminal.descriptor)
            os.close(self.slave)


class Screen:
    """What a person sees of a terminal: rows that never end, and a cursor.

    It knows what the scripts may write, and raises AssertionError on any other escape sequence or
    control character; `strict` is false where a shell writes too, which may move the cursor.
    """

    PART = re.compile(
        r"(?P<text>[^\x00-\x1f\x7f]+)|(?P<control>[\r\n\a\b])|(?P<escape>\x1b[^\x00-\x1f\[]|\x1b\[[0-?]*[ -/]*[@-~])"
    )

    def __init__(self, columns: int, strict: bool) -> None:
        self.columns = columns
        self.strict = strict
        self.cells: list[list[str]] = [[]]  # behind a wide character there is a cell with ""
        self.row = self.column = 0
        self.saved = (0, 0)
        self.marks_pastes = False
        self.bells = 0
        self.rest = ""  # the beginning of an escape sequence

    def lines(self) -> list[str]:
        return ["".join(cells).rstrip() for cells in self.cells]

    def show(self, text: str) -> None:
        """Take what a program writes."""
        text = self.rest + text
        self.rest = ""
        position = 0
        while position < len(text):
            part = self.PART.match(text, position)
            if not part:
                self.rest = text[position:]
                assert len(self.rest) < 20 and self.rest[0] == "\x1b", f"{self.rest!r} was written"
                return
            position = part.end()
            if part["text"]:
                for char in part["text"]:
                    self.put(char)
            elif part["control"]:
                self.control(part["control"])
            else:
                self.escape(part["escape"])

    def put(self, char: str) -> None:
        """Show a character where the cursor is."""
        if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # it belongs to the one before
            if self.column:
                self.cells[self.row][self.column - 1] += char
            return
        width = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if self.column + width > self.columns:
            self.down()
            self.column = 0
        cells = self.cells[self.row]
        cells.extend(" " * (self.column + width - len(cells)))
        cells[self.column : self.column + width] = [char, ""][:width]
        self.column += width

    def down(self) -> None:
        self.row += 1
        if self.row == len(self.cells):
            self.cells.append([])

    def control(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.down()
        elif char == "\b":  # the echo of a terminal's own line discipline
            self.column = max(0, self.column - 1)
        else:
            self.bells += 1

    def escape(self, sequence: str) -> None:
        if sequence == "\x1b[K":
            del self.cells[self.row][self.column :]
        elif sequence == "\x1b7":
            self.saved = (self.row, self.column)
        elif sequence == "\x1b8":
            self.row, self.column = self.saved
        elif sequence in (MARKS, NO_MARKS):
            self.marks_pastes = sequence == MARKS
        else:
            assert not self.strict, f"{sequence!r} was written"


class Partner:
    """The other side of a connection, by hand.

    That side may have closed the connection at any moment. To send to it or to close the
    connection is therefore no error: a test sees the end in what it expects next.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self.stream = Stream(sock.fileno())

    def send(self, data: str | bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def quit(self) -> None:
        self.send(f"{QUIT}\n")

    def line(self) -> str:
        """Return the next line that comes, without its LF."""
        return self.stream.expect(r"([^\n]*)\n").group(1).decode()

    def rest(self) -> str:
        """Return everything up to the end of the stream that was not taken as a line."""
        self.stream.all()
        return self.stream.data[self.stream.position :].decode()

    def half_close(self) -> None:
        """Send the end of the stream, and go on listening."""
        with contextlib.suppress(OSError):  # it is not connected any more
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a RST."""
        with contextlib.suppress(OSError):  # some systems refuse it when the other side is gone
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.sock.close()


class ChatTest(unittest.TestCase):
    """A vocabulary: a server, a client, a partner of either, and what the two people do."""

    def start(self, program: pathlib.Path | str, *args: object, **options: Any) -> Program:
        """Start a program that is killed when the test is over."""
        started = Program(program, *args, **options)
        self.addCleanup(started.kill)
        return started

    def server(self, *args: object, **options: Any) -> tuple[Program, int]:
        """Start a server on a free port; return it and the port."""
        program = self.start(options.pop("script", SERVER), *(args or (0,)), **options)
        return program, program.port()

    def at_terminal(self, script: pathlib.Path, *args: object, **options: Any) -> Program:
        """Start a script with all its streams at a terminal."""
        return self.start(script, *args, terminal="in out err", **options)

    def partner(self, port: int, host: str = "127.0.0.1") -> Partner:
        """Connect to a server; the greeting is not read yet."""
        partner = Partner(socket.create_connection((host, port), DEADLINE))
        self.addCleanup(partner.close)
        return partner

    def visitor(self, port: int, name: str = "alice") -> Partner:
        """Connect to a server, be greeted, and give a username."""
        partner = self.partner(port)
        self.assertTrue(partner.line().startswith(GREETING))
        partner.send(f"{name}\n")
        return partner

    def impatient(self, script: pathlib.Path, constant: str, seconds: float) -> pathlib.Path:
        """Return a copy of a script in which a constant, a number of seconds, is another one."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        line = rf"^({constant} = )[\d.]+\b"
        text, count = re.subn(line, rf"\g<1>{seconds}", script.read_text(), flags=re.M)
        self.assertEqual(count, 1, f"{script.name} has no such constant: {constant}")
        copy = pathlib.Path(folder.name, script.name)
        copy.write_text(text)
        return copy

    def file_of(self, data: bytes) -> IO[bytes]:
        """Return a file that has some bytes to read, to be a program's stdin."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the test is over
        self.addCleanup(file.close)
        file.write(data)
        file.seek(0)
        return file

    def listener(self) -> socket.socket:
        """Return a listening socket, to be a client's server by hand."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        self.addCleanup(listener.close)
        return listener

    def accept(self, listener: socket.socket, greeting: str = f"{GREETING} by hand\n") -> Partner:
        """Pick up a client, and greet it."""
        partner = Partner(listener.accept()[0])
        self.addCleanup(partner.close)
        partner.send(greeting)
        return partner

    def client_of(self, listener: socket.socket, **options: Any) -> Program:
        """Start a client that connects to a listening socket."""
        return self.start(CLIENT, "127.0.0.1", listener.getsockname()[1], **options)

    def client_of_partner(self, **options: Any) -> tuple[Program, Partner]:
        """Start a client; return it, named alice, and its server by hand."""
        listener = self.listener()
        client = self.client_of(listener, **options)
        partner = self.accept(listener)
        if client.terminal:
            client.err.expect("type a username")
            client.type("alice" + ENTER)
        else:
            client.type("alice\n")
        self.assertEqual(partner.line(), "alice")
        return client, partner

    def wait_for(self, condition: Callable[[], bool], what: Callable[[], str]) -> None:
        """Wait until a condition is true; `what` tells of it if it does not become so."""
        patience = Patience()
        while not condition():
            self.assertTrue(patience.lasts(), f"not in time: {what()}")
            time.sleep(0.002)  # nothing tells when it becomes true

    def assert_goodbye(self, partner: Partner) -> None:
        """All that comes yet is `\\quit`, and the end of the stream without an error."""
        self.assertEqual(partner.rest(), f"{QUIT}\n")
        self.assertIsNone(partner.stream.error)

    def assert_grown_by_less(self, program: Program, used: int, most: int) -> None:
        """A process that used so many bytes of memory uses not many more now (Linux). PyPy frees
        memory when it likes, so nothing is said of it."""
        if not ON_PYPY:
            self.assertLess(memory(program.pid) - used, most)

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


class TerminalTest(ChatTest):
    """What the people do at their terminals, and what they see there."""

    def server_at_terminal(self, **options: Any) -> tuple[Program, int]:
        """Start a server whose person sits at a terminal; return it and its port."""
        return self.server(0, terminal="in out err", **options)

    def server_at_turn(self, **options: Any) -> tuple[Program, Partner]:
        """Return a server whose person has the turn, and its client, alice."""
        server, port = self.server_at_terminal(**options)
        partner = self.visitor(port)
        partner.send("hello\n")
        server.at().expect("alice> hello")
        server.wait_for_row("server>")
        return server, partner

    def client_at_turn(self, **options: Any) -> tuple[Program, Partner]:
        """Return a client whose person, alice, has the turn, and its server by hand."""
        client, partner = self.client_of_partner(terminal="in out err", **options)
        client.wait_for_row("alice>")
        return client, partner

    def is_as_found(self, program: Program) -> bool:
        """Tell whether the terminal has the settings that the program found."""
        return program.settings_now() == program.settings

    def type_and_see(self, program: Program, keys: str, row: str) -> None:
        """Type, and wait until the last row of the screen is `row`."""
        program.type(keys)
        program.wait_for_row(row)

    def wait_until_there_is_unread(self, program: Program) -> None:
        """Wait until what was typed has arrived at a program that does not read it."""
        self.wait_for(lambda: unread(program.slave) > 0, lambda: "what was typed has arrived")

    def bash(self) -> Program:
        """Start bash, and wait for its prompt. Without it, the test is skipped."""
        if not shutil.which("bash"):
            self.skipTest("there is no bash here")
        shell = self.start("bash", "--norc", "-i", terminal="in out err", env={"PS1": "$ "})
        shell.at().expect(r"[$] ")
        return shell

    def wait_until_stopped(self, shell: Program) -> None:
        """Wait until a shell tells that its job is stopped."""

        def is_stopped() -> bool:
            shell.type("jobs\r")
            shown = shell.at().expect(r"(?s)jobs\r\n(.*?)[$%] ").group(1)
            return re.search(b"(?i)stopped|suspended", shown) is not None

        self.wait_for(is_stopped, lambda: "the client is stopped")

    def say(self, program: Program, partner: Partner, text: str) -> None:
        """Type a message at one's turn, and see that it was sent, and the turn is over."""
        program.type(text + ENTER)
        self.assertEqual(partner.line(), text)
        program.wait_for_row("")


class Result(unittest.TextTestResult):
    """A result that counts each test once, also one with several subtests."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed += 1

    def counts(self) -> str:
        def tests(*outcomes: list[Any]) -> set[str]:
            return {getattr(t, "test_case", t).id() for outcome in outcomes for t, _ in outcome}

        failed = tests(self.failures, self.errors) | {t.id() for t in self.unexpectedSuccesses}
        skipped = tests(self.skipped) - failed
        return f"{self.passed} passed, {len(failed)} failed, {len(skipped)} skipped"


class Runner(unittest.TextTestRunner):
    resultclass = Result


def main() -> None:
    """Run the tests of the file that was started, and print their counts; exit 1 if one failed."""
    processes.end_on_signals()
    try:
        result = unittest.main(testRunner=Runner, exit=False).result
    except KeyboardInterrupt:
        sys.exit("interrupted")
    sys.stderr.flush()  # so that the counts are the last line, also with Python 3.8
    print(result.counts(), flush=True)  # type: ignore[attr-defined]
    sys.exit(not result.wasSuccessful())
