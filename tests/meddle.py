"""Run a script in which some calls of one function fail, or have a SIGTERM sent at them:

    python3 -I -S tests/meddle.py FUNCTION WHAT WHEN SCRIPT [ARGUMENT ...]

FUNCTION is a key of PLACES, or a method of a socket. WHAT is the name of an errno, with which the
call fails; or `before` or `after`, for a SIGTERM. WHEN is an expression that tells which calls these
are, of `count`, the number of the call; `here`, its number in the conversation; `conversation`, the
number of that; and `os`. stderr gets a line for each such call, and for each client accepted.
"""

from __future__ import annotations

import errno
import os
import runpy
import select
import signal
import socket
import sys
import termios
from typing import Any, Callable

_, function, what, when, *sys.argv = sys.argv
error_number = 0 if what in ("before", "after") else getattr(errno, what)
descriptor = {"keyboard": 0, "stdout": 1, "stderr": 2}.get(function)  # whose calls these are
count = here = conversation = 0
real_read, real_write = os.read, os.write


class Socket(socket.socket):
    def _accept(self) -> Any:
        global conversation, here  # noqa: PLW0603
        accepted = super()._accept()  # type: ignore[misc]
        real_write(2, b"accepted\n")
        here, conversation = 0, conversation + 1
        return accepted

    def recv(self, size: int, *flags: int) -> bytes:  # so that a conversation takes several calls
        return super().recv(min(size, 100), *flags)


PLACES: dict[str, tuple[Any, str]] = {
    "accept": (Socket, "_accept"), "select": (select, "select"), "signal": (signal, "signal"),
    "keyboard": (os, "read"), "stdout": (os, "write"), "stderr": (os, "write"),
    "tcgetattr": (termios, "tcgetattr"), "tcsetattr": (termios, "tcsetattr"), "tcflush": (termios, "tcflush"),
    "tcgetpgrp": (os, "tcgetpgrp"), "get_terminal_size": (os, "get_terminal_size"),
    "killpg": (os, "killpg"),
}  # fmt: skip


def meddled(real: Callable[..., Any], error: type[Exception]) -> Callable[..., Any]:
    """Return a function that does what a real one does, but for the calls to meddle with."""

    def call(*arguments: Any) -> Any:
        global count, here  # noqa: PLW0603
        if descriptor not in (None, arguments[0]):
            return real(*arguments)
        count, here = count + 1, here + 1
        if not eval(when):
            return real(*arguments)
        real_write(2, b"meddled\n")
        if what == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            # A close() that fails has closed nevertheless (close(2)).
            result = real(*arguments) if not error_number or function == "close" else None
        finally:
            if what == "after":
                os.kill(os.getpid(), signal.SIGTERM)
        if error_number:
            raise error(error_number, os.strerror(error_number))
        return result

    return call


place, name = PLACES.get(function, (Socket, function))
os.read = lambda descriptor, size: real_read(descriptor, min(size, 12))  # as with recv()
setattr(place, name, meddled(getattr(place, name), termios.error if place is termios else OSError))
socket.socket = Socket  # type: ignore[misc]
runpy.run_path(sys.argv[0], run_name="__main__")
