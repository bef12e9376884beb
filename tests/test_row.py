"""The row as a plain object: keys go in, the line and its drawing come out."""

from __future__ import annotations

import importlib.util
import random
import re
import time
import unittest
from typing import Any

from harness import (
    BACKSPACE, CTRL_D, CTRL_K, CTRL_Q, CTRL_S, CTRL_U, CTRL_W, DELETE, DOWN, END, ENTER, ESCAPE, HOME, LEFT, PASTE_START, PASTE_END, QUIT,
    RIGHT, SERVER, UP, Screen, main,
)  # fmt: skip

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"  # joined to one emoji
HEART = "\u2764\ufe0f"  # a variation selector makes it an emoji
ACCENT = "e\u0301"
EVERY_SCRIPT = f"na\u00efve \u043f\u0440\u0438\u0432\u0435\u0442 \u05e9\u05dc\u05d5\u05dd \u0939\u093f\u0928\u094d\u0926\u0940 \u65e5\u672c {FAMILY}{HEART}{ACCENT}"


def load(name: str) -> Any:
    """Return a script as a module."""
    specification = importlib.util.spec_from_file_location(name, SERVER.with_name(f"{name}.py"))
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


chatserve = load("chatserve")

# What is typed in front of "|" and behind it, with the cursor there, and then what there is. A line
# that was entered stands in front of what is left.
TEXT = "one two|three"
CASES = [
    # Each key, in every code that a terminal sends for it.
    *((TEXT, code, "one tw|three") for code in (BACKSPACE, "\x08")),
    *((TEXT, code, "one two|hree") for code in ("\x1b[3~", CTRL_D)),
    *((TEXT, code, "one tw|othree") for code in ("\x1b[D", "\x1bOD", "\x02")),
    *((TEXT, code, "one twot|hree") for code in ("\x1b[C", "\x1bOC", "\x06")),
    *((TEXT, code, "|one twothree") for code in ("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~", "\x01")),
    *((TEXT, code, "one twothree|") for code in ("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~", "\x05")),
    *((TEXT, code, "newest|") for code in ("\x1b[A", "\x1bOA", "\x10")),
    *((TEXT, UP + code, "one twothree|") for code in ("\x1b[B", "\x1bOB", "\x0e")),
    (TEXT, CTRL_U, "|three"),
    (TEXT, CTRL_K, "one two|"),
    (TEXT, CTRL_W, "one |three"),
    (TEXT, "\t", "one two |three"),
    *((TEXT, code, "one twothree\none two|three") for code in ("\r", "\n", "\r\n", "\x1bOM")),
    # Where a key has nothing to work on.
    *(("|x", key, "|x") for key in (BACKSPACE, LEFT, HOME, CTRL_U, CTRL_W, DOWN)),
    *(("x|", key, "x|") for key in (DELETE, CTRL_D, RIGHT, END, CTRL_K, DOWN)),
    ("|", DELETE + BACKSPACE, "|"),
    ("|", CTRL_D, f"{QUIT}\n|"),
    ("|", UP + UP + UP, "oldest|"),
    ("a|b", UP + "x" + UP + DOWN + DOWN, "ab|"),
    ("  two  words  |", CTRL_W, "  two  |"),
    ("\u4f60\u597d|", CTRL_W + ENTER, "\n|"),
    # Characters of every script, and those that are none.
    ("|", EVERY_SCRIPT, f"{EVERY_SCRIPT}|"),
    (f"{ACCENT}|", BACKSPACE, "e|"),
    *(("a|", chr(code), "a|") for code in range(32) if chr(code) not in "\x01\x02\x04\x05\x06\x08\t\n\x0b\r\x0e\x10\x15\x17\x1b"),
    *(("a|", char, "a|") for char in (CTRL_S, CTRL_Q, "\x80", "\x9b", "\u2028", "\u202e", "\u2067", ESCAPE)),
    # Keys and reports that mean nothing here leave nothing.
    *(("a|", code + "b", "ab|") for code in (
        "\x1b[15~", "\x1b[24;2~", "\x1bOP", "\x1bO2P", "\x1b[[A", "\x1b[1;5D", "\x1b[Z", "\x1b[a", "\x1b[3$", "\x1b[97;5u",
        "\x1b[<0;10;10M", "\x1b[<0;10;10m", "\x1b[M !!", "\x1b[M \xe9!", "\x1b[I", "\x1b[O", "\x1b[?1;2c", "\x1b[12;40R",
        "\x1b]11;rgb:0000/0000/0000\x1b\\", "\x1b]0;title\x07", "\x1bP1$r0m\x1b\\", "\x1bx", "\x1b\xe9", "\x1b\r",
        "\x1b\x7f", "\x1b(B", "\x1b%G", "\x1b\x1b[A", "\x1b\x1bOA", PASTE_END, "\x1b\x1b",
    )),
    *(("a|", code + ENTER + "bc", "a\na|") for code in ("\x1b[12", "\x1b[M")),  # that break off
    # Pastes.
    ("a|d", f"{PASTE_START}b\rc{PASTE_END}", "ab c|d"),
    ("|", f"{PASTE_START}one\r\ntwo\nthree\rfour\r{PASTE_END}", "one two three four |"),
    ("|", f"{PASTE_START}a\tb\x1b[31mred\x1b[0m\x1b]0;title\x07{UP}{BACKSPACE}{CTRL_U}{CTRL_D}{PASTE_END}", "a bred|"),
    ("|", f"{PASTE_START}{CTRL_D}{PASTE_END}", "|"),
    ("|", f"{PASTE_START}ab{ESCAPE}{PASTE_END}{BACKSPACE}", "a|"),
    ("|", f"{PASTE_START}{QUIT}\r{PASTE_END}{ENTER}", f"{QUIT} \n{QUIT} |"),
    ("|", f"{PASTE_START}no end\r", "no end |"),
    ("|", "one\rtwo\rthree", "one\none|"),  # without marks: the rest waits until the line is taken
    # Two keys at once.
    ("ab|", LEFT + LEFT + "c" + RIGHT + BACKSPACE, "c|b"),
]  # fmt: skip
WHOLE = re.compile(r"\x1b[\]P]|\x1b[^\[O]|\x1b\Z")  # what has to come at once to be what it is


def row_with(before: str, behind: str = "") -> Any:
    """Return a row in which a text was typed, with the cursor between two parts of it."""
    row = chatserve.Row()
    for message in ("oldest", "newest"):
        row.remember(message)
    row.type(before + behind)
    for _ in behind:
        row.type(LEFT)
    return row


def state(row: Any) -> str:
    """Return what was entered, and what is in the row, as the cases have it."""
    entered = row.take_line()
    text = f"{row.before}|{row.behind}"
    return text if entered is None else f"{entered}\n{text}"


class Keys(unittest.TestCase):
    def test_each_key_in_one_packet(self) -> None:
        for text, keys, expected in CASES:
            with self.subTest(text=text, keys=keys):
                self.assertEqual(state_of(text, [keys]), expected)

    def test_each_key_cut_at_every_byte(self) -> None:
        for text, keys, expected in CASES:
            if WHOLE.search(keys) or PASTE_START in keys:
                continue
            for cut in range(1, len(keys)):
                with self.subTest(text=text, keys=keys, cut=cut):
                    self.assertEqual(state_of(text, [keys[:cut], keys[cut:]]), expected)

    def test_what_is_typed_behind_an_enter_waits_until_the_line_is_taken(self) -> None:
        row = chatserve.Row()
        row.type("one\rtwo\rthr")
        self.assertEqual(row.take_line(), "one")
        row.clear()  # it was sent
        self.assertEqual(row.take_line(), "two")  # which was not, and stays
        self.assertIsNone(row.take_line())
        self.assertEqual(row.text(), "twothr")

    def test_a_terminals_answer_in_two_parts(self) -> None:
        for answer in ("\x1b]11;rgb:ffff/ffff/ffff\x07", "\x1bP>|xterm(1)\x1b\\"):
            for cut in range(3, len(answer)):  # before, it might be Alt and a character
                self.assertEqual(state_of("a|", [answer[:cut], answer[cut:] + "b"]), "ab|")
        self.assertEqual(state_of("a|", ["\x1b]b", "c", ENTER]), "abc\nabc|")  # it was none

    def test_a_key_with_alt_in_two_parts(self) -> None:
        for key in ("\x1b\x1b[A", "\x1b\x1b[3~", "\x1b\x1bOA"):
            for cut in range(2, len(key)):  # before, it might be Esc and the key
                self.assertEqual(state_of("a|", [key[:cut], key[cut:] + "b"]), "ab|")

    def test_keys_with_shift_as_rxvt_sends_them(self) -> None:
        for key in ("\x1b[3$", "\x1b[7$", "\x1b[8$"):
            self.assertEqual(state_of("a|", [key, "b"]), "ab|")

    def test_what_is_forgotten_is_not_the_messages_nor_that_a_paste_goes_on(self) -> None:
        row = row_with("half")
        row.type(f"\r{PASTE_START}more\r")
        row.forget()
        self.assertIsNone(row.take_line())
        self.assertEqual(row.text(), "")
        row.type(f"{PASTE_START}one\r")
        row.forget()
        row.type(f"two\rthree{PASTE_END}")
        self.assertIsNone(row.take_line())
        self.assertEqual(row.text(), "two three")
        row.type(PASTE_START + "one" + PASTE_END[:-1])
        row.forget()
        row.type(PASTE_END[-1] + "two" + BACKSPACE)
        self.assertEqual(row.text(), "tw")
        row.type(UP)
        self.assertEqual(row.text(), "newest")

    def test_an_enter_that_is_taken_back_leaves_its_line_half_typed(self) -> None:
        row = row_with("half ", "typed")
        row.type("\rmore\r")
        row.take_back()
        self.assertEqual(state(row), "half |typed")

    def test_esc_alone_leaves_nothing(self) -> None:
        self.assertEqual(state_of("a|", [ESCAPE, "b", ESCAPE, ENTER]), "ab\nab|")

    def test_cr_lf_in_two_parts_is_one_enter(self) -> None:
        row = row_with("one")
        row.type("\r")
        self.assertEqual(row.take_line(), "one")
        row.type("\n")
        self.assertIsNone(row.take_line())
        row.type("\n")
        self.assertEqual(row.take_line(), "one")

    def test_an_enter_that_comes_alone_ends_a_paste_whose_end_was_lost(self) -> None:
        for enter in ("\r", "\n", "\r\n"):
            self.assertEqual(state_of("|", [f"{PASTE_START}half\ra paste", enter]), "half a paste\nhalf a paste|")

    def test_a_paste_in_several_parts(self) -> None:
        paste = f"{PASTE_START}one\r\ntwo \u65e5\u672c\x1b[31m\tthree{PASTE_END}"
        for cut in range(1, len(paste)):
            self.assertEqual(state_of("|", [paste[:cut], paste[cut:]]), "one two \u65e5\u672c three|")

    def test_what_was_half_typed_is_below_the_history(self) -> None:
        row = row_with("draft")
        row.type(UP + UP + DOWN)
        self.assertEqual(state(row), "newest|")
        row.type(" and more" + DOWN)  # what is changed in a message called back, is forgotten
        self.assertEqual(state(row), "draft|")
        row.type(UP)
        self.assertEqual(state(row), "newest|")
        row.type(ENTER)
        self.assertEqual(row.take_line(), "newest")
        row.clear()
        row.remember("newest")
        row.type(UP + UP + UP)
        self.assertEqual(state(row), "oldest|")

    def test_both_scripts_have_the_same_row(self) -> None:
        self.assertEqual(load("chatclient").KEY, chatserve.KEY)


def state_of(text: str, packets: list[str]) -> str:
    """Return what is there after some packets were read."""
    row = row_with(*text.split("|"))
    for keys in packets:
        row.type(keys)
    return state(row)


class Drawing(unittest.TestCase):
    def draw(self, row: Any, prompt: str, columns: int) -> tuple[str, int]:
        """Return the only row that shows, and the column of the cursor."""
        screen = Screen(columns, strict=True)
        screen.show(row.drawing(prompt, columns))
        self.assertEqual(len(screen.lines()), 1, "it is drawn in one row")
        self.assertLess(screen.column, columns)
        return screen.lines()[0], screen.column

    def test_a_line_that_fits_is_shown_whole(self) -> None:
        for columns in (20, 40, 80):
            row = row_with("you \u4f60\u597d", f"{ACCENT}!")
            self.assertEqual(self.draw(row, "bob> ", columns), (f"bob> you \u4f60\u597d{ACCENT}!", 13))
            self.assertEqual(self.draw(chatserve.Row(), "", columns), ("", 0))

    def test_a_longer_line_is_shown_around_the_cursor(self) -> None:
        for count in (500, 100_000):
            for columns in (20, 40, 80):
                row = row_with("a" * (count - 2) + "xy")
                room = columns - 6
                self.assertEqual(self.draw(row, "bob> ", columns), ("bob> " + "a" * (room - 2) + "xy", columns - 1))
                row.type(LEFT)
                shown, column = self.draw(row, "bob> ", columns)
                self.assertTrue(shown.endswith("xy"))
                self.assertEqual(column, columns - 2)
                row.type(HOME + "z" + RIGHT)
                shown, column = self.draw(row, "bob> ", columns)
                self.assertEqual((shown, column), ("bob> z" + "a" * (room - 1), 7))

    def test_both_sides_of_the_cursor_show(self) -> None:
        row = row_with("a" * 200, "b" * 200)
        shown, column = self.draw(row, "bob> ", 40)
        self.assertRegex(shown, r"^bob> a{20,}b{8,}$")
        self.assertEqual(shown[column - 1 : column + 1], "ab")

    def test_wide_characters_and_marks(self) -> None:
        for text in ("\u4f60" * 300, FAMILY * 300, HEART * 300, ACCENT * 300, "\U0001f1eb\U0001f1f7" * 300):
            for columns in (20, 41, 80):
                for keys in ("", HOME, LEFT * 150, CTRL_K):
                    row = row_with(text)
                    row.type(keys)
                    self.draw(row, "\u4f60> ", columns)

    def test_a_prompt_that_is_wider_than_the_row(self) -> None:
        row = row_with("hello", "you")
        for columns in (1, 2, 5, 8, 20):
            shown, _ = self.draw(row, "\u4f60" * 10 + "> ", columns)
        self.assertTrue(shown.startswith("\u4f60" * 7 + "ello"), shown)
        self.assertTrue(self.draw(row, "x" * 30, 20)[0].startswith("x" * 15 + "l"))

    def test_a_key_in_a_long_line_costs_no_more_than_in_a_short_one(self) -> None:
        seconds = []
        for count in (50, 100_000):
            row = row_with("x" * count)
            begin = time.perf_counter()
            for _ in range(50):
                row.type("y" + BACKSPACE)
                row.drawing("bob> ", 80)
            seconds.append(time.perf_counter() - begin)
        self.assertLess(seconds[1], 50 * seconds[0])


class RandomKeys(unittest.TestCase):
    PIECES = (
        "a", "b c", "\u65e5", ACCENT, FAMILY, HEART, "\t", ENTER, "\n", "\r\n", BACKSPACE, DELETE, LEFT, RIGHT,
        LEFT, RIGHT, "\x1bOD", "\x1bOC", HOME, END, UP, DOWN, UP, CTRL_U, CTRL_K, CTRL_W, CTRL_D, "\x1b[15~", "\x1b[1;5D", "\x1b[<0;1;1M",
        "\x1b[M !!", "\x9b", "\u202e", "\x00", CTRL_S, f"{PASTE_START}x{PASTE_END}", f"{PASTE_START}one\r\ntwo \x1b[1m{UP}{PASTE_END}",
    )  # fmt: skip

    def feed(self, packets: list[str]) -> tuple[list[str], list[str], Any]:
        """Type packets. Each line that is entered is sent, or stays, in turn. Return the lines, the
        drawings at 30 columns when they are entered, and the row."""
        row, lines, drawings = chatserve.Row(), [], []
        for packet in packets:
            row.type(packet)
            while True:
                line = row.take_line()
                if line is None:
                    break
                lines.append(line)
                drawings.append(row.drawing("bob> ", 30))
                if len(lines) % 3:
                    row.clear()
                    row.remember(line)
        return lines, drawings, row

    def test_keys_in_any_packets_are_the_same_keys(self) -> None:
        for seed in range(400):
            source = random.Random(seed)
            keys = [source.choice(self.PIECES) for _ in range(source.randrange(60))]
            text, packets = "".join(keys), []
            while text:
                size = source.choice((1, 2, 3, 10, 40))
                packet, text = text[:size], text[size:]
                while packet in ("\r", "\n", "\r\n") and text:  # alone, it would not be pasted
                    packet, text = packet + text[0], text[1:]
                packets.append(packet)
            with self.subTest(seed=seed, keys=keys, packets=packets):
                one_by_one, drawings, row = self.feed(keys)
                lines, other_drawings, other = self.feed(packets)
                self.assertEqual(lines, one_by_one)
                self.assertEqual(other_drawings, drawings)
                self.assertEqual((other.before, other.behind), (row.before, row.behind))
                self.assert_clean(row, lines)

    def assert_clean(self, row: Any, lines: list[str]) -> None:
        """No control character is ever in a line, and every drawing fits in one row."""
        for line in (*lines, row.text()):
            self.assertNotRegex(line, "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
        for columns in (12, 20, 40, 80):
            screen = Screen(columns, strict=True)
            screen.show(row.drawing("bob> ", columns))
            self.assertEqual(len(screen.lines()), 1)


if __name__ == "__main__":
    main()
