"""Run the test files side by side: `python3 tests/run.py [NAME ...]`, all of them without a name.

A file stops at its first failing test, and its output is shown in one piece when it is done. The
last line says how many tests passed, failed (also by an error, and one for a file that crashed or
did not end in time) and were skipped. The exit status is 1 if one failed.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import processes

FOLDER = pathlib.Path(__file__).resolve().parent
LONGEST = ("test_failing", "test_terminal", "test_hostile", "test_endings", "test_fuzz")  # to be started first
AT_ONCE = max(8, 4 * (os.cpu_count() or 1))  # a test mostly waits
LIMIT = 180.0  # seconds for all files together, far more than a busy machine needs
GRACE = 3.0  # seconds for a test file to clean up when it is told to end
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped\n\Z", re.M)


class TestFile:
    """A test file that runs in a process of its own, with its output in a temporary file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when it is garbage
        self.process = processes.start(
            [sys.executable, "-B", str(FOLDER / f"{name}.py"), "--failfast"],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> None:
        """Wait until it has ended, as it was told; it is killed if it takes too long."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            processes.kill(self.process)

    def report(self, trouble: str = "") -> list[int]:
        """Show what it wrote, and return how many of its tests passed, failed, were skipped."""
        self.output.seek(0)
        text = self.output.read().decode("utf-8", "replace")
        found = COUNTS.search(text)
        counts = [int(number) for number in found.groups()] if found else [0, 0, 0]
        if not found or (self.process.returncode != 0 and not counts[1]):
            trouble = trouble or f"it ended without its counts, with exit status {self.process.returncode}"
        if trouble:
            counts[1] += 1
        print(f"---- {self.name}: {trouble}".rstrip(": "), text, sep="\n", flush=True)
        return counts


def chosen(arguments: list[str]) -> list[str]:
    """Return the names of the files to run, those that take longest first."""
    names = sorted(path.stem for path in FOLDER.glob("test_*.py"))
    wanted = [pathlib.Path(argument).stem for argument in arguments] or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    return sorted(wanted, key=lambda name: (*LONGEST, name).index(name))


def end_all(files: list[TestFile]) -> None:
    """End files before their time. Each kills what it started."""
    for file in files:
        file.process.terminate()
    for file in files:
        file.end()


def run(waiting: list[str]) -> list[int]:
    """Run the files, and return how many tests passed, failed and were skipped."""
    deadline = time.monotonic() + LIMIT
    running: list[TestFile] = []
    reports: list[list[int]] = []
    try:
        while (waiting or running) and time.monotonic() < deadline:
            while waiting and len(running) < AT_ONCE:
                running.append(TestFile(waiting.pop(0)))
            for file in [file for file in running if file.has_ended()]:
                running.remove(file)
                reports.append(file.report())
            time.sleep(0.05)  # no descriptor becomes readable when a process ends
        end_all(running)
        reports += [file.report(f"it did not end within {LIMIT:.0f} s") for file in running]
        reports += [[0, 1, 0] for _ in waiting]
    finally:
        end_all(running)
    return [sum(column) for column in zip(*reports)]


def main() -> None:
    processes.end_on_signals()
    try:
        passed, failed, skipped = run(chosen(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
