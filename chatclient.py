#!/usr/bin/env python3
"""Connect to a chatserve, and chat with the person there, in turns.

The server talks with one client at a time, the others wait in its queue. First give a username;
then each side sends one line after the other, you first. The line \\quit ends the conversation at
any time, and so does Ctrl-D in an empty line.
"""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports shows no traceback

import argparse
import codecs
import contextlib
import os
import re
import select
import socket
import sys
import time
import unicodedata
from collections.abc import Callable

try:
    import termios
except ImportError:
    sys.exit("* this needs Linux or another POSIX system; on Windows, use WSL")

CONNECT_SECONDS = 10  # for each address of the host


def main() -> int:
    """Connect, and hold the conversation; return the exit status, or end by a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", metavar="HOST", help="a name, an IPv4 or an IPv6 address")
    parser.add_argument("port", metavar="PORT", type=port, help="0 to 65535")
    args = parser.parse_args()
    person = Person()
    host = args.host or "localhost"
    where = f"{host} port {args.port}"
    person.notice(f"connecting to {where}; the server talks with one client at a time")
    try:
        target = (ADDRESSES.get(host, host), args.port)
        sock = socket.create_connection(target, CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        person.give_terminal_back()  # to drop what was typed meanwhile
        hint = "check that chatserve runs there (for other machines it needs --host 0.0.0.0)"
        person.notice(f"cannot connect to {where}: {why(error)}; {hint}")
        return 1
    sock.settimeout(None)
    with person:
        try:
            status = converse(person, Peer(sock, SERVER_NAME))
            person.obey()  # a signal may have come during the goodbye
        except ProgramEnded as end:
            tell_unsent(person)
            status = end.status
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        signal.raise_signal(-status)
    return status


def converse(person: Person, peer: Peer) -> int:
    """Wait for the greeting, give a username, and take turns; return the exit status."""
    try:
        name = introduce(person, peer)
        take_turns(person, peer, name)
    except Ended as end:
        finish(person, peer, end)
        return end.status
    return 0


def introduce(person: Person, peer: Peer) -> str:
    """Wait in the server's queue for the greeting, and give a username; return that."""
    greeting = hear(person, peer, "(in the queue)", FOREVER)
    if not greeting.startswith(SERVER_LINE_START):
        raise Ended(f"this is no chatserve, it says: {greeting[:MESSAGE_CHARACTERS]}")
    person.notice(f"connected to the server; you begin, {QUIT} ends the conversation")
    person.notice(f"type a username within {USERNAME_SECONDS} s: {USERNAME_RULE}")
    name = ask(person, peer, "username>")
    peer.send(name)
    peer.has_username = True
    return name


# ==== From here to the end both scripts are the same, word for word, as each has to work when it is
# ==== copied alone to another machine. Change both; a test names the first line that differs.

ADDRESSES = {"localhost": "127.0.0.1"}  # it means the same for both sides
QUIT = "\\quit"  # the line that ends a conversation, from either side
SERVER_LINE_START = "chatserve"  # the greeting starts with it
REFUSAL_START = f"{SERVER_LINE_START}: "  # of a client; the reason follows
SERVER_NAME = "server"  # of the person there
USERNAME_CHARACTERS = 10  # at most
USERNAME_RULE = "1 to 10 printable characters, no white space, not 'server' or 'you'"
USERNAME_SECONDS = 120  # from the greeting to the end of the username's line
MESSAGE_CHARACTERS = 500  # at most
BELL_SECONDS = 10  # a person who has waited for longer may be looking elsewhere
QUIET_SECONDS = 3.0  # without a key: then a person has finished typing, or has given up
PAUSE_SECONDS = 1.0  # at least, after a conversation, until the next client or the shell comes
FOREVER = float("inf")  # as a deadline, and as seconds
# C0 but tab, DEL and C1; separators, bidirectional embeddings, overrides and isolates.
UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def username_fault(name: str) -> str:
    """Return what is wrong with a username, or ""."""
    is_word = name.isprintable() and " " not in name and name.lower() not in (SERVER_NAME, "you")
    if is_word and 1 <= len(name) <= USERNAME_CHARACTERS:
        return ""
    return f"{name[:20]!r} ({len(name)} characters) is no username: {USERNAME_RULE}"


def message_fault(text: str) -> str:
    """Return what is wrong with a message, or ""."""
    fits = len(text) <= MESSAGE_CHARACTERS
    return "" if fits else f"{len(text)} characters, {MESSAGE_CHARACTERS} at most"


def harmless(text: str) -> str:
    """Return a text with escapes such as \\x1b in place of what a terminal must not get."""
    return UNSAFE.sub(lambda c: ("\\x%02x" if ord(c[0]) < 256 else "\\u%04x") % ord(c[0]), text)


def take_turns(person: Person, peer: Peer, name: str) -> None:
    """Send what the person, called `name`, types, and show what the peer sends, until Ended."""
    while True:
        peer.send(ask(person, peer, f"{name}>"))
        hear_message(person, peer)


def ask(person: Person, peer: Peer, prompt: str) -> str:
    """Return the person's next line that may be sent: a username, or a message. Raise Ended."""
    person.prompt = prompt
    if person.at_terminal and not (person.has_row or person.row.lines):  # no row tells it
        person.notice("your turn")
    while True:
        while peer.gone:  # show what it sent before; then take_line() raises Ended
            show(person, peer, peer.take_line())
        if not person.row.lines:
            attend(person, peer, [KEYBOARD], FOREVER)
            continue
        line = person.row.lines.pop(0)
        if is_quit(line):  # from a pipe, where it waits behind other lines
            raise Ended("you quit", QUIT, status=0)
        wrong = message_fault(line) if peer.has_username else username_fault(line)
        if person.has_row:
            person.row.history.append(line)
            if not wrong:
                person.write_line(STDOUT, f"{prompt} {line}")
        if not wrong:
            return line
        person.notice(f"not sent: {wrong}")
        if not person.at_terminal:
            raise Ended("you quit, as that line cannot be sent", QUIT)


def hear_message(person: Person, peer: Peer) -> None:
    """Wait for the peer's next message, and show it."""
    show(person, peer, hear(person, peer, f"({peer.name}'s turn)", FOREVER))


def hear(person: Person, peer: Peer, prompt: str, seconds: float) -> str:
    """Return the peer's next line. Raise Ended if none comes, or not within so many seconds."""
    person.prompt = prompt
    began = time.monotonic()
    while not peer.gone and b"\n" not in peer.received:
        if time.monotonic() > began + seconds:  # only a username has to come in time
            raise peer.disconnected(f"no username came within {seconds:.0f} s")
        attend(person, peer, [], began + seconds)
        if not peer.has_username:
            refuse_lines(person)
    line = peer.take_line()
    if person.has_row and time.monotonic() > began + BELL_SECONDS:
        person.write(STDOUT, "\a")
    return line


def show(person: Person, peer: Peer, text: str) -> None:
    """Show a message of the peer's."""
    if wrong := message_fault(text):
        raise peer.disconnected(wrong)
    if peer.name == SERVER_NAME and not peer.has_spoken and text.startswith(REFUSAL_START):
        raise Ended(f"you were disconnected: {text[len(REFUSAL_START) :]}")
    peer.has_spoken = True
    person.write_line(STDOUT, f"{peer.name}> {harmless(text)}")


def attend(person: Person, peer: Peer, readers: list[int], deadline: float) -> None:
    """Wait until the person or the peer does something. Raise Ended if the person quits."""
    person.wait([peer.sock.fileno(), *readers], deadline)
    peer.receive()
    if person.quits():
        raise Ended("you quit", QUIT, status=0)


def refuse_lines(person: Person) -> None:
    """Tell which lines are not sent, as nobody gets them. What comes from a pipe waits."""
    while person.at_terminal and person.row.lines:
        line = person.row.lines.pop(0)
        if not is_quit(line):
            person.row.history.append(line)
            person.notice(f"not sent {person.prompt}: {line}")


def tell_unsent(person: Person) -> None:
    """Tell what was typed and is not sent, also what is half typed."""
    while person.at_terminal and (person.row.text() or person.row.recalled):
        person.row.enter()
    refuse_lines(person)


def linger(person: Person, deadline: float) -> None:
    """Wait until the deadline, and until a person who is typing has finished, or quits."""
    while not person.quits() and time.monotonic() < deadline:
        refuse_lines(person)
        person.wait([], deadline)
        deadline = max(deadline, person.typed_at + QUIET_SECONDS)


def finish(person: Person, peer: Peer, end: Ended) -> None:
    """Tell how the conversation ended and what is not sent, and close it. Raise ProgramEnded."""
    person.notice(end.notice)
    person.prompt = f"({end.notice.partition(': ')[0]})"
    if not end.farewell:  # the peer ended it
        peer.close("")
        if person.at_terminal and (peer.has_username or person.row.text()):
            seconds = QUIET_SECONDS if person.row.text() else PAUSE_SECONDS
            linger(person, time.monotonic() + seconds)  # nobody else must get the rest of a line
    tell_unsent(person)
    person.give_terminal_back()  # before the goodbye, which may take a second
    peer.close(end.farewell)  # closed already if the peer ended it
    if person.at_terminal:
        person.row = Row()
    if isinstance(end, ProgramEnded):
        raise end


class Ended(Exception):
    """The conversation is over. `notice` tells who ended it, and how; `farewell` is the last line
    for the peer, "" if that ended it; `status` is the client's exit status."""

    def __init__(self, notice: str, farewell: str = "", status: int = 1) -> None:
        self.notice, self.farewell, self.status = notice, farewell, status


class ProgramEnded(Ended):
    """The program ends, too. If a signal ended it, `status` is the negative number of that."""


AHEAD_BYTES = 64 * 1024  # at most: lines that wait for their turn, or one line without an end
GOODBYE_SECONDS = 1.0  # for the last line to arrive, at most
# A host that vanished (tcp(7)): after 30 s of silence it is asked every 10 s, 60,000 ms in all.
TCP_OPTIONS = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_USER_TIMEOUT": 60_000}
QUIT_LINE = re.compile(rb"^\\quit\r?\n", re.MULTILINE)


class Peer:
    """The other side of one connection. Only `close` waits, for up to a second."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.sock = sock
        self.name = name  # its address, until it has another
        self.has_username = False  # whether the client has sent a username
        self.has_spoken = False  # whether a message of it was shown
        self.received = b""  # what has come and was not taken yet
        self.gone = ""  # how the peer ended, once it has: "quit", "left", "was lost: ..."
        with contextlib.suppress(AttributeError, OSError):  # a system may not have the option
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in TCP_OPTIONS.items():
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def take_line(self) -> str:
        """Return the next line, or what there is of it. Raise Ended if nothing is left."""
        if self.gone and not self.received:
            raise Ended(f"{self.name} {self.gone}", status=0 if self.gone == "quit" else 1)
        line, _, self.received = self.received.partition(b"\n")
        return (line[:-1] if line.endswith(b"\r") else line).decode("utf-8", "replace")

    def receive(self) -> None:
        """Receive once, without waiting. Note the end in `gone`. Raise Ended if too much waits."""
        try:
            data = self.sock.recv(AHEAD_BYTES, socket.MSG_DONTWAIT)
            self.gone = self.gone if data else "left"
        except BlockingIOError:
            return
        except OSError as error:
            data, self.gone = b"", f"was lost: {why(error)}"
        self.received += data
        # The last line may lack its newline.
        if end := QUIT_LINE.search(self.received + (b"" if data else b"\n")):
            self.gone, self.received = "quit", self.received[: end.start()]
        if len(self.received) > AHEAD_BYTES:
            raise self.disconnected(f"more than {AHEAD_BYTES // 1024} KiB came before its turn")

    def disconnected(self, wrong: str) -> Ended:
        """Return the end of a conversation in which the peer did something wrong."""
        farewell = QUIT if self.has_username else f"{REFUSAL_START}{wrong}"
        return Ended(f"{self.name} was disconnected: {wrong}", farewell)

    def send(self, line: str) -> None:
        """Send a line. If it is not taken at once, note that the peer is gone, and how."""
        data = f"{line}\n".encode("utf-8", "replace")
        try:
            if self.sock.send(data, socket.MSG_DONTWAIT) < len(data):
                raise BlockingIOError(0, "it does not read")
        except OSError as error:
            self.gone = f"was lost: {why(error)}"
            self.receive()  # what it sent before

    def close(self, farewell: str) -> None:
        """Close the connection, after a last line. What comes is read until the peer closes too, as
        unread data would be answered with a reset, which may overtake that line (RFC 1122)."""
        deadline = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(OSError), self.sock:  # the peer is gone, or does not read
            if farewell:
                self.sock.send(f"{farewell}\n".encode("utf-8", "replace"), socket.MSG_DONTWAIT)
                self.sock.shutdown(socket.SHUT_WR)
                while (left := deadline - time.monotonic()) > 0:
                    self.sock.settimeout(left)
                    if not self.sock.recv(AHEAD_BYTES):
                        break


KEYBOARD, STDOUT, STDERR = 0, 1, 2  # descriptors
READ_BYTES = 4096  # at once
ESCAPE_SECONDS = 0.5  # without a rest: it was the key Esc, and not the start of another key's code
STDOUT_LOST = 0  # noted as if it were a signal
ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM}
TERMINAL_SIGNALS = {signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH}
ERASE = "\r\x1b[K"  # the row of the cursor (ECMA-48, EL)
MARK_PASTES, MARK_NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"  # with PASTE_START and PASTE_END (xterm)


class Person:
    """The person here: keyboard, screen, the terminal's modes, signals, and the one select().

    A signal is only noted, and a pipe ends the wait (signal.set_wakeup_fd). It is obeyed before the
    next wait, so nothing is interrupted halfway."""

    def __init__(self) -> None:
        for _ in range([sys.stdin, sys.stdout, sys.stderr].count(None)):
            os.open(os.devnull, os.O_RDWR)  # it was closed: no socket may get its number
        with contextlib.suppress(termios.error):  # it is no terminal
            termios.tcdrain(KEYBOARD)  # changes nothing, but stops a program in the background
        self.at_terminal = os.isatty(KEYBOARD)  # else it is read at its turn only, as a pipe
        no_row = os.environ.get("TERM", "") in ("", "dumb", "unknown", "network")
        self.has_row = self.at_terminal and os.isatty(STDOUT) and not no_row
        self.row = Row()  # also where it does not show
        self.prompt = ""  # what stands in front of it
        self.modes_found: list[int | list[bytes | int]] = []  # while the row shows
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self.typed_at = 0.0  # when something was typed last, a time.monotonic()
        self.noted: set[int] = set()  # signals, and STDOUT_LOST, that are not yet obeyed
        self.signal_pipe, signals_in = os.pipe()
        os.set_blocking(signals_in, False)
        signal.set_wakeup_fd(signals_in, warn_on_full_buffer=False)

    def __enter__(self) -> None:
        """From now on signals are only noted, and the terminal passes on keys."""
        for signum in ENDING_SIGNALS | (TERMINAL_SIGNALS if self.at_terminal else set()):
            if signal.getsignal(signum) != signal.SIG_IGN:  # as nohup has it
                signal.signal(signum, lambda number, _: self.noted.add(number))
        self.take_terminal()

    def __exit__(self, *_: object) -> None:
        self.give_terminal_back()

    def obey(self) -> None:
        """Do what was noted. Raise ProgramEnded if the program has to end."""
        while self.noted:
            noted, self.noted = self.noted, set()
            if ending := noted & {STDOUT_LOST, *ENDING_SIGNALS}:
                raise ProgramEnded("you quit", QUIT, -max(ending) or 1)  # 1: stdout is lost
            if signal.SIGTSTP in noted:
                self.stop()
            elif signal.SIGCONT in noted:
                self.take_terminal()

    def take_terminal(self) -> None:
        """Have a terminal with a row pass on each key, without echo. In the background the kernel
        stops the program here (SIGTTOU), and the SIGCONT that ends the stop leads here again."""
        with contextlib.suppress(termios.error):  # it was stopped here, or the terminal hung up
            termios.tcdrain(KEYBOARD)
            if self.has_row:
                # After a SIGSTOP they may still be ours: those found before count.
                found = self.modes_found or termios.tcgetattr(KEYBOARD)
                modes = termios.tcgetattr(KEYBOARD)
                modes[0] &= ~(termios.IXON | termios.ICRNL)  # iflag (termios(3))
                modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)  # lflag
                modes[3] |= termios.ISIG | termios.NOFLSH  # a signal drops no keys
                modes[6][termios.VMIN] = 1  # cc: a read() waits for one key
                termios.tcsetattr(KEYBOARD, termios.TCSANOW, modes)
                self.modes_found = found
                self.write(STDOUT, MARK_PASTES)

    def give_terminal_back(self) -> None:
        """Leave the terminal as it was found, and drop what is unread; but not a shell's."""
        if not in_background():
            with contextlib.suppress(termios.error):  # it is no terminal, or has hung up
                termios.tcflush(KEYBOARD, termios.TCIFLUSH)
                if self.modes_found:
                    termios.tcsetattr(KEYBOARD, termios.TCSANOW, self.modes_found)
                    self.write(STDOUT, ERASE + MARK_NO_PASTES)
        self.modes_found = []

    def stop(self) -> None:
        """Stop the program, as Ctrl-Z does, until it is continued."""
        self.give_terminal_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self.noted.add(signal.SIGCONT)  # also where nothing stopped it (no shell, as in xterm -e)

    def wait(self, readers: list[int], deadline: float) -> list[int]:
        """Wait until something can be read or is noted, or until the deadline, a time.monotonic().
        Return what can be read. A pipe is read only if KEYBOARD is in `readers`."""
        self.obey()
        self.draw()
        readers = [self.signal_pipe, *readers, *([KEYBOARD] if self.at_terminal else [])]
        seconds = None if deadline == FOREVER else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(readers, [], [], seconds)
        if self.signal_pipe in ready:
            os.read(self.signal_pipe, READ_BYTES)
        if KEYBOARD in ready and not (self.noted and in_background()):  # where read() stops it
            self.read_keyboard()
        return ready

    def read_keyboard(self) -> None:
        """Read once what was typed. The end of the input is a line `\\quit`."""
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(KEYBOARD, READ_BYTES)
        if not data and self.at_terminal and not os.isatty(KEYBOARD):
            self.noted.add(signal.SIGHUP)  # it has hung up
        text = self.decoder.decode(data, final=not data) + ("" if data else f"\n{QUIT}\n")
        if not self.has_row:  # it has no keys
            text = UNSAFE.sub(lambda c: c[0] if c[0] in "\r\n" else "", text)
        if time.monotonic() > self.typed_at + ESCAPE_SECONDS:
            self.row.unfinished = ""
        self.typed_at = time.monotonic()
        self.row.type(text)

    def draw(self) -> None:
        """Draw the row, where there is one."""
        waiting = f" ({len(self.row.lines)} waiting)" if self.row.lines else ""
        with contextlib.suppress(OSError):  # it has hung up
            if self.modes_found:
                columns = os.get_terminal_size(STDOUT).columns or 80
                self.write(STDOUT, ERASE + self.row.drawing(f"{self.prompt}{waiting}", columns))

    def quits(self) -> bool:
        """Tell whether a `\\quit` was typed. (That of a pipe waits for its turn.)"""
        return self.at_terminal and any(map(is_quit, self.row.lines))

    def notice(self, text: str) -> None:
        """Tell the person something about the conversation."""
        self.write_line(STDERR, f"* {harmless(text)}")

    def write_line(self, descriptor: int, line: str) -> None:
        """Write a line, in place of the row, which is drawn anew before the next wait."""
        erase = ERASE if self.modes_found and os.isatty(descriptor) else ""
        self.write(descriptor, f"{erase}{line}\n")

    def write(self, descriptor: int, text: str) -> None:
        """Write all of it. If stdout cannot be written, the program has to end."""
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            if descriptor == STDOUT and STDOUT_LOST not in self.noted:
                self.noted.add(STDOUT_LOST)
                self.notice(f"cannot write to stdout any longer: {why(error)}")


ENTER, PASTE_START, PASTE_END = "\r", "\x1b[200~", "\x1b[201~"
BACKSPACE, DELETE = "\x7f", "\x1b[3~"
CTRL_D, CTRL_K, CTRL_U, CTRL_W = "\x04", "\x0b", "\x15", "\x17"
UP, DOWN, RIGHT, LEFT, END, HOME = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[F", "\x1b[H"
# Other codes of these keys. A terminal may send ESC O (SS3) in place of ESC [ (CSI).
CODES = {
    **{key.replace("[", "O"): key for key in (UP, DOWN, RIGHT, LEFT, END, HOME)},
    "\x10": UP, "\x0e": DOWN, "\x06": RIGHT, "\x02": LEFT, "\x08": BACKSPACE,
    "\x05": END, "\x1b[4~": END, "\x1b[8~": END, "\x01": HOME, "\x1b[1~": HOME, "\x1b[7~": HOME,
    "\n": ENTER, "\r\n": ENTER, "\x1bOM": ENTER, CTRL_D: DELETE,
}  # fmt: skip
# What each key makes of the text before the cursor and the text after it.
EDITS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    BACKSPACE: lambda before, after: (before[:-1], after),
    DELETE: lambda before, after: (before, after[1:]),
    LEFT: lambda before, after: (before[:-1], before[-1:] + after),
    RIGHT: lambda before, after: (before + after[:1], after[1:]),
    HOME: lambda before, after: ("", before + after),
    END: lambda before, after: (before + after, ""),
    CTRL_U: lambda before, after: ("", after),
    CTRL_K: lambda before, after: (before, ""),
    CTRL_W: lambda before, after: (before[: before.rstrip(" ").rfind(" ") + 1], after),
}
# What was typed is cut into characters and keys (ECMA-48, 5.4; xterm).
KEY = re.compile(r"""(?P<characters> [^\x00-\x08\x0a-\x1f\x7f]+ )
    | (?P<unfinished> \x1b ( (\[ \[? | O) [0-?]* [ -/]* )? \Z )  # its rest comes later
    | \x1b (\[ \[? | O) [0-?]* [ -/]* [@-~]  # CSI ([[ is a function key of Linux) or SS3
    | \x1b [^\x1b]?  # Esc, or a key with Alt
    | \r\n
    | .""", re.VERBOSE | re.DOTALL)  # fmt: skip
SAVE_CURSOR, RESTORE_CURSOR = "\x1b7", "\x1b8"  # DECSC, DECRC


class Row:
    """All that was typed and is not sent. Keys go in; lines, and a drawing of the row, come out."""

    def __init__(self) -> None:
        self.lines: list[str] = []  # entered, and waiting for their turn
        self.before = ""  # the text before the cursor
        self.after = ""  # and after it
        self.unfinished = ""  # the start of a key's code
        self.pasting = False  # whether a paste is going on
        self.history: list[str] = []  # what was sent or refused
        self.recalled: list[str] = []  # since Up: that, as changed, and at last what was half typed
        self.place = -1  # of the row in it; at -1 nothing is recalled

    def text(self) -> str:
        return self.before + self.after

    def type(self, text: str) -> None:
        """Take in what was read from the keyboard at once."""
        if text in ("\r", "\n", "\r\n"):  # an Enter that comes alone was not pasted
            self.pasting = False
        text, self.unfinished = self.unfinished + text, ""
        for key in KEY.finditer(text):
            if key["unfinished"]:
                self.unfinished = key.group()
            elif key["characters"]:
                self.before += UNSAFE.sub("", key.group())
            else:
                self.press(key.group())

    def press(self, code: str) -> None:
        """Do what a key says, which is no character. Most keys do nothing."""
        key = CODES.get(code, code)
        if key in (PASTE_START, PASTE_END):
            self.pasting = key == PASTE_START
        elif self.pasting:
            self.before += " " if key == ENTER else ""
        elif key == ENTER:
            self.enter()
        elif code == CTRL_D and not self.text():
            self.lines.append(QUIT)
        elif key == UP and self.lines and not self.text():
            self.before = self.lines.pop()
        elif key in (UP, DOWN):
            self.recall(-1 if key == UP else 1)
        elif key in EDITS:
            self.before, self.after = EDITS[key](self.before, self.after)

    def enter(self) -> None:
        """Let the line wait, if it is not blank. What was half typed before a recall comes back."""
        if self.text().strip():
            self.lines.append(self.text())
        self.before = self.recalled[-1] if self.place < -1 else ""
        self.after, self.recalled, self.place = "", [], -1

    def recall(self, step: int) -> None:
        """Bring back an older line (step -1), or a newer one or what was half typed (step 1)."""
        self.recalled = self.recalled or [*self.history, ""]
        if -len(self.recalled) <= self.place + step < 0:
            self.recalled[self.place] = self.text()
            self.place += step
            self.before, self.after = self.recalled[self.place], ""

    def drawing(self, prompt: str, columns: int) -> str:
        """Return what draws the prompt, and the text around the cursor, in less than one row."""
        prompt = beginning(prompt, columns // 2 - 1) + " "
        room = columns - 1 - width(prompt)
        reserved = width(beginning(self.after, room // 3))  # at least, for the text after it
        before = beginning(self.before[::-1], room - reserved)[::-1]  # its end
        after = beginning(self.after, room - width(before))  # all that is free now
        return f"{prompt}{before}{SAVE_CURSOR}{after}{RESTORE_CURSOR}".replace("\t", " ")


def is_quit(line: str) -> bool:
    """Tell whether a line that was typed ends the conversation."""
    return line.strip().lower() == QUIT


def width(text: str) -> int:
    """Return how many columns a text takes at most. (U+FE0F may make a character wider.)"""
    wide = [char for char in text if unicodedata.east_asian_width(char) in "WF" or char == "\ufe0f"]
    return len(text) + len(wide) - sum(unicodedata.category(char) in ("Mn", "Me") for char in text)


def beginning(text: str, columns: int) -> str:
    """Return as much of a text as fits into so many columns."""
    for count, char in enumerate(text):
        columns -= width(char)
        if columns < 0:
            return text[:count]
    return text


def port(text: str) -> int:
    """Return the number of a port, for argparse."""
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def why(error: Exception) -> str:
    """Return in plain words why a call failed. (create_server() adds "(while attempting ...)".)"""
    return str(getattr(error, "strerror", None) or error).partition(" (while")[0]


def in_background() -> bool:
    """Tell whether the terminal's keyboard belongs to other processes, such as the shell."""
    with contextlib.suppress(OSError):  # it is no terminal, or not that of this session
        return os.tcgetpgrp(KEYBOARD) != os.getpgrp()
    return False


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"* cannot go on: {why(error)}")
