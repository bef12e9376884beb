"""What holds the project together: the block that both scripts share, their size, the Makefile."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import sys
import tokenize
import unittest
from itertools import zip_longest
from pathlib import Path

from harness import CLIENT, ROOT, SERVER, ChatTest


def part(script: Path, start: str, end: str) -> list[str]:
    """Return the lines from the one that starts with `start` to the one that starts with `end`."""
    text = script.read_text()
    begin = text.index(f"\n{start}")
    return text[begin : text.find(f"\n{end}", begin) if end else None].split("\n")


def lines_of_code(text: str) -> int:
    """Count the lines that are neither blank, nor a comment, nor a docstring."""
    tree, code = ast.parse(text), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            docstring = node.body[0]
            code -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(code)


class Scripts(ChatTest):
    def test_what_both_need_is_the_same_in_both(self) -> None:
        for start, end in (("# ==== From here", ""), ("from __future__", "    sys.exit(")):
            ours, theirs = (part(script, start, end) for script in (SERVER, CLIENT))
            self.assertGreater(len(ours), 20)
            for number, (one, other) in enumerate(zip_longest(ours, theirs)):
                self.assertEqual(one, other, f"line {number} from {start!r} on")

    def test_they_are_as_short_as_promised(self) -> None:
        for script in (SERVER, CLIENT):
            text = script.read_text()
            self.assertLessEqual(lines_of_code(text), 480, script.name)
            self.assertLessEqual(len([line for line in text.split("\n") if line.strip()]), 540)

    def test_numbers_that_take_too_long_to_be_waited_for(self) -> None:
        for line in (
            "USERNAME_SECONDS = 120", "BELL_SECONDS = 10", "QUIET_SECONDS = 3", "PAUSE_SECONDS = 1",
            "GOODBYE_SECONDS = 1", "ESCAPE_SECONDS = 0.5", "READ_BYTES = 4096",
        ):  # fmt: skip
            self.assertIn(f"\n{line}", SERVER.read_text())
        self.assertIn("\nCONNECT_SECONDS = 10 ", CLIENT.read_text())

    def test_each_starts_by_its_name_and_a_copy_needs_nothing_else(self) -> None:
        for script in (SERVER, CLIENT):
            self.start(str(script), "--help").ends(0)
            copy = shutil.copy(script, self.folder / "alone.py")
            self.start(sys.executable, "-I", str(copy), "--help").ends(0)


@unittest.skipUnless(shutil.which("make"), "there is no make here")
class Make(ChatTest):
    def make(self, *arguments: str) -> str:
        """Run make in a copy of the project, and return what it shows."""
        project = self.folder / "project"
        if not project.exists():
            ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "server")
            shutil.copytree(ROOT, project, ignore=ignored)
        variables = {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}
        make = self.start("make", "-C", str(project), *arguments, env=variables)
        make.ends(0)
        return make.out.text

    def test_it_builds_the_server_and_clean_removes_it(self) -> None:
        built = self.folder / "project" / "server"
        self.make()
        self.assertTrue(os.access(built, os.X_OK))
        self.assertEqual(built.read_text(), SERVER.read_text())
        self.make("clean")
        self.assertFalse(built.exists())

    def test_install_and_uninstall(self) -> None:
        stage = self.folder / "stage"
        self.make("install", f"DESTDIR={stage}", "PREFIX=/opt/chat")
        for name in ("chatserve", "chatclient"):
            self.start(str(stage / "opt/chat/bin" / name), "--help").ends(0)
        self.make("uninstall", f"DESTDIR={stage}", "PREFIX=/opt/chat")
        self.assertEqual([path for path in stage.rglob("*") if path.is_file()], [])

    def test_the_demo_shows_both_screens(self) -> None:
        shown = self.make("demo")
        for expected in ("(1 waiting)", "* not sent (server quit): I have", "* server closed"):
            self.assertIn(expected, shown)

    def test_the_readme_is_short_and_names_each_target(self) -> None:
        text = (ROOT / "README.md").read_text()
        self.assertLessEqual(len(text.split("\n")), 111)
        for target in set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)):
            self.assertIn(f"make {target}" if target != "server" else "./server", text)


if __name__ == "__main__":
    unittest.main()
