"""What a person meets at a terminal: prompts, line editing and its absence, who reads what."""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
import tty
from typing import Any, Iterator

from harness import (
    BACKSPACE, BLANK, BROKE, CLIENT, CTRL_D, CTRL_Q, CTRL_S, CTRL_Z, EDITED, END, ENTER, ESCAPE, HOME, IN_QUEUE, LEFT,
    MESSAGE_LONGEST, NO_TURN, NOT_PICKED_UP, NOT_SENT, PASTE, PASTED, PAUSE_SECONDS, QUIT, RIGHT, TOO_LONG,
    UNREAD_LONGEST, UP, USERNAME_LONGEST, WAITING, Peer, Program, TerminalTest, main, on_linux,
    processor_seconds, with_line_editing,
)  # fmt: skip


@with_line_editing
class Editing(TerminalTest):
    def test_arrows_home_end_and_backspace_over_wide_characters(self) -> None:
        client, peer = self.client_at_turn()
        client.type("\u4f60\u597d\u4e16" + BACKSPACE + "\u754c" + HOME + "<" + END + ">")
        client.type(LEFT + LEFT + "|" + RIGHT + "!" + ENTER)
        self.assertEqual(peer.line(), "<\u4f60\u597d|\u754c!>")

    def test_history_has_messages_the_too_long_and_the_untimely_but_not_the_name(self) -> None:
        client, peer = self.client_at_turn()
        client.type(UP + UP + "first" + ENTER)  # nothing above: not the username
        self.assertEqual(peer.line(), "first")
        client.type("untimely" + ENTER)
        client.at().expect(NO_TURN + "server")
        peer.send("go on\n")
        self.at_prompt(client)
        client.type("x" * (MESSAGE_LONGEST + 1) + ENTER)
        client.at().expect(NOT_SENT + f".*{TOO_LONG}")
        self.at_prompt(client)
        client.type(UP + BACKSPACE + ENTER)
        self.assertEqual(peer.line(), "x" * MESSAGE_LONGEST)
        for presses, text in ((3, "untimely"), (5, "first")):
            peer.send("go on\n")
            self.at_prompt(client)
            client.type(UP * presses + ENTER)
            self.assertEqual(peer.line(), text)

    def test_what_is_not_ascii_can_be_typed_in_a_locale_that_has_none(self) -> None:
        for locale in ("C", "POSIX", "no_such.locale"):
            client, peer = self.client_at_turn(env={"LC_ALL": locale})
            for text in ("na\u00efve caf\u00e9", "\U0001f600 \u043f\u0440\u0438\u0432\u0435\u0442", "\u65e5\u672c"):
                self.say(client, peer, text)
                client.type("half \u00e9")  # in the other's turn
                peer.send("go on\n")
                self.at_prompt(client)
                client.type("\u00fc" + ENTER)
                self.assertEqual(peer.line(), "half \u00e9\u00fc")
                peer.send("go on\n")
                self.at_prompt(client)

    def test_a_nul_can_be_typed(self) -> None:
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        client.type(b"a\x00b\r")
        client.at().expect(NO_TURN + "server")
        peer.send("go on\n")
        self.at_prompt(client)

    def test_the_bell_does_not_ring_among_the_notices(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, terminal="in out")
        peer = self.accept(listener)
        client.at().expect("username> ")
        client.type(UP + BACKSPACE + "bob" + ENTER)
        self.assertEqual(peer.line(), "bob")
        peer.close()
        self.assertEqual(client.status(), 1)
        self.assert_calm(client)

    def test_several_pasted_lines_become_one_message_on_enter(self) -> None:
        client, peer = self.client_at_turn()
        client.type(f"{PASTE}one\rtwo\r{QUIT}{PASTED}")
        self.assertIn(EDITED, client.at().so_far())  # the terminal was asked to
        self.wait_for(lambda: QUIT in client.screen()[-1], lambda: "the paste shows")
        client.type(ENTER)
        self.assertEqual(peer.line(), f"one two {QUIT}")

    def test_a_half_typed_line_survives_a_message_and_goes_on_at_the_prompt(self) -> None:
        server, port = self.server_at_terminal()
        peer = self.visitor(port)
        peer.send("hello\n")
        self.at_prompt(server)
        server.type("hi" + ENTER)
        self.assertEqual(peer.line(), "hi")
        self.type_and_see(server, "half a l", "half a l")
        peer.send("interrupted?\n")
        self.wait_for_last_line(server, "server> half a l")
        self.assertEqual(server.screen()[-2], "alice> interrupted?")
        server.type("ine" + ENTER)
        self.assertEqual(peer.line(), "half a line")

    def test_no_character_is_lost_fifty_times_in_a_row(self) -> None:
        server, peer = self.server_at_turn()
        for i in range(50):
            self.type_and_see(server, f"re{i}", f"server> re{i}")
            self.type_and_see(server, f"ply{ENTER}", "")
            self.assertEqual(peer.line(), f"re{i}ply")
            self.type_and_see(server, f"ha{i}", f"ha{i}")
            peer.send(f"message {i}\n")
            self.wait_for_last_line(server, f"server> ha{i}")
            self.assertEqual(server.screen()[-3:-1], [f"server> re{i}ply", f"alice> message {i}"])
            self.type_and_see(server, BACKSPACE * 4, "server>")

    @on_linux
    def test_a_prompt_costs_next_to_nothing(self) -> None:
        server, _ = self.server_at_turn()
        before = processor_seconds(server.pid)
        time.sleep(1)  # of which the program is to use next to nothing
        self.assertLess(processor_seconds(server.pid) - before, 0.05)


class Keys(TerminalTest):
    @with_line_editing
    def test_lines_in_one_packet_are_sent_in_turn_only(self) -> None:
        client, peer = self.client_at_turn()
        client.type("one\rtwo\rthr")
        self.assertEqual(peer.line(), "one")
        client.at().expect(NO_TURN + "server")
        peer.send("go on\n")
        self.wait_for_last_line(client, "alice> thr")
        client.type("ee" + ENTER)
        self.assertEqual(peer.line(), "three")

    def test_enters_alone_are_told_and_asked_again(self) -> None:
        client, peer = self.client_at_turn()
        client.type("\r\r\r")
        for _ in range(3):
            client.at().expect(BLANK)
        client.type("then this" + ENTER)
        self.assertEqual(peer.line(), "then this")

    def test_a_name_that_breaks_a_rule_is_asked_for_again(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, terminal="in out err")
        client.at().expect(IN_QUEUE)
        client.type("early" + ENTER)
        client.at().expect(NOT_PICKED_UP)
        peer = self.accept(listener)
        for name in ("two words", "server", "x" * (USERNAME_LONGEST + 1), "", "alice"):
            client.at().expect("username> ")
            client.type(name + ENTER)
        self.assertEqual(peer.line(), "alice")


class Readers(TerminalTest):
    """Nothing typed for one reader reaches another."""

    def visitor_in_queue(self, port: int, lines: str) -> Peer:
        """Connect to a server, and send lines before it picks one up."""
        peer = self.peer(port)
        peer.send(lines)
        return peer

    def type_in_the_pause(self, server: Program, text: str, begin: float) -> None:
        """Type before the next client is picked up; `begin` is a time before the last one's end."""
        server.type(text)
        if time.monotonic() - begin > PAUSE_SECONDS:
            self.skipTest("this machine was too busy to type within the pause")

    def typed_to_alice(self, text: str) -> tuple[Program, Peer, Peer]:
        """Type something to alice, with bob in the queue. Return the server, alice, and bob."""
        server, port = self.server_at_terminal()
        alice = self.visitor(port, "alice")
        alice.send("hello\n")
        self.at_prompt(server)
        bob = self.visitor_in_queue(port, "bob\nhello\n")
        server.type(text)
        return server, alice, bob

    def test_what_is_typed_to_one_who_left_does_not_reach_the_next(self) -> None:
        server, alice, bob = self.typed_to_alice("dear al")
        begin = time.monotonic()
        alice.close()
        server.at().expect(r"\* alice left\r\n")
        self.type_in_the_pause(server, "ice, I love you" + ENTER, begin)
        self.answer_to_bob(server, bob)
        self.assertGreater(time.monotonic() - begin, PAUSE_SECONDS / 2)

    def test_the_pause_is_for_a_peer_that_broke_a_rule_as_well(self) -> None:
        server, alice, bob = self.typed_to_alice("dear al")
        begin = time.monotonic()
        alice.send("x\n" * UNREAD_LONGEST)
        alice.half_close()
        server.at().expect(rf"\* alice {BROKE}.*\r\n")
        alice.close()
        self.type_in_the_pause(server, "ice, I love you" + ENTER, begin)
        server.at().expect(WAITING)
        self.assertGreater(time.monotonic() - begin, PAUSE_SECONDS / 2)
        self.answer_to_bob(server, bob)

    def answer_to_bob(self, server: Program, bob: Peer) -> None:
        """See that the answer that bob gets is the one that is typed to him."""
        server.at().expect("bob> hello")
        self.at_prompt(server)
        server.type("hi bob" + ENTER)
        bob.line()
        self.assertEqual(bob.line(), "hi bob")

    def test_what_is_typed_right_before_the_first_prompt_is_dropped(self) -> None:
        server, port = self.server_at_terminal()
        bob = self.visitor(port, "bob")
        server.at().expect("is bob")
        server.type("not for b")
        server.at().expect("not for b")
        bob.send("hello\n")
        self.at_prompt(server)
        server.type("hi bob" + ENTER)
        self.assertEqual(bob.line(), "hi bob")

    @with_line_editing
    def test_half_a_line_in_one_burst_with_an_enter_stays_with_its_reader(self) -> None:
        burst = "hello" + ENTER + "untimely" + ENTER + "not for bob"
        server, alice, bob = self.typed_to_alice(burst)
        self.assertEqual(alice.line(), "hello")
        server.at().expect(NO_TURN + "alice")  # the whole burst was read
        alice.quit()
        self.answer_to_bob(server, bob)

    def test_what_is_typed_while_nobody_is_connected_reaches_nobody(self) -> None:
        server, port = self.server_at_terminal()
        server.type(f"hello?\r{QUIT}\ranybody?")
        server.at().expect(r"anybody\?")
        peer = self.visitor_in_queue(port, "alice\nhello\n")
        self.at_prompt(server)
        server.type("hi" + ENTER)
        peer.line()
        self.assertEqual(peer.line(), "hi")

    def test_what_is_unread_when_the_client_exits_does_not_reach_the_shell(self) -> None:
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        client.signal(signal.SIGSTOP)
        client.type("rm -rf precious")
        client.at().expect("precious")
        peer.quit()
        client.signal(signal.SIGCONT)
        self.assertEqual(client.status(), 0)
        tty.setraw(client.slave, termios.TCSANOW)  # which lets half a line be read
        unread = struct.unpack("i", fcntl.ioctl(client.slave, termios.FIONREAD, b"\0" * 4))[0]
        self.assertEqual(unread, 0)

    def test_the_pause_is_only_for_a_person_at_the_prompt(self) -> None:
        server, port = self.server_at_terminal()
        begin = time.monotonic()
        count = 10
        for i in range(count):
            self.visitor_in_queue(port, f"guest{i}\nhello\n{QUIT}\n").rest()
        self.assertLess(time.monotonic() - begin, count * PAUSE_SECONDS / 2)


@with_line_editing
class KeysOfTheTerminal(TerminalTest):
    """Keys that mean something to the terminal or to readline, and not to a conversation."""

    def test_ctrl_s_does_not_stop_the_program(self) -> None:
        client, peer = self.client_at_turn()
        client.type("hel" + CTRL_S + "l" + CTRL_Q + "o" + CTRL_S + CTRL_Q + ENTER)
        self.assertEqual(peer.line(), "hello")

    def test_ctrl_s_in_the_others_turn_does_not_stop_the_program(self) -> None:
        client, peer = self.client_at_turn()
        self.say(client, peer, "hello")
        client.type(CTRL_S)
        peer.send("still there?\n")
        client.at().expect("server> still there[?]\r\n")

    def test_ctrl_d_costs_no_later_line_an_empty_one(self) -> None:
        server, port = self.server_at_terminal()
        peer = self.visitor(port)
        peer.send("hello\n")
        self.at_prompt(server)
        server.type(CTRL_D)
        self.assertEqual(peer.line(), QUIT)
        peer.close()
        peer = self.visitor(port)
        peer.send("hello\n")
        self.at_prompt(server)
        self.say(server, peer, "hello too")
        peer.send("bye\n")
        self.at_prompt(server)
        self.assertNotIn("", server.screen())

    def test_no_key_completes_or_lists_the_names_of_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "secret-file").touch()
            settings = pathlib.Path(folder, "inputrc")
            settings.write_text("set show-all-if-ambiguous on\nTAB: complete\n")
            client, peer = self.client_at_turn(cwd=folder, env={"INPUTRC": str(settings)})
            client.type("s" + "\t\t" + ESCAPE * 2 + ESCAPE + "?" + ESCAPE + "\t" + ESCAPE + "*" + ENTER)
            self.assertTrue(peer.line().startswith("s"))
            self.assertNotIn("secret-file", client.at().so_far())

    def test_of_keys_in_one_burst_with_an_enter_only_characters_stay(self) -> None:
        client, peer = self.client_at_turn()
        client.type("hello" + ENTER + "ab" + BACKSPACE + "c" + CTRL_D + UP + "d")
        self.assertEqual(peer.line(), "hello")
        peer.send("go on\n")
        self.wait_for_last_line(client, "alice> abcd")
        client.type(ENTER)
        self.assertEqual(peer.line(), "abcd")

    def test_what_is_typed_in_a_goodbye_garbles_no_notice(self) -> None:
        server, peer = self.server_at_turn()
        server.type(QUIT + ENTER)
        server.at().expect("you quit")
        server.type("abc")  # the peer has not closed yet
        server.at().expect("abc")
        peer.close()
        server.at().expect("waiting on")
        self.assertTrue(server.screen()[-2].startswith("* waiting on"), server.screen())

    def test_ctrl_z_where_no_shell_can_continue_it_asks_again(self) -> None:
        client, peer = self.client_at_turn()
        self.type_and_see(client, "half a ", "alice> half a")
        client.type(CTRL_Z)
        client.at().expect("alice> half a ")
        client.type("line" + ENTER)
        self.assertEqual(peer.line(), "half a line")

    def shells(self, background: bool = False) -> Iterator[tuple[Program, Peer]]:
        """Start a client at the prompt of each shell that there is, or in the background of it and
        then bring it to the front; give the terminal and its peer."""
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
                program.type("fg\r")
            peer = self.accept(listener)
            program.at().expect("username> ")
            program.type("alice\r")
            self.assertEqual(peer.line(), "alice")
            program.at().expect("alice> ")
            yield program, peer
            peer.close()
            program.kill()

    def wait_until_stopped(self, shell: Program) -> None:
        """Wait until a shell tells that its job is stopped."""

        def is_stopped() -> bool:
            shell.type("jobs\r")
            shown = shell.at().expect(r"(?s)jobs\r\n(.*?)[$%] ").group(1)
            return re.search(b"(?i)stopped|suspended", shown) is not None

        self.wait_for(is_stopped, lambda: "the client is stopped")

    def suspend(self, program: Program) -> None:
        """Type Ctrl-Z, and see the shell, and its terminal in order."""
        program.type(CTRL_Z)
        program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
        program.type("stty -a\r")
        shown = program.at().expect("(?s)speed(.*)echoctl").group(1).decode()
        for setting in ("ixon", "icanon", "echo"):
            self.assertRegex(shown, rf"(?<![-\w]){setting}\b")
        self.assertRegex(shown, "-noflsh")
        program.at().expect(r"[$%] ")

    def test_ctrl_z_gives_the_terminal_back_and_fg_brings_the_line_back(self) -> None:
        for program, peer in self.shells():
            self.type_and_see(program, "half", "alice> half")
            program.type(" a ")  # which may still be unread when the signal comes
            self.suspend(program)
            program.type("fg\r")
            program.at().expect("alice> half a ")
            program.type("line\r")
            self.assertEqual(peer.line(), "half a line")

    def test_ctrl_z_in_the_others_turn_and_a_while_in_the_background(self) -> None:
        for program, peer in self.shells():
            program.type("hello\r")
            self.assertEqual(peer.line(), "hello")
            self.wait_until_editing_is_off(program)
            self.suspend(program)
            program.type("bg\r")
            program.at().expect("(?i)stopped|suspended|[$%] ")
            program.type("echo in the $((1 + 1))nd line\r")
            program.at().expect("in the 2nd line")
            peer.send("how are you?\n")
            program.type("fg\r")
            program.at().expect("server> how are you[?]\r\n(.|\r|\n)*alice> ")
            program.type("fine\r")
            self.assertEqual(peer.line(), "fine")
            peer.quit()
            program.at().expect("server quit")

    def test_a_client_that_is_started_in_the_background_waits_for_fg(self) -> None:
        for program, peer in self.shells(background=True):
            program.type("hello\r")
            self.assertEqual(peer.line(), "hello")

    def test_a_client_that_is_killed_while_it_is_stopped_says_goodbye(self) -> None:
        for program, peer in self.shells():
            self.suspend(program)
            program.type("kill %1; kill -CONT %1\r")  # dash does not continue it
            self.assertEqual(peer.line(), QUIT)
            program.at().expect("you quit")
            program.type("echo in the $((1 + 1))nd line\r")
            program.at().expect("in the 2nd line")

    @on_linux
    def test_a_client_that_is_killed_in_the_background_says_goodbye_and_ends(self) -> None:
        for program, peer in self.shells():
            program.type("hello\r")
            self.assertEqual(peer.line(), "hello")
            self.wait_until_editing_is_off(program)
            client = os.tcgetpgrp(program.at().descriptor)
            os.kill(client, signal.SIGSTOP)
            program.at().expect("(?i)(stopped|suspended)(.|\r|\n)*[$%] ")
            program.type("bg\r")
            program.at().expect(r"[$%] ")
            program.type("kill %1; kill -CONT %1\r")
            self.assertEqual(peer.line(), QUIT)
            peer.close()
            self.wait_until_ended(pathlib.Path(f"/proc/{client}/stat"))

    def wait_until_ended(self, status: pathlib.Path) -> None:
        """Wait until the process of a status (proc(5)) has ended, though its shell may not know."""

        def has_ended() -> bool:
            try:
                return ") Z " in status.read_text()
            except (FileNotFoundError, ProcessLookupError):
                return True

        self.wait_for(has_ended, lambda: f"the end of {status}")


class Bell(TerminalTest):
    def test_it_rings_when_what_was_waited_for_comes_late_and_at_no_other_time(self) -> None:
        copy = self.changed(CLIENT, "BELL_SECONDS = 10 ", "BELL_SECONDS = 0.5 ")
        for env in ({}, {"TERM": "dumb"}):
            listener = self.listener()
            client = self.start(copy, *listener.getsockname(), terminal="in out err", env=env)
            client.at().expect(IN_QUEUE)
            time.sleep(0.7)  # longer than the bell waits
            peer = self.accept(listener)
            client.at().expect("username> ")
            self.assertEqual(client.at().so_far().count("\a"), 1)
            client.type("alice\r")
            self.assertEqual(peer.line(), "alice")
            for number in range(3):
                client.at().expect("alice> ")
                client.type(f"message {number}\r")
                self.assertEqual(peer.line(), f"message {number}")
                if number:
                    time.sleep(0.7)  # longer than the bell waits
                if number < 2:
                    peer.send("answer\n")
            peer.close()
            self.assertEqual(client.status(), 1)
            rings = client.at().so_far()
            self.assertEqual(rings.count("\a"), 2)
            self.assertRegex(rings, r"(?s)message 1.*\a.*answer.*message 2[^\a]*$")


class WithoutEditing(TerminalTest):
    """The same conversations where there is no readline, or no terminal that knows escapes."""

    def converse(self, terminal: str = "in out err", **options: Any) -> tuple[str, str]:
        """Hold a small conversation; return what the client's terminal and its stdout got."""
        listener = self.listener()
        client = self.client_of(listener, terminal=terminal, **options)
        peer = self.accept(listener)
        client.at().expect("username> ")
        client.type("alice\n")
        self.assertEqual(peer.line(), "alice")
        client.at().expect("alice> ")
        client.type("\n")
        client.at().expect(BLANK)
        client.type("x" * (MESSAGE_LONGEST + 1) + "\n")
        client.at().expect(TOO_LONG)
        client.type("hello\n")
        self.assertEqual(peer.line(), "hello")
        client.type("untimely\n")
        client.at().expect(NO_TURN + "server")
        client.type("half a ")
        client.at().expect("half a ")
        peer.send("hi alice\n")
        client.at().expect("alice> ")
        client.type("line\n")
        self.assertEqual(peer.line(), "half a line")
        peer.send("one more\n")
        client.at().expect("alice> ")
        client.type("never sent")
        client.at().expect("never sent")
        peer.close()
        self.assertEqual(client.status(), 1)
        client.at().expect(r"\* server left\r\n")
        self.assertTrue(self.is_as_found(client))
        self.assertNotRegex(client.at().so_far(), r"\n[\r ]*\n", "an empty line")
        return client.at().so_far(), client.out.so_far()

    def test_terminals_that_know_no_escapes_get_none(self) -> None:
        for term in ("dumb", ""):
            with self.subTest(term=term):
                text, _ = self.converse(env={"TERM": term})
                self.assertNotIn(ESCAPE, text)
                self.assertIn("server> hi alice\r\n", text)

    def test_without_term(self) -> None:
        text, _ = self.converse(prefix=("env", "-u", "TERM"))
        self.assertNotIn(ESCAPE, text)

    def test_without_readline(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "readline.py").write_text("raise ImportError\n")
            text, _ = self.converse(flags=(), env={"PYTHONPATH": folder})
            self.assertNotIn(ESCAPE, text)

    def test_with_the_readline_of_libedit(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "readline.py").write_text('"""As libedit\'s."""\n')
            text, _ = self.converse(flags=(), env={"PYTHONPATH": folder})
            self.assertNotIn(ESCAPE, text)

    def test_the_prompt_comes_below_what_tee_shows(self) -> None:
        listener = self.listener()
        command = f"{sys.executable} -I {CLIENT} 127.0.0.1 {listener.getsockname()[1]} | tee /dev/null"
        client = self.start("sh", "-c", command, terminal="in out err")
        peer = self.accept(listener)
        client.at().expect("username> ")
        client.type("alice\r")
        self.assertEqual(peer.line(), "alice")
        client.at().expect("alice> ")
        for number in range(5):
            client.type(f"message {number}\r")
            self.assertEqual(peer.line(), f"message {number}")
            peer.send(f"answer {number}\n")
            client.at().expect(f"server> answer {number}\r\nalice> ")

    def test_a_log_through_a_pipe_holds_the_conversation_alone(self) -> None:
        text, log = self.converse("in err")
        self.assertEqual(log, "server> hi alice\nserver> one more\n")
        self.assertNotIn(ESCAPE, text)


if __name__ == "__main__":
    main()
