#!/usr/bin/env python3
"""Listen on a port, and chat with one client at a time, in turns:

    python3 chatserve.py [--host HOST] PORT

At a terminal the line that is being typed is in the last row of the screen. The code calls it the
row. A line that cannot be sent stays in it.
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

try:
    import termios
except ImportError:
    sys.exit("* this needs a POSIX system: Linux, macOS, or WSL on Windows")

TYPE_CHECKING = False  # importing typing would take a fifth of the start-up
if TYPE_CHECKING:
    from typing import Any, Callable, List, NoReturn, Union

    Waitables = List[Union[int, socket.socket]]  # for select(): descriptors and sockets

# The docstring will not do: `python3 -OO` drops it.
HELP = """Listen on a port, and chat with one client at a time, in turns. A client gives a
username; then each side sends a line after the other, the client first. The line \\quit, typed at
any time, ends the conversation, and the next client is picked up. Ctrl-C closes the server."""
PAUSE_SECONDS = 1.0  # after a failed accept(), or when a conversation ends amid a typed line


def main() -> int:
    """Listen, and serve; return the exit status."""
    parser = Parser(description=HELP)
    parser.add_argument("--host", default="localhost", help="where to listen (%(default)s)")
    parser.add_argument("port", metavar="PORT", help="a number from 0 (any free port) to 65535")
    args = parser.parse_args()
    port = parser.port_number(args.port, lowest=0)
    try:
        person = Person()  # first: it opens descriptors 0, 1, 2 if closed, so no socket gets them
        family, *_, address = addresses(args.host, port)[0]  # IPv4 if there is one
        listener = socket.create_server(address, family=family)
        where = place(args.host, listener.getsockname()[1])
    except (OSError, UnicodeError) as error:
        cannot(f"listen on {place(args.host, port)}: {why(error)}; try another port or host")
    with person:
        try:
            serve(person, listener, where)
        except Ended as end:
            person.notice("server closed")
            listener.detach()  # no warning of an open socket at the exit; close() may fail
            return 0 if end.status > SIGNAL_STATUS else 1  # 0 after a signal, 1 after a failure


def serve(person: Person, listener: socket.socket, where: str) -> NoReturn:
    """Pick up one client after the other, until Ended is raised because the program has to end."""
    while True:
        person.read_signals()  # also those that came during say_goodbye()
        person.raise_if_must_end()
        person.notice(f"waiting on {where} (Ctrl-C closes)")
        idle(person, [listener], FOREVER)
        try:
            sock, address = listener.accept()
        except OSError as error:  # it may concern only that connection (accept(2))
            person.notice(f"cannot pick up a client: {why(error)}; trying again")
            idle(person, [], PAUSE_SECONDS)
        else:
            converse(person, Peer(sock, f"{address[0]} port {address[1]}"))


def idle(person: Person, listeners: Waitables, seconds: float) -> None:
    """Wait until a client has come to a listener, or so many seconds have passed."""
    deadline = time.monotonic() + seconds
    while person.wait(listeners, [], deadline):
        while person.take_line() is not None:  # there may be several
            person.notice("not sent: nobody is connected (Ctrl-C closes)")


def converse(person: Person, peer: Peer) -> None:
    """Greet a client that was picked up, learn its username, and take turns."""
    try:
        person.forget_typed()  # it was typed to nobody
        person.notice(f"{peer.name} connected; take turns, the client begins, {QUIT} ends")
        how = f"send a username, then take turns; {QUIT} ends"
        say(person, peer, f"{SERVER_LINE_START} here: {how}")
        name = hear_username(person, peer)
        person.notice(f"{peer.name} is {name}")
        peer.name = name
        hear_message(person, peer)
        person.forget_typed()  # it was typed before the client's first message was shown
        take_turns(person, peer, SERVER_NAME)
    except Ended as end:  # if the program has to end, serve() raises it again
        is_typing = bool(person.row.text())  # close() clears the row
        close(person, peer, end)
        if is_typing:  # idle() refuses the rest and its Enter; a new client must not get them
            idle(person, [], PAUSE_SECONDS)


def hear_username(person: Person, peer: Peer) -> str:
    """Return the username that a client sends. If it breaks a rule, raise Ended, whose farewell
    tells the client which one."""
    try:
        name = hear(person, peer, "no username has come yet", USERNAME_SECONDS)
        wrong = username_fault(name)
    except TimeoutError:
        wrong = f"no username came in {USERNAME_SECONDS} s"
    if wrong:
        raise Ended(f"{peer.name} broke a rule: {wrong}", farewell=f"{SERVER_LINE_START}: {wrong}")
    return name


# ==== From here to the end both scripts are the same, word for word, as each has to work when it is
# ==== copied alone to another machine. Change both; a test names the first line that differs.

QUIT = "\\quit"  # the line that ends a conversation, from either side
SERVER_LINE_START = "chatserve"  # greetings, and refusals of a username, start with it
SERVER_NAME = "server"  # the name of the person there
USERNAME_CHARACTERS = 10  # at most
USERNAME_RULE = f"1 to {USERNAME_CHARACTERS} characters, no white space, not '{SERVER_NAME}'"
USERNAME_SECONDS = 120  # from the greeting to the end of the username's line
MESSAGE_CHARACTERS = 500  # at most
BELL_SECONDS = 10  # a person who has waited for longer may be looking elsewhere
FOREVER = float("inf")  # of seconds to wait, and as a deadline


def take_turns(person: Person, peer: Peer, name: str) -> NoReturn:
    """Send what the person types, and show what the peer sends, in turn, until Ended is raised.
    `name` is the person's."""
    while True:
        text = ask(person, peer, f"{name}> ", message_fault)
        if person.has_row:  # arrow up brings it back there
            person.row.remember(text)
        say(person, peer, text)
        hear_message(person, peer)


def hear_message(person: Person, peer: Peer) -> None:
    """Wait for the peer's next message, and show it."""
    show(person, peer, hear(person, peer, f"it is the turn of {peer.name}"))


def ask(person: Person, peer: Peer, prompt: str, find_fault: Callable[[str], str]) -> str:
    """Return the next typed line for which `find_fault` returns "", which means no fault. Raise
    Ended if the conversation ends first."""
    person.prompt = prompt  # until the line is finished
    while True:
        while peer.gone:  # show what is left; after that, peer.take_line() raises Ended
            show(person, peer, peer.take_line())
        line = take_typed_line(person)
        if line is None:
            # KEYBOARD is for a pipe, read only at one's own turn. A terminal is always read.
            person.wait([peer.sock, KEYBOARD], [], FOREVER)
            peer.receive()
            if len(peer.received) > AHEAD_BYTES:
                ahead = f"over {AHEAD_BYTES // 1024} KiB out of turn"
                raise Ended(f"{peer.name} broke a rule: {ahead}", farewell=QUIT)
            continue
        wrong = find_fault(line) if line.strip() else "nothing but white space"
        if not wrong:
            person.finish_line()
            return line
        if person.at_terminal:
            person.notice(f"not sent: {wrong}")  # it stays in the row, to be edited
        elif line.strip():  # else it is skipped: white space from a pipe
            raise Ended(f"you broke a rule: {wrong}", farewell=QUIT)


def say(person: Person, peer: Peer, line: str) -> None:
    """Send a line. Wait until the connection has taken all of it."""
    peer.send(f"{line}\n")
    while peer.unsent:
        person.wait([], [peer.sock], FOREVER)
        peer.send("")  # only what is unsent
        refuse_lines(person, "your last line is still on its way")


def hear(person: Person, peer: Peer, why_not_sent: str, seconds: float = FOREVER) -> str:
    """Return the peer's next line. Raise Ended if none can come any more, and TimeoutError if it
    has not come within so many seconds. Lines typed meanwhile are refused, and `why_not_sent` is
    the reason shown. After a longer wait the bell rings."""
    began = time.monotonic()
    deadline = began + seconds
    while not peer.has_line():
        if time.monotonic() > deadline:
            raise TimeoutError
        person.wait([peer.sock], [], deadline)
        peer.receive()
        refuse_lines(person, why_not_sent)
    line = peer.take_line()
    if person.has_row and time.monotonic() - began > BELL_SECONDS:
        person.write(STDOUT, "\a")
    return line


def show(person: Person, peer: Peer, text: str) -> None:
    """Show a message of the peer's."""
    if wrong := message_fault(text):
        raise Ended(f"{peer.name} broke a rule: {wrong}", farewell=QUIT)
    person.write_line(STDOUT, f"{peer.name}> {harmless(text)}")
    person.raise_if_must_end()  # ask() may show many lines, and does not wait between them


def take_typed_line(person: Person) -> str | None:
    """Return a line that the person has typed, or None. Raise Ended if it is `\\quit`."""
    line = person.take_line()
    if line is not None and line.strip() == QUIT:
        person.finish_line()  # else it would be left in the row, as if half typed
        raise Ended("you quit", farewell=QUIT, status=0)
    return line


def refuse_lines(person: Person, reason: str) -> None:
    """At a terminal, tell the person that lines typed out of turn are not sent, and why. Raise
    Ended if one is `\\quit`."""
    while person.at_terminal and take_typed_line(person) is not None:
        person.notice(f"not sent: {reason}")


def close(person: Person, peer: Peer, end: Ended) -> None:
    """Tell the person how the conversation ended, and say goodbye to the peer."""
    person.finish_line()
    person.notice(end.notice)
    peer.say_goodbye(end.farewell)


class Ended(Exception):
    """The conversation is over, or the program. `notice` tells who ended it, and how; `farewell` is
    the last line to send to the peer, "" for none, as when the peer ended it; `status` is the
    client's exit status: over 128 if a signal ended the program. (The server derives its own.)"""

    def __init__(self, notice: str, farewell: str = "", status: int = 1) -> None:
        self.notice = notice
        self.farewell = farewell
        self.status = status


AHEAD_BYTES = 64 * 1024  # at most: lines that wait for their turn, or one line without an end
GOODBYE_SECONDS = 1.0  # for the last line to arrive, at most
SOCKET_OPTIONS = {
    "SO_OOBINLINE": 1,  # on: telnet's urgent data is received in its place (RFC 854, Synch)
    # These give up a host that has vanished within a minute (tcp(7)):
    "SO_KEEPALIVE": 1,  # on
    "TCP_KEEPIDLE": 30,  # seconds of silence, after which it is asked
    "TCP_KEEPINTVL": 10,  # seconds from one question to the next
    "TCP_KEEPCNT": 3,  # questions without an answer
    "TCP_USER_TIMEOUT": 60_000,  # milliseconds for it to confirm what was sent
}
# A line `\quit`, or a whole line with telnet's Ctrl-C in it (IAC IP; RFC 854).
QUIT_LINE = re.compile(rb"^(\\quit\r?\n|.*\xff\xf4)", re.MULTILINE)
# Telnet's other commands: an option, a subnegotiation (which is short), or a command of two bytes
# (but not IP, which is 244 and is left for QUIT_LINE).
TELNET = re.compile(
    rb"\xff([\xfb-\xfe].|\xfa([^\xff]|\xff\xff){0,500}\xff\xf0|[\xec-\xf3\xf5-\xf9\xff])", re.DOTALL
)
# A subnegotiation whose end has not come yet. A newline in it ends no line.
UNFINISHED_TELNET = re.compile(rb"\xff\xfa([^\xff]|\xff\xff){0,500}\xff?\Z")


class Peer:
    """The other side of one connection. Only `say_goodbye` waits, for up to a second."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.sock = sock
        self.name = name  # its address, until it has another
        self.received = b""  # what has come and was not taken yet
        self.unsent = b""  # what the connection has not taken yet
        self.gone = ""  # how the peer ended, once it has: "quit", "left", "was lost (...)"
        for option, value in SOCKET_OPTIONS.items():
            level = socket.IPPROTO_TCP if option.startswith("TCP") else socket.SOL_SOCKET
            with contextlib.suppress(AttributeError, OSError):  # a system may not have the option
                sock.setsockopt(level, getattr(socket, option), value)

    def has_line(self) -> bool:
        """Tell whether take_line() has something: a line, one too long to wait for, or the end."""
        too_long = len(self.received) > AHEAD_BYTES
        text = UNFINISHED_TELNET.sub(b"", self.received)
        return bool(self.gone) or too_long or b"\n" in text

    def take_line(self) -> str:
        """Return the next line, or what there is of it. Raise Ended if nothing is left."""
        if self.gone and not self.received:
            raise Ended(f"{self.name} {self.gone}", status=0 if self.gone == "quit" else 1)
        line, _, self.received = self.received.partition(b"\n")
        if line.endswith(b"\r"):
            line = line[:-1]
        return line.decode("utf-8", "replace")

    def receive(self) -> None:
        """Receive once, without waiting. Note the end of the conversation in `gone`, and drop what
        comes after it."""
        try:
            data = self.sock.recv(AHEAD_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            self.gone = f"was lost ({why(error)})"
        if not data:
            self.gone = self.gone or "left"  # unless it was lost, here or in send()
        # IAC IP stays for the search below, and a command stays until its rest has come.
        self.received = TELNET.sub(b"", self.received + data)
        # The last line may lack its newline.
        if end := QUIT_LINE.search(self.received + (b"\n" if self.gone else b"")):
            self.gone = "quit"
            self.received = self.received[: end.start()]

    def send(self, text: str) -> None:
        """Send what is unsent and then a text, as much as the connection takes at once. If that
        fails, note that the peer is gone; what it sent before is still received."""
        self.unsent += text.encode("utf-8", "replace")
        try:
            with contextlib.suppress(BlockingIOError):
                self.unsent = self.unsent[self.sock.send(self.unsent, socket.MSG_DONTWAIT) :]
        except OSError as error:
            self.unsent = b""
            self.gone = f"was lost ({why(error)})"
            self.receive()

    def say_goodbye(self, farewell: str) -> None:
        """Close the connection. If there is a last line, send it first, and read until the peer has
        closed too: to close with unread data sends a reset, which may overtake the line (RFC 1122,
        4.2.2.13)."""
        deadline = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(OSError), self.sock:  # the peer is gone, or does not read
            if farewell:
                self.sock.settimeout(GOODBYE_SECONDS)
                self.sock.sendall(self.unsent + f"{farewell}\n".encode("utf-8", "replace"))
                self.sock.shutdown(socket.SHUT_WR)
                while (left := deadline - time.monotonic()) > 0:
                    self.sock.settimeout(left)
                    if not self.sock.recv(AHEAD_BYTES):
                        break
                    time.sleep(0.01)  # so that a flood does not keep a core busy


KEYBOARD, STDOUT, STDERR = 0, 1, 2  # descriptors
READ_BYTES = 4096  # at once
PIPED_CHARACTERS = 64 * 1024  # kept of a piped line, which may be endless; it is no message
STUCK_SECONDS = 0.1  # to wait for a slow reader of stdout or stderr, when the program has to end
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SIGNAL_STATUS = 128  # plus the number of a signal: the exit status after it
ERASE = "\r\x1b[K"  # the row of the cursor (ECMA-48, EL)
MARK_PASTES, MARK_NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"  # with PASTE_START and PASTE_END (xterm)


class Person:
    """The person here: keyboard, screen, the terminal's modes, signals, and `wait_once`, the only
    place that waits, besides `Peer.say_goodbye` (and a stop).

    A signal only writes its number into a pipe (signal.set_wakeup_fd). That ends the wait, and what
    the signal asks for is done then. So no signal interrupts anything halfway.
    """

    def __init__(self) -> None:
        """Raise OSError if there are no descriptors left."""
        streams = (sys.stdin, sys.stdout, sys.stderr)
        for stream in streams:
            if stream is None:  # it is closed: no socket may get its number
                os.open(os.devnull, os.O_RDWR)
        self.signal_pipe, signals_in = os.pipe()
        os.set_blocking(self.signal_pipe, False)
        os.set_blocking(signals_in, False)
        signal.set_wakeup_fd(signals_in, warn_on_full_buffer=False)
        self.signals: set[int] = set()  # that have come and are not yet obeyed
        self.encodings = [stream.encoding if stream else "utf-8" for stream in streams]
        self.decoder = codecs.getincrementaldecoder(self.encodings[KEYBOARD])("replace")
        self.at_terminal = os.isatty(KEYBOARD)
        knows_escapes = os.environ.get("TERM", "") not in ("", "dumb")
        # Whether there can be a row. shows_row() tells whether it is on the screen now.
        self.has_row = self.at_terminal and os.isatty(STDOUT) and knows_escapes
        self.row = Row()
        self.typed = ""  # where there is no row
        self.prompt = ""  # at one's own turn
        self.modes_found: list[Any] = []  # those before take_terminal(); [] if not taken
        self.must_end: Ended | None = None  # why the program has to end; None if it need not

    def __enter__(self) -> None:
        """From now on signals are only noted, and the terminal passes on keys."""
        row_signals = (signal.SIGTSTP, signal.SIGWINCH) if self.has_row else ()
        for signum in (*ENDING_SIGNALS, signal.SIGCONT, *row_signals):
            if signal.getsignal(signum) != signal.SIG_IGN:  # nohup, or & in a script, ignores it
                signal.signal(signum, lambda *_: None)  # its number in the pipe says it all
        # chatclient blocks them as soon as it is connected.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        self.take_terminal()

    def __exit__(self, *_: object) -> None:
        """Give the terminal back. From now on signals change nothing, not even the exit status."""
        self.must_end = self.must_end or Ended("")  # write() then waits only STUCK_SECONDS
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        self.leave_terminal()
        self.forget_typed()  # so that a shell does not get it

    def take_terminal(self) -> None:
        """Have the terminal pass on keys, without echo. In the background, stop instead; once it is
        continued, obey_signals() sees the SIGCONT, and calls this."""
        if self.has_row and in_background():
            self.stop()
        elif self.has_row:
            with contextlib.suppress(termios.error):  # the terminal has hung up
                # After a SIGSTOP the terminal may still have our modes: those found before count.
                found = self.modes_found or termios.tcgetattr(KEYBOARD)
                modes = termios.tcgetattr(KEYBOARD)  # a list of its own, to be changed
                modes[0] &= ~(termios.IXON | termios.ICRNL)  # iflag (termios(3))
                modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)  # lflag
                # Else Ctrl-C drops keys that select() has reported, and then read() waits.
                modes[3] |= termios.NOFLSH
                modes[6][termios.VMIN] = 1  # cc: a read() has to wait for one key, not for more
                termios.tcsetattr(KEYBOARD, termios.TCSANOW, modes)
                self.modes_found = found
                self.write(STDOUT, MARK_PASTES)

    def leave_terminal(self) -> None:
        """Give the terminal back as it was found."""
        if self.shows_row():
            with contextlib.suppress(termios.error):  # it has hung up
                termios.tcsetattr(KEYBOARD, termios.TCSANOW, self.modes_found)
            self.modes_found = []
            self.write(STDOUT, ERASE + MARK_NO_PASTES)

    def stop(self) -> None:
        """Stop the process, and those started with it, as Ctrl-Z does, if there still is a reason:
        a SIGTSTP that no SIGCONT has undone, or being in the background; and if the program need
        not end. The kernel does not stop what nobody could continue (setpgid(2), orphaned)."""
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)  # the one sent here is not noted
        # Block and send SIGTSTP; then check the reason; then unblock it, which stops the process. A
        # SIGCONT meanwhile, the shell's or the one sent below, cancels the SIGTSTP that is blocked
        # (POSIX, 2.4.1). If the check came first, a SIGCONT right after it would change nothing,
        # and nobody would continue the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        self.read_signals()
        if self.must_end or not (signal.SIGTSTP in self.signals or in_background()):
            os.killpg(os.getpgrp(), signal.SIGCONT)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])  # the process stops here
        signal.signal(signal.SIGTSTP, handler)
        self.read_signals()

    def read_signals(self) -> None:
        """Read which signals have come. If one of them ends the program, note that; the terminal
        may then not stop it any more."""
        with contextlib.suppress(OSError):
            for signum in os.read(self.signal_pipe, READ_BYTES):
                self.signals.add(signum)
                if signum == signal.SIGCONT:  # it was sent to undo the stop
                    self.signals.discard(signal.SIGTSTP)
        ending = self.signals.intersection(ENDING_SIGNALS)
        if ending and not self.must_end:  # the order of several at once is unknown
            self.must_end = Ended("you quit", QUIT, SIGNAL_STATUS + min(ending))
            signal.signal(signal.SIGTTIN, signal.SIG_IGN)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def obey_signals(self) -> None:
        """Do what the signals that have come ask for, unless the program has to end."""
        if signal.SIGTSTP in self.signals and not self.must_end:
            self.read_keyboard()  # so that the shell does not get what was typed
            self.row.take_back()  # an Enter may have come after Ctrl-Z: its line is not to be sent
            self.leave_terminal()
            self.stop()
        signals, self.signals = self.signals, set()
        # SIGCONT: it was continued. SIGTSTP: stop() could not stop it, else SIGCONT had removed it.
        if signals & {signal.SIGTSTP, signal.SIGCONT} and not self.must_end:
            self.take_terminal()

    def raise_if_must_end(self) -> None:
        """Raise Ended if the program has to end."""
        if self.must_end:
            raise self.must_end

    def cannot_go_on(self, trouble: str) -> None:
        """Tell of a trouble, and note that the program has to end, unless it has to already."""
        self.read_signals()  # if the terminal has hung up, SIGHUP is the reason
        if not self.must_end:
            self.must_end = Ended("you quit", QUIT)
            self.notice(trouble)

    def wait_once(self, readers: Waitables, writers: Waitables, seconds: float) -> Waitables:
        """Wait until something can be read or written, or a signal comes, for so many seconds at
        most. Return what can be read or written."""
        timeout = None if seconds == FOREVER else seconds
        try:
            ready, writable, _ = select.select([self.signal_pipe, *readers], writers, [], timeout)
        except (OSError, ValueError) as error:  # ValueError: a descriptor beyond 1023
            self.cannot_go_on(f"cannot wait any longer: {why(error)}")
            return writers  # as if they were ready: else write() could not show that very notice
        if self.signal_pipe in ready:
            ready.remove(self.signal_pipe)
            self.read_signals()
        return ready + writable

    def wait(self, readers: Waitables, writers: Waitables, deadline: float) -> bool:
        """Wait until the person has typed a line, and return True, or until a socket can be read or
        written, or the deadline has come, a time.monotonic(), and return False. A terminal is read
        meanwhile, a pipe or a file only if KEYBOARD is in `readers`. Raise Ended if the program has
        to end."""
        if self.at_terminal and KEYBOARD not in readers:
            readers = [*readers, KEYBOARD]
        while True:
            self.obey_signals()
            has_line = self.row.press_keys() or "\n" in self.typed
            self.draw()  # after press_keys(), which may change the row
            self.raise_if_must_end()
            if has_line and KEYBOARD in readers:
                return True
            if self.signals:  # they were read by draw(), or by a stop() above
                continue
            seconds = max(0.0, deadline - time.monotonic())
            ready = self.wait_once(readers, writers, seconds)
            if KEYBOARD in ready:
                ready.remove(KEYBOARD)
                self.read_keyboard()
            if ready or seconds == 0:
                return False

    def read_keyboard(self) -> None:
        """Read once what was typed, if anything was."""
        if in_background():  # where read() would stop the process, too, or fail
            self.stop()
        # Maybe nothing is there: obey_signals() did no select(), and a shell reads during a stop().
        if KEYBOARD not in self.wait_once([KEYBOARD], [], 0):
            return
        try:
            data = os.read(KEYBOARD, READ_BYTES)
            text = self.decoder.decode(data, final=not data)
        except BlockingIOError:  # another process has set it non-blocking, and was faster
            return
        except (OSError, UnicodeError):
            # The keyboard is closed, hung up, for writing only, or in the background. Or there is
            # something that "replace" cannot replace: UTF-16 without a byte order mark.
            data, text = b"", ""
            self.at_terminal = False
        if self.has_row:
            self.row.type(text)
        else:  # CR ends a line, too. (CR LF makes an empty one, which ask() skips.)
            self.typed = self.typed[:PIPED_CHARACTERS] + text.replace("\r", "\n")
        if not data:
            self.end_input()

    def end_input(self) -> None:
        """Take the end of the input as a line `\\quit`."""
        self.read_signals()  # if the terminal has hung up, SIGHUP is the reason
        if self.has_row:
            self.row.end()
        elif self.at_terminal:  # Ctrl-D; half a line before it is dropped
            self.typed = f"{QUIT}\n"
        else:  # the last line may lack its newline
            self.typed += f"\n{QUIT}\n"
        self.at_terminal = self.at_terminal and os.isatty(KEYBOARD)  # not if it has hung up

    def take_line(self) -> str | None:
        """Return the next line typed, or None. In the row it also stays, until it is finished."""
        if self.has_row:
            return self.row.take_line()
        if "\n" not in self.typed:
            return None
        line, _, self.typed = self.typed.partition("\n")
        return line

    def forget_typed(self) -> None:
        """Forget what was typed at a terminal: it was meant for another reader."""
        if self.at_terminal:
            self.typed = ""
            self.row.forget()
            drop_unread()

    def finish_line(self) -> None:
        """Leave the line in the row on the screen, in full, and go on with an empty row."""
        if text := self.row.text():
            self.write_line(STDOUT, self.prompt + text)
            self.row.clear()
        self.prompt = ""

    def shows_row(self) -> bool:
        """Tell whether the last row of the screen is the person's, and not a shell's."""
        return bool(self.modes_found) and not in_background()

    def draw(self) -> None:
        """Draw the row, where there is one."""
        if self.shows_row():
            columns = 80
            with contextlib.suppress(OSError):  # it has hung up
                columns = os.get_terminal_size(STDOUT).columns or columns
            self.write(STDOUT, ERASE + self.row.drawing(self.prompt, columns))

    def notice(self, text: str) -> None:
        """Tell the person something about the conversation."""
        self.write_line(STDERR, f"* {harmless(text)}")

    def write_line(self, descriptor: int, line: str) -> None:
        """Write a line, in place of the row, which is drawn anew before the next wait."""
        if self.shows_row() and os.isatty(descriptor):
            line = ERASE + line
        self.write(descriptor, f"{line}\n")

    def write(self, descriptor: int, text: str) -> None:
        """Write all of it. When the program has to end, give up on a slow reader. If stdout cannot
        be written, the program has to end."""
        data = text.encode(self.encodings[descriptor], "replace")
        try:
            while data:
                seconds = STUCK_SECONDS if self.must_end else FOREVER
                if self.wait_once([], [descriptor], seconds):
                    with contextlib.suppress(BlockingIOError):  # another process set it so
                        data = data[os.write(descriptor, data) :]
                elif seconds < FOREVER:  # nobody reads
                    return
        except OSError as error:
            if descriptor == STDOUT:
                self.cannot_go_on(f"cannot write to stdout any longer: {why(error)}")


ENTER, PASTE_START, PASTE_END, ESCAPE = "\r", "\x1b[200~", "\x1b[201~", "\x1b"
BACKSPACE, DELETE = "\x7f", "\x1b[3~"
CTRL_D, CTRL_K, CTRL_U, CTRL_W = "\x04", "\x0b", "\x15", "\x17"
UP, DOWN, RIGHT, LEFT, END, HOME = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[F", "\x1b[H"
# Other codes of these keys. A terminal may send ESC O (SS3) in place of ESC [ (CSI).
CODES = {
    **{key.replace("[", "O"): key for key in (UP, DOWN, RIGHT, LEFT, END, HOME)},
    "\x10": UP, "\x0e": DOWN, "\x06": RIGHT, "\x02": LEFT, "\x08": BACKSPACE,
    "\x05": END, "\x1b[4~": END, "\x1b[8~": END, "\x01": HOME, "\x1b[1~": HOME, "\x1b[7~": HOME,
    "\n": ENTER, "\r\n": ENTER, "\x1bOM": ENTER,
    "\x1b\x1b[201~": PASTE_END,  # the first ESC was pasted
}  # fmt: skip
# What each key makes of the text before the cursor and the text behind it.
EDITS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    BACKSPACE: lambda before, behind: (before[:-1], behind),
    DELETE: lambda before, behind: (before, behind[1:]),
    LEFT: lambda before, behind: (before[:-1], before[-1:] + behind),
    RIGHT: lambda before, behind: (before + behind[:1], behind[1:]),
    HOME: lambda before, behind: ("", before + behind),
    END: lambda before, behind: (before + behind, ""),
    CTRL_U: lambda before, behind: ("", behind),
    CTRL_K: lambda before, behind: (before, ""),
    CTRL_W: lambda before, behind: (before[: before.rstrip(" ").rfind(" ") + 1], behind),
}
EDITS[CTRL_D] = EDITS[DELETE]  # where there is no text, it is the end of the input
# What was read is cut into characters and keys (ECMA-48, 5.4; xterm). A control character ends a
# CSI or an SS3 early; a string it makes an Alt key and text. `unfinished` is a key that is cut by
# the end of what was read; its rest is waited for. Two are complete: ESC and one of P ] X ^ _
# alone, an Alt key (hence the string has + there, not *), and CSI up to $, a key of rxvt (hence
# [ -#%-/] has no $).
KEY = re.compile(
    r"(?P<characters>[^\x00-\x1f\x7f]+)"
    r"|(?P<unfinished>\x1b(\[M[^\x00-\x1f]{0,2}|\x1b?\[\[?[0-?]*[ -#%-/]*|\x1b?O[0-?]*"
    r"|[P\]X^_][^\x00-\x1f]+\x1b?|\x1b)?\Z)"  # a start of one of the next four lines
    r"|\x1b\[M[^\x00-\x1f]{3}"  # a report of the mouse
    r"|\x1b\x1b?\[\[?[0-?]*(\$|[ -/]*[@-~]?)"  # CSI; with Alt; of a function key (Linux, rxvt)
    r"|\x1b\x1b?O[0-?]*[@-~]?"  # SS3; with Alt
    r"|\x1b[P\]X^_][^\x00-\x1f]*(\x07|\x1b\\)"  # a string, such as a terminal's answer
    r"|\x1b[ -/]+[0-~]|\x1b.?"  # such as a choice of a character set; another key with Alt
    r"|\r\n|.",
    re.DOTALL,
)
SAVE_CURSOR, RESTORE_CURSOR = "\x1b7", "\x1b8"  # DECSC, DECRC


class Row:
    """The line that is being typed. Keys go in; lines, and a drawing of one row, come out."""

    def __init__(self) -> None:
        self.before = ""  # the text before the cursor
        self.behind = ""  # and behind it
        self.entered: str | None = None  # the line, from its Enter on, until it is taken
        self.unread = ""  # keys behind that Enter, or an unfinished key
        self.last = ""  # the last character that was read, as CR LF may come in two parts
        self.pasting = False  # whether a paste is still going on
        self.history = [""]  # what is half typed; then the messages, newest first
        self.place = 0  # the index in history of what is in the row

    def text(self) -> str:
        return self.before + self.behind

    def type(self, keys: str) -> None:
        """Take in what was read from the keyboard at once."""
        if self.last == "\r" and keys.startswith("\n"):
            keys = keys[1:]
        elif keys in ("\r", "\n", "\r\n"):  # an Enter that comes alone was not pasted
            self.pasting = False
        # An Esc that came alone does not make an Alt of the next key, but may begin a sequence.
        if self.unread == ESCAPE and not keys.startswith(("[", "O")):
            self.unread = ""
        self.last = keys[-1:]
        self.unread += keys
        self.press_keys()

    def press_keys(self) -> bool:
        """Do what the unread keys say, up to an Enter; those behind it wait until its line is
        taken. Tell whether a line waits to be taken."""
        done = 0
        for key in KEY.finditer(self.unread):
            if self.entered is not None or key["unfinished"]:
                break
            done = key.end()
            if key["characters"]:
                self.before += UNSAFE.sub("", key["characters"])
            else:
                self.press(CODES.get(key.group(), key.group()))
        self.unread = self.unread[done:]
        return self.entered is not None

    def press(self, key: str) -> None:
        """Do what a key says. (Characters do not come here.) Most keys do nothing."""
        if key in (PASTE_START, PASTE_END):
            self.pasting = key == PASTE_START
        elif key == "\t" or (self.pasting and key == ENTER):
            self.before += " "
        elif self.pasting:  # no other key does anything in a paste
            pass
        elif key == ENTER:
            self.entered = self.text()
        elif key == CTRL_D and not self.text():
            self.end()
        elif key in (UP, DOWN):
            self.recall(self.place + (1 if key == UP else -1))
        elif key in EDITS:
            self.before, self.behind = EDITS[key](self.before, self.behind)

    def recall(self, place: int) -> None:
        """Call back a message, or what was half typed."""
        if 0 <= place < len(self.history):
            if self.place == 0:
                self.history[0] = self.text()
            self.place = place
            self.before, self.behind = self.history[place], ""

    def end(self) -> None:
        """Take the end of the input as a line `\\quit`. What is half typed stays."""
        self.entered = QUIT

    def take_line(self) -> str | None:
        """Return the line that was entered, or None. Its text stays until it is cleared."""
        self.press_keys()
        line, self.entered = self.entered, None
        return line

    def take_back(self) -> None:
        """Take back an Enter. Its line is half typed again, and the keys behind it are lost."""
        if self.entered is not None:  # else what is unread stays, such as an unfinished key
            self.entered = None
            self.unread = ""

    def remember(self, message: str) -> None:
        """Keep a message for arrow up. To be called after clear(): then `place` is 0."""
        self.history.insert(1, message)

    def clear(self) -> None:
        """Go on without text. Keys behind the last Enter still count."""
        self.before = self.behind = ""
        self.place = 0

    def forget(self) -> None:
        """Forget what was typed. The history stays, and so does `pasting`."""
        self.take_back()
        self.clear()

    def drawing(self, prompt: str, columns: int) -> str:
        """Return what draws one row: the prompt, and the part of the text around the cursor. The
        last column stays free: terminals put the cursor differently there."""
        prompt = beginning(prompt, columns - 5)
        room = columns - 1 - width(prompt)
        reserved = width(beginning(self.behind, room // 3))  # for what is behind; it may get more
        before = beginning(self.before[::-1], room - reserved)[::-1]  # its end
        behind = beginning(self.behind, room - width(before))  # all that is free now
        return f"{prompt}{before}" + (f"{SAVE_CURSOR}{behind}{RESTORE_CURSOR}" if behind else "")


class Parser(argparse.ArgumentParser):
    """A parser of the command line, with what both scripts need."""

    def print_help(self, file: object = None) -> None:
        """Write the help to stdout, not through sys.stdout, which would show a failure once more at
        the exit. If it fails, exit with 1, or with 0 if stdout was closed: that is no error."""
        try:
            os.write(STDOUT, self.format_help().encode())
        except OSError:
            sys.exit(0 if sys.stdout is None else 1)

    def port_number(self, text: str, lowest: int) -> int:
        """Return the number of a port. Exit if the text is not one from `lowest` to 65535."""
        if not re.fullmatch("[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
            self.error(f"PORT is a number from {lowest} to 65535, not {text!r}")
        return int(text)


# C0 except tab; DEL and C1; separators, bidirectional embeddings and overrides; and isolates.
UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return a text with escapes in place of what a terminal must not get."""

    def escape(unsafe: re.Match[str]) -> str:
        code = ord(unsafe.group())
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return UNSAFE.sub(escape, text)


def username_fault(name: str) -> str:
    """Return what is wrong with a username, or ""."""
    fits = 1 <= len(name) <= USERNAME_CHARACTERS and name.isprintable() and " " not in name
    if fits and name != SERVER_NAME:
        return ""
    return f"{name[: 2 * USERNAME_CHARACTERS]!r} is no username: {USERNAME_RULE}"


def message_fault(text: str) -> str:
    """Return what is wrong with a message, or ""."""
    if len(text) > MESSAGE_CHARACTERS:
        return f"{len(text)} characters, {MESSAGE_CHARACTERS} at most"
    return ""


def width(text: str) -> int:
    """Return how many columns a text takes at most: terminals disagree about emoji with a variation
    selector (U+FE0F), and about joined ones."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    # That selector counts, as it may make a character wide.
    marks = sum(unicodedata.category(char) in ("Mn", "Me") for char in text.replace("\ufe0f", "_"))
    return len(text) + wide - marks


def beginning(text: str, columns: int) -> str:
    """Return as much of a text as fits into so many columns."""
    for count, char in enumerate(text):
        columns -= width(char)
        if columns < 0:
            return text[:count]
    return text


def place(host: str, port: int) -> str:
    """Return what a notice calls a host and a port. An empty host is shown as ''."""
    return f"{host or repr('')} port {port}"


def addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """Return everything that a host's name means, IPv4 first, each with its family at the beginning
    and its address at the end. Raise OSError or UnicodeError."""
    name = host.encode("ascii" if host.isascii() else "idna")  # loading idna takes long
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return sorted(found, key=lambda entry: entry[0] != socket.AF_INET)


def why(error: Exception) -> str:
    """Return in plain words why a system call, or the look-up of a host, failed."""
    # socket.create_server() adds "(while attempting to bind ...)" to the reason.
    plain = "it is not the name of a host" if isinstance(error, UnicodeError) else error
    return str(getattr(error, "strerror", None) or plain).partition(" (while")[0]


def cannot(what: str) -> NoReturn:
    """End the program before there is a conversation: tell what it cannot do."""
    drop_unread()  # so that a shell does not get it
    sys.exit(harmless(f"* cannot {what}"))


def drop_unread() -> None:
    """Drop what was typed at a terminal and not read. In the background it is the shell's."""
    if not in_background():
        with contextlib.suppress(termios.error):  # it is no terminal, or has hung up
            termios.tcflush(KEYBOARD, termios.TCIFLUSH)


def in_background() -> bool:
    """Tell whether the terminal's keyboard belongs to other processes, such as the shell."""
    with contextlib.suppress(OSError):  # it is no terminal, or not that of this session
        return os.tcgetpgrp(KEYBOARD) != os.getpgrp()
    return False


if __name__ == "__main__":
    sys.exit(main())
