"""What a person meets at a terminal: the row, the keys, who reads what, Ctrl-Z; and whole lines
where there is no row."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
from typing import Iterator

from harness import (
    BACKSPACE, BLANK, BROKE, CLIENT, CTRL_C, CTRL_D, CTRL_Q, CTRL_S, CTRL_U, CTRL_Z, END, ENTER, ERASE, ESCAPE, HOME, IN_QUEUE,
    LEFT, MESSAGE_LONGEST, NO_MARKS, NO_NAME_YET, NO_TURN, NOT_PICKED_UP, NOT_SENT, PASTE_START, PASTE_END, PAUSE_SECONDS, QUIT, RIGHT, SERVER, TOO_LONG,
    UNREAD_LONGEST, UP, USERNAME_LONGEST, WAITING, Partner, Patience, Program, TerminalTest, main, on_linux, processor_seconds, unread,
)  # fmt: skip

LONG = "all of a line that is longer than a narrow window is"


class TheRow(TerminalTest):
    """Half a line stands in the row: below everything that comes, with every character."""

    def test_messages_and_notices_appear_above_the_row(self) -> None:
        for columns in (80, 40, 20):
            server, port = self.server_at_terminal(columns=columns)
            partner = self.visitor(port)
            server.at().expect("is alice")
            self.type_and_see(server, "ha", "ha")
            partner.send("hello\n")
            server.wait_for_row("server>")  # what was typed before it was for nobody
            self.assertEqual(server.screen()[-2], "alice> hello")
            self.say(server, partner, "hi")
            self.assertEqual(server.screen()[-2], "server> hi")
            self.type_and_see(server, "half a lin" + LEFT, "half a lin")
            partner.send("a message that takes more than a row of a narrow window\n")
            server.wait_for_row("server> half a lin")
            shown = "".join(f"{row:{columns}}" for row in server.screen())
            self.assertRegex(shown, "server> hi +alice> a message that takes more than a row of a narrow window +server> half")
            self.type_and_see(server, RIGHT + "e", "server> half a line")
            self.say_what_is_typed(server, partner, "half a line")

    def say_what_is_typed(self, program: Program, partner: Partner, text: str) -> None:
        program.type(ENTER)
        self.assertEqual(partner.line(), text)

    def test_a_row_from_the_queue_to_the_end(self) -> None:
        for columns in (80, 40, 20):
            listener = self.listener()
            client = self.client_of(listener, terminal="in out err", columns=columns)
            client.at().expect(IN_QUEUE)
            self.type_and_see(client, "al", "al")
            partner = self.accept(listener)
            client.wait_for_row("username> al")
            self.type_and_see(client, "ice", "username> alice")
            self.say_what_is_typed(client, partner, "alice")
            client.wait_for_row("alice>")
            self.type_and_see(client, "hello", "alice> hello")
            self.say_what_is_typed(client, partner, "hello")
            self.type_and_see(client, "half", "half")
            client.resize(60)
            self.type_and_see(client, " a line", "half a line")
            partner.send("yes?\n")
            client.wait_for_row("alice> half a line")
            partner.quit()
            self.assertEqual(client.status(), 0)
            self.assertEqual(
                client.screen()[-6:],
                ["username> alice", "alice> hello", "server> yes?", "alice> half a line", "* server quit", ""],
            )

    def test_a_line_longer_than_the_window_is_in_one_row_and_sent_in_full(self) -> None:
        for columns in (40, 20):
            client, partner = self.client_at_turn(columns=columns)
            before = len(client.screen())
            room = columns - 1 - len("alice> ")
            self.type_and_see(client, LONG, "alice> " + LONG[-room:].strip())
            partner_sees = LONG + " sent."
            client.type(HOME + "<" + END + " sent." + HOME + "\x1b[3~")
            client.wait_for_row("alice> " + LONG[:room].strip())
            self.assertEqual(len(client.screen()), before)
            client.type(ENTER)
            self.assertEqual(partner.line(), partner_sees)
            client.wait_for_row("")
            shown = "".join(f"{row:{columns}}" for row in client.screen()[before - 1 :])
            self.assertEqual(shown.strip(), "alice> " + partner_sees)

    def test_another_size_of_the_window_has_the_row_drawn_anew(self) -> None:
        client, partner = self.client_at_turn(columns=60)
        self.type_and_see(client, LONG, ("alice> " + LONG)[:60])
        for columns in (80, 0):  # 0: the terminal does not know
            client.resize(30)
            client.wait_for_row("alice> " + LONG[-22:])
            client.resize(columns)
            client.wait_for_row("alice> " + LONG)
        self.say_what_is_typed(client, partner, LONG)

    def test_wide_characters_and_marks(self) -> None:
        client, partner = self.client_at_turn(columns=20)
        text = "\u4f60\u597d e\u0301\u597d\u4e16\u754c\u754c"
        self.type_and_see(client, text + LEFT, "alice> " + text[1:])
        self.type_and_see(client, BACKSPACE + BACKSPACE, "alice> " + text[:-3] + text[-1])
        self.say_what_is_typed(client, partner, text[:-3] + text[-1])

    def test_a_half_typed_line_stays_readable_at_every_end(self) -> None:
        def typed(program: Program, keys: str) -> None:
            program.type(keys)

        for end, notice in (
            (lambda _, partner: partner.quit(), "* server quit"),
            (lambda _, partner: partner.close(), "* server left"),
            (lambda _, partner: partner.send("x" * 501 + "\n" * UNREAD_LONGEST), "* server broke a rule: over 64 KiB out of turn"),
            (lambda client, _: typed(client, CTRL_C), "* you quit"),
            (lambda client, _: client.signal(signal.SIGTERM), "* you quit"),
        ):
            client, partner = self.client_at_turn()
            self.type_and_see(client, "half", "alice> half")
            end(client, partner)
            if notice == "* you quit":
                partner.rest()
            partner.close()
            client.status()
            self.assertEqual(client.screen()[-3:], ["alice> half", notice, ""])
            self.assertTrue(self.is_as_found(client))
            self.assertFalse(client.display.marks_pastes)

    def test_no_character_is_lost_fifty_times_in_a_row(self) -> None:
        server, partner = self.server_at_turn()
        for i in range(50):
            self.type_and_see(server, f"re{i}", f"server> re{i}")
            self.type_and_see(server, f"ply{ENTER}", "")
            self.assertEqual(partner.line(), f"re{i}ply")
            self.type_and_see(server, f"ha{i}", f"ha{i}")
            partner.send(f"message {i}\n")
            server.wait_for_row(f"server> ha{i}")
            self.assertEqual(server.screen()[-3:-1], [f"server> re{i}ply", f"alice> message {i}"])
            self.type_and_see(server, CTRL_U, "server>")

    def test_notices_into_a_file_leave_the_row(self) -> None:
        client, partner = self.client_of_partner(terminal="in out")
        client.wait_for_row("alice>")
        self.type_and_see(client, "x" * 501, "alice> " + "x" * 72)
        client.type(ENTER)
        client.err.expect(TOO_LONG)
        self.type_and_see(client, CTRL_U + "half", "alice> half")
        self.assertEqual(len(client.screen()), 2)
        self.assert_calm(client)
        partner.close()

    @on_linux
    def test_nothing_wakes_the_programs_while_nothing_happens(self) -> None:
        programs = [self.server_at_terminal()[0], self.server()[0]]
        programs += [self.server_at_turn()[0], self.client_at_turn()[0], self.client_of_partner()[0]]
        waiting, partner = self.client_at_turn()
        self.say(waiting, partner, "hello")
        queued = self.client_of(self.listener())
        queued.err.expect(IN_QUEUE)
        programs += [waiting, queued]
        self.wait_for(lambda: all(self.sleeps(program) for program in programs), lambda: "all sleep")
        before = [self.switches(program) for program in programs]
        time.sleep(0.5)  # in which nothing is to happen
        self.assertEqual([self.switches(program) for program in programs], before)

    def sleeps(self, program: Program) -> bool:
        return ") S " in pathlib.Path(f"/proc/{program.pid}/stat").read_text()

    def switches(self, program: Program) -> int:
        """Return how often a program has begun to wait (proc(5))."""
        status = pathlib.Path(f"/proc/{program.pid}/status").read_text()
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[0])


class Keys(TerminalTest):
    """Keys as a terminal sends them. What each one does is in test_row.py."""

    def test_each_key_counts_at_a_terminal_that_was_told_to_wait_for_five(self) -> None:
        listener = self.listener()
        waiting = ("sh", "-c", 'stty min 5; exec "$@"', "sh")
        client = self.client_of(listener, terminal="in out err", prefix=waiting)
        self.accept(listener)
        client.wait_for_row("username>")
        self.type_and_see(client, "a", "username> a")

    def test_keys_are_sent_as_they_were_meant(self) -> None:
        client, partner = self.client_at_turn()
        client.type("\u4f60\u597d\u4e16" + BACKSPACE + "\u754c" + HOME + "<" + END + ">")
        client.type(LEFT + LEFT + "|" + RIGHT + "!" + ENTER)
        self.assertEqual(partner.line(), "<\u4f60\u597d|\u754c!>")

    def test_a_key_in_two_packets_is_one_key(self) -> None:
        client, partner = self.client_at_turn()
        for key, shown in ((b"\xf0\x9f\x98\x80", "alice> \U0001f600"), (b"\x1b[D", "alice> x\U0001f600"), (b"\x1b[3~", "alice> xx")):
            for byte in key:
                client.type(bytes([byte]))
                self.wait_until_read(client)
            client.type("x")
            client.wait_for_row(shown if key[0] == 27 else shown + "x")
            if key[0] != 27:
                client.type(BACKSPACE)
        client.type(ENTER)
        self.assertEqual(partner.line(), "xx")

    def wait_until_read(self, program: Program) -> None:
        """Wait until a program has read what was typed."""
        self.wait_for(lambda: unread(program.slave) == 0, lambda: "what was typed is read")

    def test_keys_that_mean_nothing_leave_nothing(self) -> None:
        client, partner = self.client_at_turn()
        for code in ("\x1b[15~", "\x1b[24;2~", "\x1b[0;10;10M", "\x1b[97;5u", "\x1b[?1;2c", "\x1b[I", "\x1bOP", "\x1bx",
                     PASTE_END, CTRL_S, CTRL_Q, CTRL_S + CTRL_Q, "\x16", "\x0f"):  # fmt: skip
            self.type_and_see(client, code + "ok", "alice> ok")
            self.type_and_see(client, CTRL_U, "alice>")
        partner.quit()
        self.assertEqual(client.status(), 0)

    def test_ctrl_s_makes_nothing_deaf(self) -> None:
        for keys in (CTRL_S, CTRL_Q, f"{PASTE_START}half a paste", "\x1b[", ESCAPE):
            for at_turn in (True, False):
                client, partner = self.client_at_turn()
                if not at_turn:
                    self.say(client, partner, "hello")
                client.type(keys)
                partner.send("still there?\n")
                partner.quit()
                client.at().expect(r"server> still there[?]\r\n(.|\r|\n)*\* server quit\r\n")
                self.assertEqual(client.status(), 0)
                client, partner = self.client_at_turn()
                client.type(keys)
                client.signal(signal.SIGTERM)
                self.assert_goodbye(partner)
                partner.close()
                self.assertEqual(client.status(), 143)

    def test_lines_in_one_packet_are_sent_in_turn_only(self) -> None:
        client, partner = self.client_at_turn()
        client.type("one\rtwo\rthr")
        self.assertEqual(partner.line(), "one")
        client.at().expect(NO_TURN + "server")
        partner.send("go on\n")
        client.wait_for_row("alice> twothr")
        client.type("ee" + ENTER)
        self.assertEqual(partner.line(), "twothree")

    def test_cr_lf_and_cr_lf_are_one_enter_each(self) -> None:
        client, partner = self.client_at_turn()
        for enter in ("\r", "\n", "\r\n"):
            client.type(f"a line{enter}")
            self.assertEqual(partner.line(), "a line")
            self.type_and_see(client, "next", "next")  # so that the row has seen all of the Enter
            client.type(CTRL_U)
            partner.send("go on\n")
            client.wait_for_row("alice>")
        self.assertNotIn(NOT_SENT, client.at().so_far())

    def test_history_has_the_messages_that_were_sent_and_what_was_half_typed(self) -> None:
        client, partner = self.client_at_turn()
        self.type_and_see(client, UP + UP, "alice>")  # nothing above: not the username
        for text in ("first", "second"):
            client.type(text + ENTER)
            self.assertEqual(partner.line(), text)
            partner.send("go on\n")
            client.wait_for_row("alice>")
        self.type_and_see(client, "half" + UP + UP + UP, "alice> first")
        self.type_and_see(client, "\x1b[B", "alice> second")
        self.type_and_see(client, "\x1b[B\x1b[B", "alice> half")
        client.type(UP + ENTER)
        self.assertEqual(partner.line(), "second")

    def test_the_servers_history_lasts_longer_than_a_conversation(self) -> None:
        server, alice = self.server_at_turn()
        server.type("hi" + ENTER)
        self.assertEqual(alice.line(), "hi")
        alice.quit()
        bob = self.visitor(server.port(), "bob")
        bob.send("hello\n")
        server.wait_for_row("server>")
        self.type_and_see(server, UP, "server> hi")

    def test_what_is_not_ascii_can_be_typed_in_a_locale_that_has_none(self) -> None:
        for locale in ("C", "POSIX", "no_such.locale"):
            client, partner = self.client_at_turn(env={"LC_ALL": locale})
            self.say(client, partner, "na\u00efve \U0001f600 \u65e5\u672c")

    def test_several_pasted_lines_become_one_message_on_enter(self) -> None:
        client, partner = self.client_at_turn()
        client.look()
        self.assertTrue(client.display.marks_pastes)  # the terminal was asked to
        client.type(f"{PASTE_START}one\r\ntwo\r\x1b[31m{QUIT}{PASTE_END}")
        client.wait_for_row(f"alice> one two {QUIT}")
        client.type(ENTER)
        self.assertEqual(partner.line(), f"one two {QUIT}")

    def test_a_paste_without_an_end_is_sent_with_an_enter_that_comes_alone(self) -> None:
        client, partner = self.client_at_turn()
        self.type_and_see(client, f"{PASTE_START}half a\rpaste", "alice> half a paste")
        client.type(ENTER)
        self.assertEqual(partner.line(), "half a paste")


class Enter(TerminalTest):
    """An Enter sends the line at one's own turn, and at any other time tells why it does not."""

    def test_a_line_that_breaks_a_rule_stays_and_is_told(self) -> None:
        client, partner = self.client_at_turn()
        client.type(" " + ENTER)
        client.at().expect(BLANK)
        client.type(CTRL_U + "x" * (MESSAGE_LONGEST + 1) + ENTER)
        client.at().expect(NOT_SENT + "501 characters, 500 at most")
        client.type(BACKSPACE + ENTER)
        self.assertEqual(partner.line(), "x" * MESSAGE_LONGEST)

    def test_a_name_that_breaks_a_rule_can_be_mended(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, terminal="in out err")
        client.at().expect(IN_QUEUE)
        client.type("a lice" + ENTER)
        client.at().expect(NOT_PICKED_UP)
        partner = self.accept(listener)
        client.wait_for_row("username> a lice")
        for keys, name in ((ENTER, "'a lice'"), (CTRL_U + ENTER, ""), ("server" + ENTER, "'server'"),
                           (CTRL_U + "x" * (USERNAME_LONGEST + 1) + ENTER, "'x{11}'")):  # fmt: skip
            client.type(keys)
            client.at().expect(NOT_SENT + (f"{name} is no username" if name else "nothing but"))
        client.type(BACKSPACE + ENTER)
        self.assertEqual(partner.line(), "x" * USERNAME_LONGEST)

    def test_a_line_out_of_turn_stays_for_ones_turn(self) -> None:
        client, partner = self.client_at_turn()
        self.say(client, partner, "hello")
        client.type("untimely" + ENTER)
        client.at().expect(NO_TURN + "server")
        client.wait_for_row("untimely")
        self.assertFalse(partner.stream.read(0.1))
        partner.send("go on\n")
        client.wait_for_row("alice> untimely")
        client.type(ENTER)
        self.assertEqual(partner.line(), "untimely")

    def test_a_line_typed_before_the_name_came_or_to_nobody(self) -> None:
        server, port = self.server_at_terminal()
        server.type("hello?" + ENTER)
        server.at().expect(NOT_SENT + "nobody is connected")
        server.wait_for_row("hello?")
        server.type(CTRL_U + QUIT + ENTER)
        server.at().expect(NOT_SENT + "nobody is connected")
        partner = self.partner(port)
        partner.line()
        server.wait_for_row("")  # what was typed to nobody is dropped
        server.type("who are you?" + ENTER)
        server.at().expect(NO_NAME_YET)
        server.wait_for_row("who are you?")

    def test_quit_and_ctrl_d_end_a_conversation_at_any_time(self) -> None:
        for keys in (f"  {QUIT}  {ENTER}", CTRL_D):
            server, port = self.server_at_terminal()
            silent = self.partner(port)
            silent.line()
            server.at().expect("connected")
            server.type(keys)
            self.assert_goodbye(silent)
            silent.close()
            server.at().expect(r"\* you quit\r\n\r\x1b\[K\* waiting on")
            client, partner = self.client_at_turn()
            self.say(client, partner, "hello")
            client.type(keys)
            self.assert_goodbye(partner)
            partner.close()
            self.assertEqual(client.status(), 0)


class Readers(TerminalTest):
    """Nothing typed for one reader reaches another."""

    def visitor_in_queue(self, port: int, lines: str) -> Partner:
        """Connect to a server, and send lines before it picks one up."""
        partner = self.partner(port)
        partner.send(lines)
        return partner

    def typed_to_alice(self, text: str, row: str) -> tuple[Program, Partner, Partner]:
        """Type something to alice, with bob in the queue. Return the server, alice, and bob."""
        server, alice = self.server_at_turn()
        bob = self.visitor_in_queue(self.port_of(server), "bob\nhello\n")
        self.type_and_see(server, text, row)
        return server, alice, bob

    def port_of(self, server: Program) -> int:
        return int(re.findall(WAITING.encode(), server.at().data)[0])

    def assert_pause(self, server: Program, bob: Partner, begin: float) -> None:
        """Type a line that was begun to alice to its end; bob gets nothing of it, and is not picked
        up before the pause is over."""
        server.type("ice, I love you" + ENTER)
        bob.line()
        self.assertGreater(time.monotonic() - begin, PAUSE_SECONDS - 0.05)
        self.answer_to_bob(server, bob)

    def answer_to_bob(self, server: Program, bob: Partner) -> None:
        """See that the answer that bob gets is the one that is typed to him."""
        server.at().expect("bob> hello")
        server.wait_for_row("server>")
        server.type("hi bob" + ENTER)
        self.assertEqual(bob.line(), "hi bob")

    def test_what_is_typed_to_one_who_left_does_not_reach_the_next(self) -> None:
        server, alice, bob = self.typed_to_alice("dear al", "server> dear al")
        begin = time.monotonic()
        alice.close()
        server.at().expect(r"\* alice left\r\n")
        self.assert_pause(server, bob, begin)

    def test_the_pause_is_for_a_peer_that_broke_a_rule_as_well(self) -> None:
        server, alice, bob = self.typed_to_alice("dear al", "server> dear al")
        begin = time.monotonic()
        alice.send("x\n" * UNREAD_LONGEST)
        alice.half_close()
        server.at().expect(rf"\* alice {BROKE}.*\r\n")
        alice.close()
        self.assert_pause(server, bob, begin)

    def test_half_a_line_in_one_burst_with_an_enter_stays_with_its_reader(self) -> None:
        server, alice, bob = self.typed_to_alice(f"hello{ENTER}not for bob", "not for bob")
        self.assertEqual(alice.line(), "hello")
        alice.quit()
        bob.line()
        self.answer_to_bob(server, bob)

    def test_what_is_unread_when_the_client_exits_does_not_reach_the_shell(self) -> None:
        for term in ("xterm", "dumb"):
            client, partner = self.client_of_partner(terminal="in out err", env={"TERM": term})
            client.freeze()
            client.type("rm -rf precious\r")
            self.wait_until_there_is_unread(client)
            partner.quit()
            client.signal(signal.SIGCONT)
            self.assertEqual(client.status(), 0)
            self.assertEqual(unread(client.slave), 0)

    def test_what_is_unread_at_a_signal_does_not_reach_the_shell(self) -> None:
        for program, partner in (self.client_at_turn(), self.server_at_turn()):
            program.freeze()
            program.type("rm -rf precious\r")
            self.wait_until_there_is_unread(program)
            program.signal(signal.SIGTERM)
            program.signal(signal.SIGCONT)
            self.assert_goodbye(partner)
            partner.close()
            program.status()
            self.assertEqual(unread(program.slave), 0)

    def test_the_pause_is_only_for_a_person_in_a_line(self) -> None:
        server, port = self.server_at_terminal()
        begin = time.monotonic()
        count = 10
        for i in range(count):
            self.visitor_in_queue(port, f"guest{i}\nhello\n{QUIT}\n").rest()
        server.at().expect(f"guest{count - 1} quit")
        self.assertLess(time.monotonic() - begin, count * PAUSE_SECONDS / 2)

    def test_what_is_typed_in_a_goodbye_garbles_no_notice(self) -> None:
        server, partner = self.server_at_turn()
        server.type(QUIT + ENTER)
        server.at().expect("you quit")
        server.type("abc")  # the partner has not closed yet
        partner.close()
        server.wait_for_row("abc")
        self.assertRegex(server.screen()[-2], r"^\* waiting on")


class CtrlZ(TerminalTest):
    """The terminal is given to the shell, and taken again."""

    def test_where_no_shell_can_continue_it_nothing_happens(self) -> None:
        client, partner = self.client_at_turn()
        self.type_and_see(client, "half a ", "alice> half a")
        client.type("l" + CTRL_Z)
        client.wait_for_row("alice> half a l")
        client.type("ine" + ENTER)
        self.assertEqual(partner.line(), "half a line")

    def test_in_a_goodbye_it_changes_nothing(self) -> None:
        for keys, status in ((QUIT + ENTER, 0), (CTRL_D, 0), (CTRL_C, 130)):
            client, partner = self.client_at_turn()
            client.type(keys)
            client.at().expect(r"\* you quit\r\n")
            client.type(CTRL_Z * 3)
            partner.rest()
            partner.close()
            self.assertEqual(client.status(), status)
            self.assertTrue(self.is_as_found(client))
            client.look()
            self.assertFalse(client.display.marks_pastes)
            self.assert_calm(client)

    def shells(self, background: bool = False) -> Iterator[tuple[Program, Partner]]:
        """Start a client at the prompt of each shell that there is, or in the background of it and
        then bring it to the front; give the terminal and its server by hand."""
        for shell in ("bash", "dash", "zsh"):
            if not shutil.which(shell):
                continue
            listener = self.listener()
            port = listener.getsockname()[1]
            plain = {"bash": ("--norc",), "zsh": ("-f", "+Z")}.get(shell, ())
            program = self.start(shell, *plain, "-i", terminal="in out err", env={"PS1": "$ "})
            program.at().expect(r"[$%] ")
            program.type(f"{sys.executable} -I {CLIENT} 127.0.0.1 {port} {'&' * background}\r")
            if background:
                self.wait_until_stopped(program)
                program.type("fg\n")
            partner = self.accept(listener)
            program.at().expect("username> ")
            program.type("alice\r")
            self.assertEqual(partner.line(), "alice")
            program.at().expect(r"\r\x1b\[Kalice> ")
            yield program, partner
            partner.close()
            program.kill()

    def suspend(self, program: Program) -> None:
        """Type Ctrl-Z, and see the shell, and its terminal in order."""
        program.type(CTRL_Z)
        shown = program.at().expect("(?is)(.*?)(stopped|suspended).*[$%] ").group(1)
        self.assertIn(f"{ERASE}{NO_MARKS}".encode(), shown)
        program.type("stty -a\r")
        shown = program.at().expect("(?s)speed(.*)echoctl").group(1).decode()
        for setting in ("ixon", "icanon", "echo", "icrnl"):
            self.assertRegex(shown, rf"(?<![-\w]){setting}\b")
        self.assertRegex(shown, "-noflsh")
        program.at().expect(r"[$%] ")

    def test_the_shell_has_a_terminal_in_order_and_fg_brings_the_row_back(self) -> None:
        for program, partner in self.shells():
            program.type("half")
            program.at().expect("alice> half")
            program.type(" a ")  # which may still be unread when the signal comes
            self.suspend(program)
            program.type("fg\n")
            program.at().expect("alice> half a ")
            program.type("line\r")
            self.assertEqual(partner.line(), "half a line")

    def test_what_is_typed_right_behind_ctrl_z_is_not_sent(self) -> None:
        for program, partner in self.shells():
            program.type(f"{CTRL_Z}for the shell\r")
            program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
            program.type("fg\n")
            program.at().expect("\r\x1b\\[Kalice> for the shell")
            program.type(f"{CTRL_U}hello\r")
            self.assertEqual(partner.line(), "hello")

    def test_a_while_in_the_background_in_the_others_turn(self) -> None:
        for program, partner in self.shells():
            program.type("hello\r")
            self.assertEqual(partner.line(), "hello")
            program.at().expect(r"alice> hello\r\n")
            self.suspend(program)
            program.type("bg\n")
            self.wait_until_stopped(program)
            program.type("echo in the $((1 + 1))nd line\r")
            program.at().expect("in the 2nd line")
            partner.send("how are you?\n")
            program.type("fg\n")
            program.at().expect("server> how are you[?]\r\n(.|\r|\n)*alice> ")
            program.type("fine\r")
            self.assertEqual(partner.line(), "fine")
            partner.quit()
            program.at().expect("server quit")

    def test_a_client_that_is_started_in_the_background_waits_for_fg(self) -> None:
        for program, partner in self.shells(background=True):
            program.type("hello\r")
            self.assertEqual(partner.line(), "hello")

    @on_linux
    def test_a_client_that_is_started_in_the_background_does_not_wait_for_a_key_to_be_stopped(self) -> None:
        shell = self.bash()
        shell.type(f"{sys.executable} -I {CLIENT} 127.0.0.1 {self.listener().getsockname()[1]} & echo number=$!.\r")
        client = int(shell.at().expect(r"number=(\d+)\.").group(1))
        status = pathlib.Path(f"/proc/{client}/stat")
        self.wait_for(lambda: ") T " in status.read_text(), lambda: "it is stopped")

    def test_fg_of_a_client_that_a_subshell_started_in_the_background(self) -> None:
        shell, listener = self.bash(), self.listener()
        shell.type(f"({sys.executable} -I {CLIENT} 127.0.0.1 {listener.getsockname()[1]}; true) &\r")
        self.wait_until_stopped(shell)
        shell.type("fg\r")
        self.accept(listener)
        shell.at().expect("username> ")
        shell.type("half")
        shell.at().expect("username> half")

    def test_a_client_that_is_killed_while_it_is_stopped_says_goodbye(self) -> None:
        for program, partner in self.shells():
            self.suspend(program)
            program.type("kill %1; kill -CONT %1\n")  # dash does not continue it
            self.assertEqual(partner.line(), QUIT)
            program.at().expect("you quit")
            partner.close()
            program.type("echo in the $((1 + 1))nd line\r")
            program.at().expect("in the 2nd line")

    @on_linux
    def test_after_a_sigstop_from_elsewhere_fg_takes_the_terminal_again(self) -> None:
        for program, partner in self.shells():
            program.type("half")
            program.at().expect("alice> half")
            os.kill(os.tcgetpgrp(program.at().descriptor), signal.SIGSTOP)
            program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
            program.type("fg\n")
            program.at().expect(r"\r\x1b\[Kalice> half")
            program.type(f"\x1b[D{BACKSPACE}")
            program.at().expect(r"\r\x1b\[Kalice> ha\x1b7f\x1b8")
            program.type("\r")
            self.assertEqual(partner.line(), "haf")

    def server_in_bash(self) -> tuple[Program, Partner]:
        """Return bash in whose foreground a server says goodbye to its client, and the client."""
        shell = self.bash()
        shell.type(f"{sys.executable} -I {SERVER} 0\r")
        partner = self.visitor(shell.port())
        shell.at().expect("is alice")
        shell.type(f"{QUIT}\r")
        shell.at().expect("you quit")  # now the server waits for the client to close
        return shell, partner

    def test_what_is_typed_before_ctrl_z_in_a_goodbye_does_not_reach_the_shell(self) -> None:
        shell, partner = self.server_in_bash()
        shell.type(f"half{CTRL_Z}")
        partner.close()
        shell.at().expect("Stopped(.|\r|\n)*[$] ")
        shell.type("echo in the $((1 + 1))nd line\r")
        shell.at().expect("in the 2nd line")
        shell.type("fg\r")
        shell.at().expect("\r\x1b\\[Khalf")

    @on_linux
    def test_a_sigcont_in_a_goodbye_undoes_the_sigtstp_before_it(self) -> None:
        shell, partner = self.server_in_bash()
        server = os.tcgetpgrp(shell.at().descriptor)
        pending = pathlib.Path(f"/proc/{server}/status")
        os.kill(server, signal.SIGTSTP)
        self.wait_for(lambda: "ShdPnd:\t0000000000000000" in pending.read_text(), lambda: "it is noted")
        os.kill(server, signal.SIGCONT)
        partner.close()
        self.visitor(shell.port(), "bob")
        shell.at().expect("is bob")

    @on_linux
    def test_a_client_that_is_killed_in_the_background_says_goodbye_and_ends(self) -> None:
        for program, partner in self.shells():
            program.type("hello\r")
            self.assertEqual(partner.line(), "hello")
            client = os.tcgetpgrp(program.at().descriptor)
            os.kill(client, signal.SIGSTOP)
            program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
            program.type("bg\n")
            program.at().expect(r"[$%] ")
            program.type("kill %1; kill -CONT %1\n")
            self.assertEqual(partner.line(), QUIT)
            partner.close()
            self.wait_until_ended(pathlib.Path(f"/proc/{client}/stat"))

    @on_linux
    def test_a_client_that_is_killed_when_a_shell_has_the_terminal_leaves_it_alone(self) -> None:
        for program, partner in self.shells():
            client = os.tcgetpgrp(program.at().descriptor)
            os.kill(client, signal.SIGSTOP)
            program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
            program.type("echo in the $((1 + 1))nd line\n")
            program.at().expect(r"in the 2nd line(.|\r|\n)*[$] ")  # and its modes are set
            program.type("echo in the $((1 + 2))rd line")
            settings = program.settings_now()
            os.kill(client, signal.SIGTERM)
            os.kill(client, signal.SIGCONT)
            self.assertEqual(partner.line(), QUIT)
            partner.close()
            program.at().expect(r"\* you quit\r?\n")
            self.wait_until_ended(pathlib.Path(f"/proc/{client}/stat"))
            self.assertEqual(program.settings_now(), settings)
            self.assertNotIn(b"\r\x1b[K* you quit", program.at().data)
            program.type("\n")
            program.at().expect("in the 3rd line")

    @on_linux
    def test_a_server_whose_shell_is_gone_does_not_wait_for_the_keyboard_of_others(self) -> None:
        if not shutil.which("bash"):
            self.skipTest("there is no bash here")
        with tempfile.TemporaryDirectory() as folder:
            log, number = pathlib.Path(folder, "log"), pathlib.Path(folder, "number")
            command = f"set -m; {sys.executable} -I {SERVER} 0 >{log} 2>&1 & echo $! >{number}"
            self.start("sh", "-c", f"bash -c '{command}'; echo gone; exec sleep 60", terminal="in out err").type("a line\r")
            self.wait_for(lambda: log.exists() and "waiting on" in log.read_text(), lambda: "it listens")
            server = int(number.read_text())
            before = processor_seconds(server)
            time.sleep(0.5)  # in which it is to do nothing
            self.assertLess(processor_seconds(server) - before, 0.1)
            os.kill(server, signal.SIGTERM)
            self.wait_until_ended(pathlib.Path(f"/proc/{server}/stat"))

    def wait_until_ended(self, status: pathlib.Path) -> None:
        """Wait until the process of a status (proc(5)) has ended, though its shell may not know."""

        def has_ended() -> bool:
            try:
                return ") Z " in status.read_text()
            except (FileNotFoundError, ProcessLookupError):
                return True

        self.wait_for(has_ended, lambda: f"the end of {status}")


class Bell(TerminalTest):
    def test_it_rings_where_the_row_is_when_what_was_waited_for_comes_late(self) -> None:
        copy = self.impatient(CLIENT, "BELL_SECONDS", 0.5)
        for term, rings in (("xterm", 2), ("dumb", 0)):
            listener = self.listener()
            client = self.start(copy, *listener.getsockname(), terminal="in out err", env={"TERM": term})
            client.at().expect(IN_QUEUE)
            time.sleep(0.7)  # longer than the bell waits
            partner = self.accept(listener)
            client.at().expect("type a username")
            client.type("alice\r")
            self.assertEqual(partner.line(), "alice")
            client.look()
            self.assertEqual(client.display.bells, min(rings, 1))
            for number in range(3):
                client.type(f"message {number}\r")
                self.assertEqual(partner.line(), f"message {number}")
                if number:
                    time.sleep(0.7)  # longer than the bell waits
                if number < 2:
                    partner.send("answer\n")
                    client.at().expect("server> answer")
            partner.close()
            self.assertEqual(client.status(), 1)
            client.look()
            self.assertEqual(client.display.bells, rings)

    def test_it_rings_for_a_username_that_comes_late(self) -> None:
        server, port = self.server_at_terminal(script=self.impatient(SERVER, "BELL_SECONDS", 0.5))
        for name, seconds, bells in (("alice", 0, 0), ("bob", 0.7, 1)):
            partner = self.partner(port)
            partner.line()
            time.sleep(seconds)
            partner.send(f"{name}\n{QUIT}\n")
            server.at().expect(f"{name} quit")
            server.look()
            self.assertEqual(server.display.bells, bells)


class WholeLines(TerminalTest):
    """Conversations where there is no row: the terminal's own line discipline is left alone."""

    def converse(self, terminal: str = "in out err", **options: object) -> tuple[str, str]:
        """Hold a small conversation; return what the client's terminal and its stdout got."""
        client, partner = self.client_of_partner(terminal=terminal, **options)
        client.type("\n")
        client.at().expect(BLANK)
        client.type("x" * (MESSAGE_LONGEST + 1) + "\n")
        client.at().expect(TOO_LONG)
        client.type("hello\n")
        self.assertEqual(partner.line(), "hello")
        client.type("untimely\n")
        client.at().expect(NO_TURN + "server")
        client.type("half a ")
        client.at().expect("half a ")
        partner.send("hi alice\n")
        client.out.expect("server> hi alice\r?\n")
        client.type("line\n")
        self.assertEqual(partner.line(), "half a line")
        partner.send("one more\n")
        client.out.expect("one more")
        self.assertTrue(self.is_as_found(client))
        partner.close()
        self.assertEqual(client.status(), 1)
        client.at().expect(r"\* server left\r\n")
        self.assertTrue(self.is_as_found(client))
        shown = client.at().so_far()
        self.assertNotIn(ESCAPE, shown)
        self.assertNotRegex(shown, r"\n[\r ]*\n(?!\* not sent: nothing)", "an empty line")
        return shown, client.out.so_far()

    def test_terminals_that_know_no_escapes_get_none(self) -> None:
        for term in ("dumb", ""):
            with self.subTest(term=term):
                self.assertIn("server> hi alice\r\n", self.converse(env={"TERM": term})[0])

    def test_half_a_line_that_ctrl_d_passed_on_does_not_reach_the_next_client(self) -> None:
        server, port = self.server(0, terminal="in out err", env={"TERM": "dumb"})
        server.type(f"half{CTRL_D}")
        server.at().expect("half")
        self.wait_for(lambda: not unread(server.slave), lambda: "the half line is read")
        partner = self.visitor(port)
        partner.send("hello\n")
        server.at().expect("alice> hello")
        patience = Patience()
        while not partner.stream.read(0.3):  # what is typed before its first turn is dropped
            self.assertTrue(patience.lasts())
            server.type("welcome\n")
        self.assertEqual(partner.line(), "welcome")

    def test_without_term(self) -> None:
        self.converse(prefix=("env", "-u", "TERM"))

    def test_a_log_through_a_pipe_holds_the_conversation_alone(self) -> None:
        _, log = self.converse("in err")
        self.assertEqual(log, "server> hi alice\nserver> one more\n")

    def test_no_module_but_those_that_it_needs_is_loaded(self) -> None:
        client, partner = self.client_at_turn(flags=("-I", "-c", NO_READLINE))
        self.say(client, partner, "hello")

    @contextlib.contextmanager
    def in_background_of_dash(self) -> Iterator[tuple[Program, Partner]]:
        """Give a shell and a client's server by hand. The client was brought to the background."""
        if not shutil.which("dash"):
            self.skipTest("there is no dash here")
        listener = self.listener()
        shell = self.start("dash", "-i", terminal="in out err", env={"PS1": "$ ", "TERM": "dumb"})
        shell.at().expect(r"[$] ")
        shell.type(f"{sys.executable} -I {CLIENT} 127.0.0.1 {listener.getsockname()[1]}\r")
        partner = self.accept(listener)
        shell.at().expect("type a username")
        shell.type("alice\r")
        self.assertEqual(partner.line(), "alice")
        shell.type("hello\r")
        self.assertEqual(partner.line(), "hello")
        shell.type(CTRL_Z)
        shell.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$] ")
        shell.type("bg\r")
        shell.at().expect("[$] ")
        yield shell, partner
        partner.close()

    @on_linux
    def test_fg_after_a_while_in_the_background_makes_it_deaf_to_nothing(self) -> None:
        with self.in_background_of_dash() as (shell, partner):
            for _ in range(3):  # one of which may make the client stop
                shell.type("echo in the $((1 + 1))nd line\r")
            shell.type("fg\r")
            shell.at().expect(rf"{CLIENT.name}")
            partner.send("are you there?\n")
            shell.at().expect(r"server> are you there")
            partner.quit()
            shell.at().expect(r"server quit")

    @on_linux
    def test_a_client_that_a_read_in_the_background_stopped_says_goodbye_when_it_is_killed(self) -> None:
        with self.in_background_of_dash() as (shell, partner):
            self.wait_until_stopped(shell)  # by what is typed to the shell
            shell.type("kill %1; kill -CONT %1\r")
            self.assertEqual(partner.line(), QUIT)


NO_READLINE = """if True:
    import runpy, sys
    sys.modules["readline"] = None  # to import it is an ImportError
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


if __name__ == "__main__":
    main()
