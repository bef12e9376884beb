"""The row alone, a plain object: keys go in; lines, and a drawing of the row, come out."""

from __future__ import annotations

import importlib.util
import random
import re
import unicodedata
import unittest
from typing import Any

from harness import (
    BACKSPACE, CTRL_D, DELETE, DOWN, END, ENTER, ESCAPE, HOME, LEFT, PASTE, PASTE_END, RIGHT, SERVER, UP, Screen,
)  # fmt: skip

CTRL_K, CTRL_U, CTRL_W = "\x0b", "\x15", "\x17"
ACCENT, HEART, FLAG = "e\u0301", "\u2764\ufe0f", "\U0001f1eb\U0001f1f7"
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
SCRIPTS = f"na\u00efve \u041f\u0440\u0438 \u05e9\u05dc \u0939\u093f\u0902 \u65e5\u672c {ACCENT}{HEART}{FLAG}{FAMILY}"
NO_KEYS = (  # F1, F5, F12 with Shift, Insert, Page Up, Ctrl-Left, Shift-Tab, Alt-x, and the like
    "\x1bOP", "\x1b[15~", "\x1b[24;2~", "\x1b[2~", "\x1b[5~", "\x1b[1;5D", "\x1b[Z", "\x1bx", "\x1b\xe9", "\x1b\x7f",
    "\x1b[[A", "\x1bO2P", "\x1b[3;5~", "\x1b[97;5u", "\x1b[I", "\x1b[?1;2c", PASTE_END,
    *"\x00\x03\x07\x0c\x0f\x11\x12\x13\x14\x16\x18\x19\x1a\x1c\x1d\x1e\x1f", *map(chr, range(0x80, 0xA0)),
)  # fmt: skip

# What is in the row at first, with | as the cursor; keys; and what there is then: the lines that
# wait for their turn, each with a / behind it, and what is in the row. Below it, in the history, are
# "old" and "new".
CASES = [
    # Every key, in each of its codes.
    *(("one two|three", key, "one tw|three") for key in (BACKSPACE, "\x08")),
    *(("one two|three", key, "one two|hree") for key in (DELETE, CTRL_D)),
    *(("one two|three", key, "one tw|othree") for key in (LEFT, "\x1bOD", "\x02")),
    *(("one two|three", key, "one twot|hree") for key in (RIGHT, "\x1bOC", "\x06")),
    *(("one|two", key, "|onetwo") for key in (HOME, "\x1bOH", "\x1b[1~", "\x1b[7~", "\x01")),
    *(("one|two", key, "onetwo|") for key in (END, "\x1bOF", "\x1b[4~", "\x1b[8~", "\x05")),
    *(("one|two", key, "new|") for key in (UP, "\x1bOA", "\x10")),
    *(("one|two", UP + key, "onetwo|") for key in (DOWN, "\x1bOB", "\x0e")),
    *(("one|two", key, "onetwo / |") for key in (ENTER, "\n", "\r\n")),
    ("one two|three", CTRL_U, "|three"),
    ("one two|three", CTRL_K, "one two|"),
    ("one two|three", CTRL_W, "one |three"),
    (" two  words  |", CTRL_W, " two  |"),
    ("ab|", f"{LEFT}{LEFT}c{RIGHT}{BACKSPACE}{END}d", "cbd|"),
    # Where it has nothing to work on.
    *(("|x", key, "|x") for key in (BACKSPACE, LEFT, HOME, CTRL_U, CTRL_W, DOWN)),
    *(("x|", key, "x|") for key in (DELETE, CTRL_D, RIGHT, END, CTRL_K, DOWN)),
    *(("|", key, "|") for key in (BACKSPACE, DELETE, DOWN, ENTER, f"\t{ENTER}", f"\u3000 {ENTER}")),
    *(("|x", key, "|") for key in (DELETE, CTRL_D)),
    ("|", CTRL_D, r"\quit / |"),
    # Text, and what is neither text nor a key.
    ("<|>", SCRIPTS, f"<{SCRIPTS}|>"),
    ("|", f" {SCRIPTS}\t{ENTER}", f" {SCRIPTS}\t / |"),
    ("\u65e5\u672c|", BACKSPACE, "\u65e5|"),
    *(("a|c", f"{key}b", "ab|c") for key in NO_KEYS),
    # History. A change to an old line stays until Enter; then the half typed line comes back.
    ("|", f"{UP}{UP}{UP}", "old|"),
    ("half| typed", f"{UP}{UP}{DOWN}", "new|"),
    ("half| typed", f"{UP}{UP}{DOWN}{DOWN}{DOWN}", "half typed|"),
    ("half|", f"{UP}er{UP}{DOWN}", "newer|"),
    ("half|", f"{UP}er{DOWN} typed{UP}{DOWN}", "half typed|"),
    ("half|", f"{UP}er{DOWN}{UP}{ENTER}", "newer / half|"),
    ("half|", f"{UP}er{ENTER}{UP}", "newer / new|"),
    ("half|", f"{UP}er{DOWN}{ENTER}x{UP}", "half / new|"),
    # Lines that wait. Arrow up in an empty row takes the last one back.
    ("|", f"one{ENTER}two\nthree\r\nfour", "one / two / three / four|"),
    ("|", f"one{ENTER}two{ENTER}{UP}", "one / two|"),
    ("|", f"one{ENTER}two{ENTER}{UP}{ENTER}{UP}s{ENTER}", "one / twos / |"),
    ("|", f"one{ENTER}two{ENTER}{UP}{UP}{DOWN}", "one / two|"),
    ("|", f"one{ENTER}x{UP}", "one / new|"),
    # Pastes.
    ("a|d", f"{PASTE}b\rc{PASTE_END}", "ab c|d"),
    ("|", f"{PASTE}one\r\ntwo\nthree\r{PASTE_END}{ENTER}", "one two three  / |"),
    ("|", f"{PASTE}\\quit\r{PASTE_END}", r"\quit |"),
    ("|", f"{PASTE}a\tb\x1b[31mred{UP}\x08\x00{CTRL_U}{CTRL_D}{ESCAPE}{PASTE_END}{BACKSPACE}", "a\tbre|"),
    ("|", f"{PASTE}one{ENTER}and its end is lost", "one and its end is lost|"),
]  # fmt: skip

KEYS = (
    "a", "b c", "\u65e5", ACCENT, HEART, FLAG, FAMILY, "\t", "\\quit", ENTER, ENTER, "\n", BACKSPACE, DELETE, LEFT, LEFT, RIGHT, HOME, END,
    UP, UP, DOWN, CTRL_D, CTRL_K, CTRL_U, CTRL_W, f"{PASTE}x{PASTE_END}", f"{PASTE}one\rtwo \x1b[1m{UP}{PASTE_END}", *NO_KEYS[:30],
)  # fmt: skip


def load(path: Any) -> Any:
    """Return a script as a module."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


SCRIPT = load(SERVER)


def row_after(*packets: str, text: str = "|") -> Any:
    """Return a row that has a text, with a cursor in it, after some packets of keys came."""
    row = SCRIPT.Row()
    row.history += ["old", "new"]
    row.before, _, row.after = text.partition("|")
    for packet in packets:
        row.type(packet)
    return row


def state(row: Any) -> str:
    return " / ".join([*row.lines, f"{row.before}|{row.after}"])


def some_keys(source: random.Random) -> list[str]:
    return [source.choice(KEYS) for _ in range(source.randrange(60))]


class Keys(unittest.TestCase):
    def test_each_key_in_one_packet_and_cut_into_two_at_every_byte(self) -> None:
        for text, keys, expected in CASES:
            for cut in range(len(keys)):
                if keys[cut - 1 : cut + 1] != "\r\n":  # which would be two Enters
                    with self.subTest(text=text, packets=(keys[:cut], keys[cut:])):
                        self.assertEqual(state(row_after(keys[:cut], keys[cut:], text=text)), expected)

    def test_an_enter_that_comes_alone_ends_a_paste_whose_end_is_lost(self) -> None:
        for enter in (ENTER, "\n", "\r\n"):
            self.assertEqual(state(row_after(f"{PASTE}one\rtwo", enter)), "one two / |")

    def test_keys_are_the_same_in_packets_of_any_size(self) -> None:
        for seed in range(300):
            source = random.Random(seed)
            keys = some_keys(source)
            # An Enter alone in a packet is never pasted, so none has a size of 1.
            packets = re.findall(f"(?s).{{2,{source.choice((2, 3, 9, 50))}}}|.", "".join(keys))
            with self.subTest(seed=seed, keys=keys, packets=packets):
                self.assertEqual(state(row_after(*packets)), state(row_after(*keys)))

    def test_no_control_character_is_ever_in_a_line(self) -> None:
        for seed in range(300):
            source = random.Random(seed)
            text = "".join(chr(source.randrange(256)) for _ in range(40))
            row = row_after(PASTE * (seed % 2) + text, *some_keys(source))
            for line in (*row.lines, row.before, row.after):
                self.assertNotRegex(line, "[\x00-\x08\x0a-\x1f\x7f-\x9f]", f"seed {seed}")


class Drawing(unittest.TestCase):
    def drawn(self, row: Any, prompt: str, columns: int) -> str:
        """Return what shows, with | as the cursor, but without what takes no column."""
        screen = Screen(columns, has_shell=False)
        screen.cells = [""]  # so that a mark may come first
        screen.show(row.drawing(prompt, columns))
        self.assertLessEqual(len(screen.cells), columns, "it is drawn in one row")
        return plain(screen.row("|"))

    def test_a_line_is_shown_around_the_cursor(self) -> None:
        for prompt, text, columns, expected in (
            ("bob>", "|", 20, "bob> |"),
            ("bob>", "you \u4f60\u597d|!", 20, "bob> you \u4f60\u597d|!"),
            ("bob>", "0123456789abcd|", 20, "bob> 0123456789abcd|"),
            ("bob>", "0123456789abcdefg|", 20, "bob> 3456789abcdefg|"),
            ("bob>", "|0123456789abcdefg", 20, "bob> |0123456789abcd"),
            ("bob>", "0123456789\u4f60\u597d\u4f60|", 20, "bob> 23456789\u4f60\u597d\u4f60|"),
            ("bob>", f"{ACCENT * 10}0123|", 20, "bob> eeeeeeeeee0123|"),
            ("bob>", "0123456789\u4f60\u597d\u4f60|", 21, "bob> 123456789\u4f60\u597d\u4f60|"),
            ("(a long prompt)", "0123456789abcd|", 20, "(a long p 56789abcd|"),
            ("(a long prompt)", "0123456789abcd|", 40, "(a long prompt) 0123456789abcd|"),
            ("(\u4f60\u597d\u4f60\u597d\u4f60's turn)", "0123456789|", 20, "(\u4f60\u597d\u4f60\u597d 123456789|"),
        ):  # fmt: skip
            with self.subTest(prompt=prompt, text=text, columns=columns):
                self.assertEqual(self.drawn(row_after(text=text), prompt, columns), expected)

    def test_any_line_fits_into_any_row_with_the_cursor_at_its_place(self) -> None:
        for seed in range(300):
            source = random.Random(seed)
            row = row_after(*some_keys(source), *some_keys(source))
            for columns in (1, 2, 5, 20, 40, 80):
                with self.subTest(seed=seed, columns=columns):
                    prompt = source.choice((">", "\uff1e")) * source.randrange(30)  # which is wide
                    before, after = self.drawn(row, prompt, columns).split("|")
                    shown = before.lstrip(">\uff1e")[1:]
                    room = max(0, columns // 2 - 1) // (2 if "\uff1e" in prompt else 1)
                    self.assertEqual(len(before) - len(shown) - 1, min(len(prompt), room))
                    self.assertTrue(plain(row.before).endswith(shown), before)
                    self.assertTrue(plain(row.after).startswith(after), after)
                    if columns >= 20:
                        self.assertEqual(shown == "", plain(row.before) == "")
                        self.assertEqual(after == "", plain(row.after).strip() == "")


def plain(text: str) -> str:
    """Return a text as it shows, without its characters that have no column of their own."""
    return "".join(c for c in text.replace("\t", " ") if unicodedata.category(c)[0] not in "MC")


if __name__ == "__main__":
    unittest.main()
