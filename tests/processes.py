"""Processes that do not outlive the one that started them, however that one ends.

A process that is still running when its starter exits is killed (`atexit`, also after a signal
if `end_on_signals` was called). On Linux the kernel does it as well, which helps even against a
SIGKILL. Each process has a session of its own, so a Ctrl-C at the terminal reaches its starter
alone, and is killed together with its own children.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from typing import Any, Callable, Sequence

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # the number of the request in prctl(2): be sent a signal when the parent ends

started: set[subprocess.Popen[bytes]] = set()  # those that may be running yet
prctl: Any = None
if sys.platform == "linux":
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        prctl = ctypes.CDLL(None).prctl


def start(
    command: Sequence[str], in_child: Callable[[], None] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process. `in_child` is called in it before the command, options are Popen's."""
    parent = os.getpid()

    def prepare() -> None:
        if prctl:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before it could be asked for
                os._exit(1)
        for number in (*ENDING_SIGNALS, signal.SIGQUIT):  # nohup or & may have had them ignored
            signal.signal(number, signal.SIG_DFL)
        if in_child:
            in_child()

    process = subprocess.Popen(  # there are no threads that could make a preexec_fn hang
        command, preexec_fn=prepare, start_new_session=True, **options  # noqa: PLW1509
    )
    started.add(process)
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, if it has not ended, and wait until it has."""
    if process.returncode is None:  # so its number is still its own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    started.discard(process)


@atexit.register
def kill_all() -> None:
    """Kill every process that is still running."""
    for process in list(started):
        kill(process)


def end_on_signals() -> None:
    """Have each signal that ends a process raise KeyboardInterrupt, so that cleaning up is done."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler)
