"""Scripts without a person: the command line, pipes, and streams that fail."""

from __future__ import annotations

import resource
import shutil
import socket
import sys
import unittest
from pathlib import Path
from signal import SIGINT

from harness import CLIENT, SERVER, ChatTest

QUIT = r"\quit"


class CommandLine(ChatTest):
    def test_usage_errors_are_told_in_plain_words(self) -> None:
        for script, arguments in (
            (SERVER, ()), (SERVER, ("x",)), (SERVER, ("-1",)), (SERVER, ("65536",)), (SERVER, ("",)), (SERVER, ("--host",)),
            (CLIENT, ()), (CLIENT, ("localhost",)), (CLIENT, ("localhost", "65536")), (CLIENT, ("localhost", "1.5")),
        ):  # fmt: skip
            with self.subTest(script=script.name, arguments=arguments):
                program = self.start(script, *arguments)
                program.ends(2)
                self.assertRegex(program.err.text, r"(?s)\Ausage: .* error: .*(0 to 65535|argument)")
                self.assertNotRegex(program.err.text + program.out.text, "invalid|Traceback")

    def test_help_tells_how_a_conversation_goes(self) -> None:
        for script in (SERVER, CLIENT):
            program = self.start(script, "--help")
            program.ends(0)
            for word in (f"usage: {script.name}", "username", QUIT, "turn", "HOST", "PORT"):
                self.assertIn(word, program.out.text)

    def test_hosts_where_a_server_is_reached_and_where_not(self) -> None:
        hosts: list[tuple[str, str, str]] = [
            ("", "127.0.0.1", "127.0.0.2"), ("localhost", "", "127.0.0.2"), ("127.0.0.1", "localhost", "127.0.0.2"), ("0.0.0.0", "127.0.0.2", ""),
        ]  # fmt: skip
        if Path("/proc/net/if_inet6").exists() and "lo" in Path("/proc/net/if_inet6").read_text():
            hosts += [("::1", "::1", "127.0.0.1"), ("::", "::1", "")]
        for host, reached, not_reached in hosts:
            with self.subTest(host=host):
                bob = self.server("--host", host, 0, stdin=b"hi\n")
                self.client(bob, reached, stdin=b"alice\nhello\n").ends(0)
                bob.sees("alice> hello")
                if not_reached:
                    with self.assertRaises(OSError):
                        self.visit(bob, host=not_reached)

    def test_a_failure_says_what_was_tried_and_why_and_what_to_do(self) -> None:
        taken, closed = self.listener().getsockname()[1], self.stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        refused = closed.getsockname()[1]
        for script, host, port, why in (
            (SERVER, "localhost", taken, "in use"), (SERVER, "192.0.2.1", 0, "address"), (SERVER, "a..b", 0, ""),
            (CLIENT, "localhost", refused, "refused"), (CLIENT, "no.such.host.invalid", 5000, ""), (CLIENT, "x" * 64, 5000, ""),
        ):  # fmt: skip
            with self.subTest(host=host, port=port):
                program = self.start(script, *(("--host", host) if script == SERVER else (host,)), port)
                program.is_told(f"{'listen on' if script == SERVER else 'connect to'} {host} port {port}: .*{why}.*--host")
                program.ends(1)
                self.assertEqual(program.err.text.count("\n"), 1 if script == SERVER else 2)

    def test_a_restart_at_once_on_the_same_port_by_scripts_that_stand_alone(self) -> None:
        server, client = (Path(shutil.copy(script, self.folder)) for script in (SERVER, CLIENT))
        port = "0"
        for _ in range(3):
            bob = self.start(server, port, cwd=self.folder)
            port = bob.is_told(r"waiting on .* port (\d+)")[1]
            alice = self.start(client, "localhost", port, cwd=self.folder)
            alice.enters("alice", "hello")
            bob.sees("alice> hello")
            bob.signals(SIGINT)  # so it closes first, and the port is in TIME_WAIT
            bob.ends(0)

    def test_silent_where_python_warns_and_working_where_it_drops_docstrings(self) -> None:
        for flags in (("-X", "dev", "-W", "error"), ("-OO",)):
            bob = self.server(flags=flags, stdin=b"hi\n")
            alice = self.client(bob, flags=flags, stdin=b"alice\nhello\n")
            alice.ends(0)
            bob.sees("alice> hello")
            bob.signals(SIGINT)
            bob.ends(0)
            self.assertRegex(bob.err.text + alice.err.text, r"\A(\* .*\n)+\Z")


class Keyboards(ChatTest):
    def test_a_pipe_is_read_a_line_a_turn_and_has_no_keys(self) -> None:
        alice, server = self.client_and_hand()
        alice.types("one\r\n \t\n\n\u3000\n\x1b[Atwo\a\x7f\tand\n\\quit it\n  \\QUIT \nnever sent\n")
        for text in ("one", "[Atwo\tand", r"\quit it"):
            server.hears(text)
            server.says("go on")
        server.hears_end(QUIT)
        server.leaves()
        alice.ends(0)

    def test_each_client_gets_what_the_one_before_left_of_a_pipe_and_its_end_is_a_quit(self) -> None:
        bob = self.server(stdin=b"\xef\xbb\xbfto alice\n" + b"x" * 501 + b"\nto dave")
        for name, answer in (("alice", "to alice"), ("carol", QUIT), ("dave", "to dave"), ("erin", QUIT), ("frank", QUIT)):
            guest = self.visit(bob, name)
            guest.says("hello")
            guest.hears(answer)
            guest.leaves()

    def test_a_piped_line_that_breaks_a_rule_is_told_and_ends_the_conversation(self) -> None:
        alice, server = self.client_and_hand()
        alice.enters("x" * 501, "never sent")
        server.hears_end(QUIT)
        server.leaves()
        alice.is_told("501 characters, 500 at most")
        alice.ends(1)

    def test_an_input_that_is_closed_or_cannot_be_read_has_ended(self) -> None:
        for redirect in ("<&-", "0>/dev/null", "<&- >&-"):
            with self.subTest(redirect=redirect):
                bob, alice = self.server_and_hand(redirect=redirect)
                alice.says("hello")
                alice.hears_end(QUIT)
                alice.leaves()
                self.client(bob, redirect=redirect).ends(0)


class Streams(ChatTest):
    def test_stdout_is_the_conversation_and_stderr_the_notices(self) -> None:
        bob = self.server()
        alice = self.client(bob)
        alice.enters("alice", "hello")
        bob.sees("alice> hello")
        bob.enters("hi")
        alice.sees("server> hi")
        alice.enters(QUIT)
        alice.ends(0)
        bob.is_told("alice quit")
        bob.signals(SIGINT)
        bob.ends(0)
        self.assertEqual((alice.out.text, bob.out.text), ("server> hi\n", "alice> hello\n"))
        for person, *notices in (
            (alice, rf"connecting to 127.0.0.1 port {bob.port}\b.*\bone\b", r"connected.*you begin.*\\quit", "120 s", "you quit"),
            (bob, rf"waiting on localhost port {bob.port}\b.*this machine only.*--host 0\.0\.0\.0.*Ctrl-C", r"127.0.0.1 port \d+ connected.*client begins.*\\quit",
             r"127.0.0.1 port \d+ is alice", "alice quit", "waiting on", "server closed"),
        ):  # fmt: skip
            self.assertRegex(person.err.text, "".join([r"\A", *(rf"\* .*{notice}.*\n" for notice in notices), r"\Z"]))

    def test_utf_8_in_every_locale(self) -> None:
        for env in ({"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}):
            alice, server = self.client_and_hand(env=env, flags=())
            alice.types("caf\u00e9 \u4f60\n", b"a\xffb\n")
            server.hears("caf\u00e9 \u4f60")
            server.says("\u4f60\u00e9")
            alice.sees("server> \u4f60\u00e9")
            server.hears("a\ufffdb")

    def test_closed_streams_are_no_error(self) -> None:
        for redirect, seen in ((">&-", ""), ("2>&-", "server> hi\n"), (">&- 2>&-", "")):
            with self.subTest(redirect=redirect):
                listener = self.listener()
                alice = self.client(listener, redirect=redirect, stdin=b"alice\nhello\n")
                server = self.accept(listener)
                server.hears("alice", "hello")
                server.says("hi")
                server.hears_end(QUIT)
                server.leaves()
                alice.ends(0)
                self.assertEqual(alice.out.text, seen)

    def test_a_stdout_that_is_full_is_told_and_ends_the_program(self) -> None:
        for quits in ((), (QUIT,)):  # also if the conversation ends in the same moment
            with Path("/dev/full").open("wb") as full:
                bob, guest = self.server_and_hand(stdout=full)
                alice, server = self.client_and_hand(stdout=full)
            alice.enters("hello")
            server.hears("hello")
            for program, peer in ((bob, guest), (alice, server)):
                peer.says("hi", *quits)
                peer.hears_end(*(() if quits else (QUIT,)))
                peer.leaves()
                program.is_told("stdout.*No space left")
                program.ends(1)

    def test_a_reader_that_needs_only_the_first_line(self) -> None:
        bob, alice = self.server_and_hand(redirect="| head -1")
        alice.says("one")
        bob.sees("alice> one")
        bob.enters("go on")
        alice.hears("go on")
        alice.says("two", "three")
        alice.hears_end(QUIT)
        bob.is_told("stdout.*Broken pipe")

    def test_any_other_failure_ends_the_program_with_one_line(self) -> None:
        bob = self.start("sh", "-c", f"ulimit -n 4 && exec {sys.executable} -I -S {SERVER} 0")
        bob.is_told("cannot go on: Too many open files")
        bob.ends(1)

    def test_a_failing_accept_is_told_and_tried_again(self) -> None:
        bob = self.server()
        limit = resource.prlimit(bob.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(bob.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        alice = self.visit(bob)
        alice.says("alice", "hello")
        bob.is_told("Too many open files")
        resource.prlimit(bob.process.pid, resource.RLIMIT_NOFILE, limit)
        bob.sees("alice> hello")


if __name__ == "__main__":
    unittest.main()
