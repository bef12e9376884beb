#!/usr/bin/env python3
"""Listen on a port (0: any free one), and chat with one client at a time, in turns. A client
gives a username; then each side sends a line after the other, the client first. The line \\quit,
typed at any time, ends the conversation, and the next client is picked up. Ctrl-C closes."""

from __future__ import annotations

import signal

if __name__ == "__main__":  # so that a Ctrl-C during the imports below shows no traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import atexit
import contextlib
import os
import re
import select
import socket
import sys
import termios
import time

TYPE_CHECKING = False  # importing typing would take a fifth of the start-up
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, TextIO

    Fault = Callable[[str], str]
    Check = Callable[[], None]

# ==== What both scripts share: the same text, up to the next such line. ====
# It stands twice because each script has to work when it is copied alone to another machine. Change
# both; a test compares them.

QUIT = "\\quit"  # the line that ends a conversation, from either side
QUIT_LINE = re.compile(rb"^\\quit\r?\n", re.MULTILINE)
GREETING_START = "chatserve"  # what the first line of a server starts with
USERNAME_CHARACTERS = 10
USERNAME_SECONDS = 120  # from the greeting to the end of the username's line
MESSAGE_CHARACTERS = 500
UNREAD_BYTES = 64 * 1024  # of lines that wait for the peer's next turns, and of one read
GOODBYE_SECONDS = 1.0  # for the last line to arrive
TICK_SECONDS = 0.1  # between two looks for what cannot end a wait by itself, such as a signal
BELL_SECONDS = 10  # whoever waited for longer may be looking elsewhere
TEE_SECONDS = 0.05  # for another process, such as tee, to show the message before the prompt
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# A host that vanished is given up in a minute: on, seconds, seconds, probes, milliseconds (tcp(7)).
LIVENESS = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
LIVENESS["TCP_USER_TIMEOUT"] = 60_000
# C0 but tab; DEL and C1; separators, bidirectional embeddings and overrides; and isolates.
UNSAFE = (range(9), range(10, 32), range(127, 160), range(0x2028, 0x202F), range(0x2066, 0x206A))
ESCAPES = {c: f"\\x{c:02x}" if c < 256 else f"\\u{c:04x}" for codes in UNSAFE for c in codes}
# Keys that are no character: escape sequences, such as an arrow's (ECMA-48), and controls.
OTHER_KEYS = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|O?[ -~])?|[\x00-\x08\x0b-\x1f\x7f]")
# readline could ask for marked pastes, but after a Ctrl-D it adds an empty line to each line then.
READLINE_SETTINGS = ["set enable-bracketed-paste off", r'"\e[200~": bracketed-paste-begin']
# No bell; what is not ASCII is a character, also in the locale C, where readline would take it for
# a command with the Meta key; and the keys that would stop a terminal and continue it do nothing.
READLINE_SETTINGS += ["set bell-style none", "set convert-meta off", r'"\C-s": ""', r'"\C-q": ""']
MARK_PASTES = "\x1b[?2004h"  # so that the lines of a paste are one (xterm, "bracketed paste")
MARK_NO_PASTES = "\x1b[?2004l"


class Ended(Exception):
    """The conversation is over. `how` goes on behind a name: "alice left"; `by_us` tells whether
    it was this side's doing; `farewell` is the last line still to be sent, "" for none; `status` is
    the exit status of the client that follows."""

    def __init__(self, how: str, by_us: bool = False, farewell: str = QUIT, status: int = 1):
        self.how, self.by_us, self.farewell, self.status = how, by_us, farewell, status


def username_fault(name: str) -> str:
    """Return what is wrong with a username, or ""."""
    fits = 1 <= len(name) <= USERNAME_CHARACTERS and name.isprintable() and " " not in name
    rule = f"1 to {USERNAME_CHARACTERS} printable characters, no white space, not 'server'"
    shown = name[: 2 * USERNAME_CHARACTERS].translate(ESCAPES)
    return "" if fits and name != "server" else f"'{shown}' is no username ({rule})"


def message_fault(text: str) -> str:
    """Return what is wrong with a message, or ""."""
    too_long = len(text) > MESSAGE_CHARACTERS
    return f"{len(text)} characters, {MESSAGE_CHARACTERS} at most" if too_long else ""


def why(error: Exception) -> str:
    """Return in plain words why a system call, or the look-up of a host, failed."""
    # socket.create_server() adds "(while attempting to bind ...)" to the reason.
    plain = "it is not the name of a host" if isinstance(error, UnicodeError) else error
    return str(getattr(error, "strerror", None) or plain).partition(" (while")[0]


class Peer:
    """The other side of one connection. Nothing here waits but `close`, and a `send` to a
    connection that does not take a whole line."""

    def __init__(self, sock: socket.socket, name: str, refusal: str) -> None:
        self.sock = sock
        self.name = name  # its address, until it has another
        self.refusal = refusal  # the farewell if it breaks a rule; "{}" stands for the reason
        self.received = b""  # what has come and was not taken yet
        self.ended: Ended | None = None  # how the peer ended it, after what is in `received`
        for option, value in LIVENESS.items():
            level = socket.IPPROTO_TCP if option.startswith("TCP") else socket.SOL_SOCKET
            with contextlib.suppress(AttributeError, OSError):  # a system may not have the option
                sock.setsockopt(level, getattr(socket, option), value)

    def rename(self, name: str) -> None:
        """Give the peer a name. From now on it is sent a `\\quit` if it breaks a rule."""
        self.name, self.refusal = name, QUIT

    def broke(self, reason: str) -> Ended:
        """Return the end for a peer that broke a rule."""
        return Ended(f"broke a rule: {reason}", farewell=self.refusal.format(reason))

    def has_line(self) -> bool:
        return b"\n" in self.received

    def take_line(self) -> str:
        """Return the next line, or what there is of it, without its end."""
        line, _, self.received = self.received.partition(b"\n")
        return (line[:-1] if line.endswith(b"\r") else line).decode("utf-8", "replace")

    def receive(self) -> bool:
        """Receive once what has come; return whether anything had. Raise Ended if it is too much,
        but only note the peer's own end, as that is told after what came before it."""
        if len(self.received) > UNREAD_BYTES:
            raise self.broke(f"over {UNREAD_BYTES // 1024} KiB in a line or out of turn")
        try:
            data, how = self.sock.recv(UNREAD_BYTES, socket.MSG_DONTWAIT), "left"
        except BlockingIOError:
            return False
        except OSError as error:
            data, how = b"", f"was lost ({why(error)})"
        if not data:
            self.ended = Ended(how, farewell="")
            data = b"" if self.received[-1:] in (b"", b"\n") else b"\n"  # it ends a last line too
        self.received += data
        if quit_line := QUIT_LINE.search(self.received):
            self.received = self.received[: quit_line.start()]
            self.ended = Ended("quit", farewell="", status=0)
        return True

    def look(self) -> None:
        """Receive all that has come out of turn. Raise Ended if it is the end, or too much."""
        while not self.ended and self.receive():
            pass
        if self.ended:
            raise self.ended

    def send(self, line: str) -> None:
        """Send a line. Where that fails, note that the peer was lost, after what came from it,
        unless it had quit."""
        try:
            self.sock.sendall(f"{line}\n".encode("utf-8", "replace"))
        except OSError as error:
            with contextlib.suppress(Ended):
                self.look()
            if not (self.ended and self.ended.status == 0):
                self.ended = Ended(f"was lost ({why(error)})", farewell="")

    def close(self, farewell: str) -> None:
        """Send the last line, if there is one, and read until the peer has closed too: to close
        with something unread is a reset, which may overtake the line (RFC 1122, 4.2.2.13)."""
        deadline = time.monotonic() + GOODBYE_SECONDS
        with contextlib.suppress(OSError), self.sock:  # the peer is gone, or does not read
            if farewell:
                self.sock.settimeout(GOODBYE_SECONDS)
                self.sock.sendall(f"{farewell}\n".encode("utf-8", "replace"))
                self.sock.shutdown(socket.SHUT_WR)
                while (left := deadline - time.monotonic()) > 0:
                    self.sock.settimeout(left)
                    if not self.sock.recv(UNREAD_BYTES):
                        break
                    time.sleep(0.01)  # so that a flood does not keep a core busy


class Person:
    """The person here: keyboard, screen, terminal, signals, and the one place that waits.

    A signal is noted when it comes, and obeyed where the program waits for a person or a peer, so
    that nothing else is ever left half done. Whatever waits may therefore raise Ended.
    """

    def __init__(self) -> None:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:  # it is closed: no socket may get its number
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
            getattr(sys, name).reconfigure(errors="replace")
        self.typed = b""  # what was typed and not taken yet
        self.terminal = [0] if os.isatty(0) else []  # for select(): a keyboard where a person sits
        self.modes: list[Any] = []  # the terminal's, as found; empty while the shell has it
        self.prompt_stream = sys.stdout if os.isatty(1) else sys.stderr
        self.at_prompt = False  # whether the cursor stands behind a prompt without an Enter
        self.must_end: Ended | None = None  # why the program has to end, once it has to
        self.editor: Any = line_editor() if self.terminal and os.isatty(1) else None
        for signum in SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                signal.signal(signum, lambda signum, _: self.note_end("quit", 128 + signum))
        self.take_terminal()
        # At the exit the second one runs first: from then on, a signal does not change the status.
        atexit.register(self.leave_terminal)
        atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, SIGNALS)

    def take_terminal(self) -> None:
        """Note how the terminal is found, and prepare it. From here on, Ctrl-Z is only noted."""
        with contextlib.suppress(termios.error):  # it is none, or has hung up
            # In the background the modes are the shell's. There, this stops the process until `fg`.
            termios.tcdrain(0)
            self.modes = termios.tcgetattr(0)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
            if self.editor:  # Ctrl-S stops nothing, and Ctrl-Z forgets nothing
                iflag, oflag, cflag, lflag, *rest = self.modes
                modes = [iflag & ~termios.IXON, oflag, cflag, lflag | termios.NOFLSH, *rest]
                termios.tcsetattr(0, termios.TCSANOW, modes)

    def leave_terminal(self) -> None:
        """Leave the terminal as it was found, and nothing that was typed to the next reader."""
        with contextlib.suppress(termios.error):
            if self.modes:
                termios.tcsetattr(0, termios.TCSAFLUSH, self.modes)
            self.modes = []

    def note_end(self, how: str, status: int = 1) -> None:
        """Note that the program has to end, and why. Only the first reason counts."""
        # A second signal changes nothing. A use of the terminal in the background does not stop it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [*SIGNALS, signal.SIGTTIN, signal.SIGTTOU])
        self.must_end = self.must_end or Ended(how, by_us=True, status=status)

    def stop_or_end(self) -> None:
        """Stop the process if Ctrl-Z was typed, and raise Ended if the program has to end."""
        if self.modes and signal.SIGTSTP in signal.sigpending():
            self.leave_terminal()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTSTP])  # it stops here
            if not self.must_end:  # to end, it need not wait for `fg`
                self.take_terminal()
        if self.must_end:
            raise self.must_end

    def select(self, readers: Any, writers: Any, seconds: float) -> Any:
        """Return what can be read, and what can be written, within so many seconds."""
        try:
            return select.select(readers, writers, [], seconds)[:2]
        except (OSError, ValueError) as error:  # ValueError: a descriptor beyond 1023
            self.note_end(f"cannot wait any longer ({why(error)})")
            return [], writers  # as if all could be written, so that a notice of this is

    def wait(self, readers: Any, writers: Any = (), seconds: float = TICK_SECONDS) -> Any:
        """Do as `select` does, read what was typed, and do as `stop_or_end` does."""
        readable, writable = self.select(readers, writers, seconds)
        if 0 in readable:
            self.read_keyboard()
        self.stop_or_end()
        return readable, writable

    def read_keyboard(self) -> None:
        """Read once what was typed. A CR is an Enter, and the end of the input a line `\\quit`."""
        try:
            data = self.interruptibly(self.stop_or_end, os.read, 0, UNREAD_BYTES)
        except BlockingIOError:  # another process has set it non-blocking, and was faster
            return
        except OSError:  # it is closed, hung up, or was opened by nohup for writing only
            data = b""
        data = data.replace(b"\r", b"\n")
        self.at_prompt = self.at_prompt and b"\n" not in data
        if not data:  # half a line before it is sent from a pipe, and not before a Ctrl-D
            self.typed, data = b"" if self.terminal else self.typed + b"\n", f"{QUIT}\n".encode()
        keys = OTHER_KEYS.sub(b"", data) if self.editor else data  # readline saw none of these
        # Of a line that goes on and on, only the start and the last part are kept.
        self.typed = self.typed[:UNREAD_BYTES] + keys

    def has_line(self) -> bool:
        return b"\n" in self.typed

    def take_line(self, remember: bool = True) -> str:
        """Return the next line typed, and remember it in the history. `\\quit` raises Ended."""
        self.stop_or_end()  # a hang-up is also an end of the input
        line, _, self.typed = self.typed.partition(b"\n")
        text = line.decode(sys.stdin.encoding, "replace")
        if text.strip() == QUIT:
            raise Ended("quit", by_us=True, status=0)
        if self.editor and remember and text.strip():
            with contextlib.suppress(ValueError):  # a NUL in it, or not in the locale's encoding
                self.editor.add_history(text)
        return text

    def forget_typed(self) -> None:
        """Forget what was typed at a terminal and not taken: it was meant for another reader."""
        if self.terminal:
            self.typed = b""
            with contextlib.suppress(termios.error):  # it has hung up
                termios.tcflush(0, termios.TCIFLUSH)

    def write(self, stream: TextIO, text: str) -> None:
        """Write all of it, unless nobody reads it and the program has to end. That stdout cannot be
        written ends the program."""
        data = text.encode(stream.encoding, "replace")
        try:
            while data:
                if self.select([], [stream], TICK_SECONDS)[1]:
                    with contextlib.suppress(BlockingIOError):  # another process has set it so
                        data = data[os.write(stream.fileno(), data) :]
                elif self.must_end:
                    return
        except OSError as error:
            if stream is sys.stdout:
                self.note_end(f"cannot write to stdout any longer ({why(error)})")

    def write_line(self, stream: TextIO, line: str) -> None:
        """Write a line of its own: below a prompt, or in place of the echo of half a line."""
        if self.at_prompt or self.editor:
            self.write(self.prompt_stream, "\n" if self.at_prompt else "\r\x1b[K")  # ECMA-48 EL
        self.at_prompt = False
        self.write(stream, f"{line}\n")

    def notice(self, text: str) -> None:
        self.write_line(sys.stderr, f"* {text.translate(ESCAPES)}")

    def prompt(self, text: str) -> None:
        """Ask for a line, if a person sits there. Where lines are edited, readline does it."""
        self.at_prompt = bool(self.terminal)
        if self.terminal and not self.editor:
            time.sleep(TEE_SECONDS)
            self.write(self.prompt_stream, text)

    def edit(self, prompt: str, look: Check) -> None:
        """Have a line edited with readline, and call `look`, which may raise, now and then. After
        Ctrl-Z, what is half typed is left to the next call."""

        def check() -> None:
            if self.must_end or signal.SIGTSTP in signal.sigpending():
                raise KeyboardInterrupt  # out of input(): the last line below obeys
            look()

        half, self.typed = self.typed.decode(sys.stdin.encoding, "replace"), b""
        self.editor.set_startup_hook(lambda: self.editor.insert_text(half))
        self.write(sys.stdout, MARK_PASTES)
        try:
            # Without `restart`, a write of readline's that is cut short would lose characters.
            text = self.interruptibly(check, input, prompt, restart=True)
            text = text.replace("\n", " ") + "\n"
            self.at_prompt = False
        except EOFError:
            text = f"{QUIT}\n"
        except KeyboardInterrupt:
            text = self.editor.get_line_buffer().replace("\n", " ")
        finally:
            self.write(sys.stdout, MARK_NO_PASTES)
        self.typed = text.encode(sys.stdin.encoding, "replace")
        self.stop_or_end()

    # Some calls wait for one thing alone, as input() does for keys: that the conversation is over
    # would go unnoticed until Enter. Therefore a timer interrupts such a call now and then, and
    # what its handler raises goes through the call to the caller. (os.read() may wait, too, though
    # there was something to read: a terminal forgets what was typed before a Ctrl-C.)
    def interruptibly(self, check: Check, call: Any, *arguments: Any, restart: bool = False) -> Any:
        """Return what a function that waits returns, and call `check`, which may raise, meanwhile.
        After that a system call goes on by itself if `restart` is true (siginterrupt(3))."""

        def tick(*_: object) -> None:
            # If check() raises, it must not do so again at once, amid what that leads to. But after
            # a while it may, as readline drops what is raised amid one of its hooks.
            signal.setitimer(signal.ITIMER_REAL, 10 * TICK_SECONDS, TICK_SECONDS)
            check()
            signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)

        signal.signal(signal.SIGALRM, tick)
        signal.siginterrupt(signal.SIGALRM, not restart)
        signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
        try:
            return call(*arguments)
        finally:
            try:
                signal.signal(signal.SIGALRM, lambda *_: None)  # a tick that is due may raise here
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)


def line_editor() -> Any:
    """Return the module readline, prepared, where lines can be edited with it, or None."""
    with contextlib.suppress(ImportError):
        import readline as editor  # noqa: PLC0415 - some Pythons lack it, and few runs need it

        # The one of libedit loses keys, and spins, beneath a timer.
        if "libedit" not in str(editor.__doc__) and os.environ.get("TERM", "") not in ("", "dumb"):
            editor.set_auto_history(False)
            editor.set_completer(lambda *_: None)  # without one, keys list the files' names
            for setting in READLINE_SETTINGS:
                editor.parse_and_bind(setting)
            return editor
    return None


def show(person: Person, peer: Peer, text: str) -> None:
    """Show a message of the peer's."""
    if fault := message_fault(text):
        raise peer.broke(fault)
    person.write_line(sys.stdout, f"{peer.name}> {text.translate(ESCAPES)}")
    person.stop_or_end()


def hear(person: Person, peer: Peer, not_sent: str = "", deadline: float = float("inf")) -> str:
    """Return the peer's next line, and raise Ended if a username comes after the `deadline`, a
    time.monotonic(). A line that is typed meanwhile is not sent. The person is told why:
    `not_sent`, or whose turn it is."""
    began = time.monotonic()
    while not peer.has_line():
        if peer.ended:
            raise peer.ended
        if time.monotonic() > deadline:
            raise peer.broke(f"no username came in {USERNAME_SECONDS} s")
        person.wait([peer.sock, *person.terminal])
        peer.receive()
        while person.terminal and person.has_line():
            person.take_line()
            person.notice(f"not sent: {not_sent or f'it is the turn of {peer.name}'}")
    if time.monotonic() - began > BELL_SECONDS and person.prompt_stream.isatty():
        person.write(person.prompt_stream, "\a")
    return peer.take_line()


def ask(person: Person, peer: Peer, prompt: str, fault: Fault, remember: bool = True) -> str:
    """Return a line without fault that the person types; remember each one in the history. Ask as
    soon as the connection takes a whole line, so that to send it does not wait."""
    while True:
        writable = False
        while not writable:
            readable, writable = person.wait([peer.sock], [peer.sock])
            if readable or peer.ended:
                peer.look()
        person.prompt(prompt)
        while not person.has_line():
            if person.editor:
                person.edit(prompt, peer.look)
            elif peer.sock in person.wait([peer.sock, 0])[0]:
                peer.look()
        text = person.take_line(remember)
        wrong = fault(text) if text.strip() else "nothing but white space"
        if not wrong:
            return text
        if person.terminal:
            person.notice(f"not sent: {wrong}")
        elif text.strip():
            raise Ended(f"broke a rule: {wrong}", by_us=True)


def take_turns(person: Person, peer: Peer, name: str) -> NoReturn:
    """Send what the person types, and show what the peer sends, in turn, until Ended is raised."""
    while True:
        peer.send(ask(person, peer, f"{name}> ", message_fault))
        show(person, peer, hear(person, peer))


def close(person: Person, peer: Peer, end: Ended) -> Ended:
    """Show what came before the peer's end, tell of the end, and say goodbye. Return the end
    that counts: showing what came before it may bring up a worse one."""
    try:
        while end is peer.ended and peer.has_line():
            show(person, peer, peer.take_line())
    except Ended as worse:
        end = worse
    person.notice(f"{'you' if end.by_us else peer.name} {end.how}")
    peer.close(end.farewell)
    return end


# ==== The end of what both scripts share. ====


PAUSE_SECONDS = 1.0  # for a person in a line to a client that is gone, or where accept() failed


def converse(person: Person, peer: Peer) -> None:
    """Greet a client that was picked up, learn its username, and take turns. A client whose
    username breaks a rule is told why it is refused."""
    try:
        person.forget_typed()
        person.notice(f"{peer.name} connected; take turns, {QUIT} ends")
        peer.send(f"{GREETING_START} here: send a username, then take turns; {QUIT} ends")
        name = hear(person, peer, deadline=time.monotonic() + USERNAME_SECONDS)
        if fault := username_fault(name):
            raise peer.broke(fault)
        person.notice(f"{peer.name} is {name}")
        peer.rename(name)
        show(person, peer, hear(person, peer))
        person.forget_typed()  # what was typed before the first prompt was for somebody else
        take_turns(person, peer, "server")
    except Ended as end:
        in_a_line = person.at_prompt and not end.by_us
        close(person, peer, end)
        person.wait([], seconds=PAUSE_SECONDS if in_a_line else 0)


def serve(person: Person, listener: socket.socket, address: str) -> NoReturn:
    """Pick up one client after the other, until Ended is raised because the program has to end."""
    while True:
        person.notice(f"waiting on {address} (Ctrl-C closes)")
        while not person.wait([listener])[0]:
            pass
        try:
            sock, client = listener.accept()
            peer = Peer(sock, f"{client[0]} port {client[1]}", f"{GREETING_START}: {{}}")
        except OSError as error:  # the network's errors come here too (accept(2))
            person.notice(f"cannot pick up a client: {why(error)}; trying again")
            person.wait([], seconds=PAUSE_SECONDS)
        else:
            converse(person, peer)


def main() -> int:
    """Listen, and serve; return the exit status."""
    person = Person()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost", help="where to listen (%(default)s)")
    parser.add_argument("port", metavar="PORT", help="a number from 0 (any free port) to 65535")
    # Before Python 3.11, argparse leaves a traceback where stdout is gone.
    parser.print_help = lambda _=0: person.write(sys.stdout, parser.format_help())  # type: ignore
    args = parser.parse_args()
    if not (args.port.isdecimal() and len(args.port) < 6 and int(args.port) <= 65535):
        parser.error(f"PORT is a number from 0 to 65535, not {args.port!r}")
    where = f"{args.host} port {args.port}"
    try:
        found = socket.getaddrinfo(args.host, int(args.port), type=socket.SOCK_STREAM)
        family, *_, address = min(found)  # IPv4 goes first
        listener = socket.create_server(address, family=family)
        where = f"{args.host} port {listener.getsockname()[1]}"
    # LookupError: the codec for names of hosts, which Python loads only here, could not be loaded.
    except (OSError, UnicodeError, LookupError) as error:
        person.notice(f"cannot listen on {where}: {why(error)}; try another PORT or HOST")
        return 1
    try:
        serve(person, listener, where)
    except Ended as end:
        by_signal = end.status > 128
        person.notice("server closed" if by_signal else f"server closed: it {end.how}")
        return 0 if by_signal else end.status


if __name__ == "__main__":
    sys.exit(main())
