"""What holds the project together: the shared block, the Makefile, the README."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import unittest
from itertools import zip_longest

from harness import CLIENT, DEADLINE, ROOT, SERVER, USERNAME_SECONDS, ChatTest, main

FIRST_IMPORT = "from __future__"
BEHIND_IMPORTS = "HELP = "
MARKER = "# ===="


def part(script: pathlib.Path, start: str, end: str = "") -> list[tuple[int, str]]:
    """Return the numbered lines from the first one that starts with `start` to the one before that
    which starts with `end`, or to the last."""
    lines = list(enumerate(script.read_text().splitlines(), 1))
    first = next(i for i, (_, line) in enumerate(lines) if line.startswith(start))
    behind = (i for i, (_, line) in enumerate(lines) if end and line.startswith(end))
    return lines[first : next(behind, len(lines))]


class Scripts(unittest.TestCase):
    def test_both_can_be_started_by_their_names(self) -> None:
        for script in (SERVER, CLIENT):
            result = subprocess.run(
                [str(script), "--help"], capture_output=True, timeout=DEADLINE, check=False
            )
            self.assertEqual(result.returncode, 0)


class SharedPart(unittest.TestCase):
    def assert_same(self, start: str, end: str, at_least: int) -> None:
        server, client = part(SERVER, start, end), part(CLIENT, start, end)
        self.assertGreater(len(server), at_least)
        for (here, one), (there, other) in zip_longest(server, client, fillvalue=(0, "")):
            self.assertEqual(one, other, f"chatserve.py:{here} and chatclient.py:{there} differ")

    def test_everything_below_the_marker_is_the_same_in_both_scripts(self) -> None:
        self.assert_same(MARKER, "", at_least=400)

    def test_the_imports_are_the_same_in_both_scripts(self) -> None:
        self.assert_same(FIRST_IMPORT, BEHIND_IMPORTS, at_least=15)


class Numbers(unittest.TestCase):
    def test_those_of_the_contract_that_are_too_long_to_be_waited_for(self) -> None:
        for script in (SERVER, CLIENT):
            numbers = runpy.run_path(str(script))
            self.assertEqual(numbers["USERNAME_SECONDS"], USERNAME_SECONDS)
            self.assertEqual(numbers["BELL_SECONDS"], 10)
            liveness = numbers["SOCKET_OPTIONS"]
            self.assertEqual(liveness["TCP_KEEPIDLE"] + liveness["TCP_KEEPINTVL"] * liveness["TCP_KEEPCNT"], 60)
            self.assertEqual(liveness["TCP_USER_TIMEOUT"], 60_000)
        self.assertEqual(numbers["CONNECT_SECONDS"], 10)


class Checkout(ChatTest):
    """A copy of the project, for what writes into it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name, "project")
        skipped = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "server")
        shutil.copytree(ROOT, self.folder, ignore=skipped)


@unittest.skipUnless(shutil.which("make"), "there is no make here")
class Make(Checkout):
    def make(self, *arguments: str) -> str:
        """Run make, and return what it shows."""
        environment = {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}
        make = self.start("make", "-C", str(self.folder), *arguments, env=environment)
        self.assertEqual(make.status(), 0, make.err.so_far())
        return make.out.all()

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}

    def test_make_builds_the_server_and_clean_removes_what_was_built(self) -> None:
        before = self.files()
        self.make()
        built = self.folder / "server"
        self.assertTrue(os.access(built, os.X_OK))
        self.assertEqual(built.read_text(), SERVER.read_text())
        for cache in ("__pycache__", "tests/__pycache__", ".mypy_cache", ".ruff_cache"):
            (self.folder / cache).mkdir()
        self.make("clean")
        self.assertEqual(self.files(), before)

    def test_install_and_uninstall(self) -> None:
        stage = self.folder.parent / "stage"
        self.make("install", f"DESTDIR={stage}", "PREFIX=/opt/chat")
        for name in ("chatserve", "chatclient"):
            installed = self.start(stage / "opt/chat/bin" / name, "--help")
            self.assertEqual(installed.status(), 0)
            self.assertTrue(os.access(stage / "opt/chat/bin" / name, os.X_OK))
        self.make("uninstall", f"DESTDIR={stage}", "PREFIX=/opt/chat")
        self.assertEqual([path for path in stage.rglob("*") if path.is_file()], [])

    def test_the_demo_shows_both_sides(self) -> None:
        shown = self.make("demo")
        self.assertRegex(shown, r"alice> hello.*\n.*server> .*")
        self.assertIn("* you quit", shown)
        self.assertIn("* server closed", shown)


class Run(Checkout):
    FILES = {
        "test_pass": "def test_it(self):\n        pass",
        "test_fail": "def test_it(self):\n        self.fail()",
        "test_skip": "def test_it(self):\n        self.skipTest('')",
        "test_broken": "def",
        "test_several": "def test_it(self):\n        for i in 1, 2:\n            with self.subTest():\n"
        "                self.fail()",
    }

    def test_the_runner_counts_and_tells_what_failed(self) -> None:
        tests = self.folder / "tests"
        for file in tests.glob("test_*.py"):
            file.unlink()
        for name, text in self.FILES.items():
            (tests / f"{name}.py").write_text(
                f"from harness import ChatTest, main\n\nclass Test(ChatTest):\n    {text}\n\nmain()\n"
            )
        for names, status, counts in (
            ([], 1, "1 passed, 3 failed, 1 skipped"),
            (["test_pass", "tests/test_skip.py"], 0, "1 passed, 0 failed, 1 skipped"),
        ):
            run = self.start(tests / "run.py", *names, flags=("-B",))
            self.assertEqual(run.status(), status, run.err.so_far())
            self.assertEqual(run.out.all().splitlines()[-1], counts)


class Readme(unittest.TestCase):
    def test_it_is_short_and_names_what_there_is(self) -> None:
        text = (ROOT / "README.md").read_text()
        self.assertLessEqual(len(text.splitlines()), 150)
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)) - {"server"}
        for target in targets:
            self.assertIn(f"make {target}", text)


if __name__ == "__main__":
    main()
