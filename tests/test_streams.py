"""What goes in and out through the shell: the command line, pipes, the two streams, encodings."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import (
    BROKE, CLIENT, CONNECTED, GOODBYE_SECONDS, MESSAGE_LONGEST, NO_USERNAME, QUIT, SERVER,
    TOO_LONG, USERNAME_LONGEST, ChatTest, main,
)  # fmt: skip


def redirected(redirection: str) -> tuple[str, ...]:
    """Return a command prefix that starts a script with a redirection of the shell's."""
    return ("sh", "-c", f'exec "$@" {redirection}', "sh")


class CommandLine(ChatTest):
    def run_script(self, script: pathlib.Path, *arguments: object) -> tuple[int, str, str]:
        """Run a script to its end; return its exit status, its stdout and its stderr."""
        program = self.start(script, *arguments, stdin=subprocess.DEVNULL)
        return program.status(), program.out.all(), program.err.all()

    def test_usage_errors_exit_2_with_a_reason(self) -> None:
        for arguments in ((SERVER,), (SERVER, "x"), (SERVER, "-1"), (SERVER, "65536"), (SERVER, ""),
                          (SERVER, "1", "2"), (SERVER, "--host"), (CLIENT,),
                          (CLIENT, "localhost"), (CLIENT, "localhost", "0"), (CLIENT, "localhost", "65536"),
                          (CLIENT, "localhost", "http"), (CLIENT, "localhost", "9" * 5000)):  # fmt: skip
            with self.subTest(arguments=arguments):
                status, out, err = self.run_script(*arguments)
                self.assertEqual(status, 2)
                lowest = 0 if arguments[0] is SERVER else 1
                self.assertRegex(err, f"usage: (.*\n)+.*error: .*(PORT is a number from {lowest} to 65535, not|argument)")
                self.assertEqual(out, "")

    def test_the_highest_port_is_one(self) -> None:
        for script, arguments in ((SERVER, (65535,)), (CLIENT, ("127.0.0.1", 65535))):
            program = self.start(script, *arguments)
            program.err.expect(r"\* [^\n]* port 65535\b")

    def test_help_tells_how_a_conversation_goes(self) -> None:
        for script, arguments, lines in (
            (SERVER, r"\[--host HOST\] PORT", ("PORT  a number from 0 (any free port) to 65535", "--host HOST  where to listen (localhost)")),
            (CLIENT, "HOST PORT", ("HOST  a name, an IPv4 or an IPv6 address", "PORT  a number from 1 to 65535")),
        ):  # fmt: skip
            status, out, _ = self.run_script(script, "--help")
            self.assertEqual(status, 0)
            self.assertRegex(out, rf"\Ausage: {script.name} \[-h\] {arguments}\n")
            self.assertIn(QUIT, out)
            self.assertIn("username", out)
            for line in lines:
                self.assertIn(line, re.sub("  +", "  ", out))

    def test_help_that_cannot_be_written_is_one_failure_without_a_word(self) -> None:
        for script in (SERVER, CLIENT):
            full = os.open("/dev/full", os.O_WRONLY)
            self.addCleanup(os.close, full)
            for flags in (("-I",), ("-I", "-u")):  # with and without a buffer
                with self.subTest(script=script.name, flags=flags):
                    program = self.start(script, "--help", stdout=full, flags=flags)
                    self.assertEqual((program.status(), program.err.all()), (1, ""))
            with self.subTest(script=script.name, stdout="closed"):
                program = self.start(script, "--help", prefix=redirected(">&-"))
                self.assertEqual((program.status(), program.err.all()), (0, ""))

    def refused(self, said: str, script: pathlib.Path, *arguments: object) -> None:
        """The script ends at once, with one line that says what it cannot do, and why."""
        status, out, err = self.run_script(script, *arguments)
        self.assertEqual(status, 1, err)
        self.assertRegex(err, rf"^\* [^\n]*cannot[^\n]*{said}[^\n]*\n\Z")
        self.assertEqual(out, "")

    def test_a_server_that_cannot_listen_says_why_and_what_to_do(self) -> None:
        taken = self.listener().getsockname()[1]
        self.refused(f"localhost port {taken}: Address already in use; try another", SERVER, taken)
        self.refused("try another", SERVER, "--host", "no.such.host.invalid", 0)
        self.refused("try another", SERVER, "--host", "a..b", 0)
        self.refused("try another", SERVER, "--host", "192.0.2.1", 0)

    def test_a_server_without_the_right_to_its_port_says_so(self) -> None:
        lowest = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        if not lowest.exists() or int(lowest.read_text()) <= 80:
            self.skipTest("everybody may listen on port 80 here")
        with_right = os.geteuid() == 0
        if with_right and not shutil.which("setpriv"):
            self.skipTest("root needs setpriv to be without the right")
        prefix = ("setpriv", "--bounding-set", "-net_bind_service") if with_right else ()
        server = self.start(SERVER, 80, prefix=prefix)
        self.assertEqual(server.status(), 1)
        server.err.expect(r"^\* cannot listen on localhost port 80: Permission denied; try another")

    def test_a_client_that_cannot_connect_says_why_and_what_to_do(self) -> None:
        listener = self.listener()
        free = listener.getsockname()[1]
        listener.close()
        self.refused(f"127.0.0.1 port {free}: Connection refused; check", CLIENT, "127.0.0.1", free)
        self.refused("check", CLIENT, "no.such.host.invalid", 1)
        self.refused("check", CLIENT, "x" * 64 + ".invalid", 1)
        self.refused("port 1: (?!it is not the name of)[^\n]*; check", CLIENT, "b\u00fccher.invalid", 1)
        self.refused("port 1: it is not the name of a host; check", CLIENT, "\u00fc..invalid", 1)

    def test_the_default_listens_on_127_0_0_1_only(self) -> None:
        _, port = self.server()
        self.visitor(port)
        with self.assertRaises(ConnectionRefusedError):
            self.partner(port, "127.0.0.2")

    def test_hosts_of_either_family(self) -> None:
        for host, address in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"),
                              ("::1", "::1"), ("::", "::1")):  # fmt: skip
            with self.subTest(host=host):
                if ":" in host:
                    try:
                        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
                    except OSError:
                        self.skipTest("no IPv6 here")
                _, port = self.server("--host", host, 0)
                client = self.start(CLIENT, address, port)
                client.err.expect(CONNECTED)

    def test_a_restart_at_once_on_the_same_port(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        server.err.expect("is alice")
        server.signal(signal.SIGINT)  # the server closes first: its port is in TIME_WAIT
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(server.status(), 0)
        _, again = self.server(port)
        self.assertEqual(again, port)

    def test_each_script_works_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copies = []
            for script in (SERVER, CLIENT):
                alone = pathlib.Path(folder, script.stem)
                alone.mkdir()
                copies.append(pathlib.Path(shutil.copy(script, alone)))
            server = self.start(copies[0], 0, cwd=copies[0].parent)
            client = self.start(copies[1], "localhost", server.port(), cwd=copies[1].parent)
            client.type(f"alice\nhello\n{QUIT}\n")
            server.out.expect("alice> hello\n")


class PipedKeyboard(ChatTest):
    def test_what_is_left_in_the_servers_pipe_goes_to_the_next_client(self) -> None:
        server, port = self.server()
        server.type("to alice\nto bob\n")
        for name in ("alice", "bob"):
            partner = self.visitor(port, name)
            partner.send("hello\n")
            self.assertEqual(partner.line(), f"to {name}")
            partner.quit()

    def test_piped_lines_of_white_space_are_skipped_and_a_cr_ends_a_line(self) -> None:
        client, partner = self.client_of_partner()
        client.type(" \t\n\r\n\u3000\none\r\ntwo\rthree\n")
        for text in ("one", "two", "three"):
            self.assertEqual(partner.line(), text)
            partner.send("ok\n")

    def test_piped_names_and_messages_that_break_a_rule_end_the_conversation(self) -> None:
        for name in ("x" * (USERNAME_LONGEST + 1), "two words", "server", "a\u202eb", "a\x7f"):
            with self.subTest(name=name):
                listener = self.listener()
                client = self.client_of(listener)
                partner = self.accept(listener)
                client.type(f"{name}\nnever sent\n")
                self.assert_goodbye(partner)
                partner.close()
                self.assertEqual(client.status(), 1)
                client.err.expect(rf"\* you {BROKE}.*{NO_USERNAME}")
                self.assert_calm(client)
        client, partner = self.client_of_partner()
        client.type("x" * (MESSAGE_LONGEST + 1) + "\nnever sent\n")
        self.assertEqual(partner.line(), QUIT)
        partner.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(rf"\* you {BROKE}{TOO_LONG}")
        server, port = self.server()
        server.type("x" * (MESSAGE_LONGEST + 1) + "\nwelcome\n")
        for name, answer in (("alice", QUIT), ("bob", "welcome")):
            partner = self.visitor(port, name)
            partner.send("hello\n")
            self.assertEqual(partner.line(), answer)
            partner.close()

    def test_a_piped_line_is_one_line_however_long_it_is(self) -> None:
        server, port = self.server()
        server.type("x" * 2100)
        alice = self.visitor(port)
        alice.send("hello\n")
        server.out.expect("hello")
        server.type("x" * 100_000 + "tail\nwelcome\n")
        self.assert_goodbye(alice)
        alice.close()
        bob = self.visitor(port, "bob")
        bob.send("hello\n")
        self.assertEqual(bob.line(), "welcome")


class Streams(ChatTest):
    def test_a_stdout_that_nobody_reads_keeps_no_program_from_ending(self) -> None:
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        self.addCleanup(os.close, write_end)
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):  # it is full then
            while True:
                os.write(write_end, b"x")
        os.set_blocking(write_end, True)
        client, partner = self.client_of_partner(stdout=write_end)
        client.type("hello\n")
        self.assertEqual(partner.line(), "hello")
        partner.send("hello too\n")
        time.sleep(1.5 * GOODBYE_SECONDS)  # it has waited for a reader for long, which nothing tells
        client.signal(signal.SIGTERM)
        self.assertEqual(partner.line(), QUIT)
        partner.close()
        self.assertEqual(client.status(), 143)

    def test_a_stdout_that_is_gone_ends_the_script_politely(self) -> None:
        for target in ("pipe", "/dev/full"):
            with self.subTest(target=target):
                if target == "pipe":
                    reader, stdout = os.pipe()
                    os.close(reader)
                else:
                    stdout = os.open(target, os.O_WRONLY)
                self.addCleanup(os.close, stdout)
                server, port = self.server(stdout=stdout)
                server.type("an answer to what nobody saw\n")
                visitor = self.visitor(port)
                visitor.send("hello\n")
                self.assert_goodbye(visitor)
                visitor.close()
                self.assertEqual(server.status(), 1)
                server.err.expect(r"\* cannot write to stdout any longer: .*\n\* you quit\n")
                client, partner = self.client_of_partner(stdout=stdout)
                client.type("hello\n")
                partner.line()
                partner.send("hi\n")
                self.assert_goodbye(partner)
                partner.close()
                self.assertEqual(client.status(), 1)
                self.assert_calm(server, client)

    def test_a_stdout_that_is_gone_when_the_last_lines_are_shown(self) -> None:
        reader, stdout = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, stdout)
        client, partner = self.client_of_partner(stdout=stdout)
        partner.send(f"out of turn\n{QUIT}\n")
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\* cannot write to stdout any longer: .*\n\* you quit\n")

    def test_a_stderr_that_is_gone_changes_nothing(self) -> None:
        reader, stderr = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, stderr)
        client, partner = self.client_of_partner(stderr=stderr)
        client.type("hello\n")
        self.assertEqual(partner.line(), "hello")
        partner.send(f"hi\n{QUIT}\n")
        self.assertEqual(client.status(), 0)
        self.assertEqual(client.out.all(), "server> hi\n")

    def test_a_stderr_that_nobody_reads_does_not_keep_it_from_the_end(self) -> None:
        reader, stderr = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, stderr)
        client, partner = self.client_of_partner(stderr=stderr)
        os.set_blocking(stderr, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stderr, b"x" * 4096)
        os.set_blocking(stderr, True)
        client.signal(signal.SIGTERM)
        self.assertEqual(partner.line(), QUIT)
        partner.close()
        self.assertEqual(client.status(), 143)

    def test_closed_streams_are_no_error(self) -> None:
        for redirection in ("<&-", "<&- >&-", "0>/dev/null"):
            with self.subTest(redirection=redirection):
                server, port = self.server(prefix=redirected(redirection))
                for name in ("alice", "bob"):  # the input has ended: it quits at its turn
                    partner = self.visitor(port, name)
                    partner.send("hello\n")
                    self.assert_goodbye(partner)
                    partner.close()
                client = self.start(CLIENT, "localhost", port, prefix=redirected(redirection))
                self.assertEqual(client.status(), 0)
                self.assert_calm(server, client)
        for redirection in (">&-", "2>&-", ">&- 2>&-"):
            with self.subTest(redirection=redirection):
                client, partner = self.client_of_partner(prefix=redirected(redirection))
                client.type("hello\n")
                self.assertEqual(partner.line(), "hello")
                partner.send(f"hi\n{QUIT}\n")
                self.assertEqual(client.status(), 0)
                self.assertIn(client.out.all(), ("", "server> hi\n"))
                self.assert_calm(client)

    def test_what_waits_when_one_is_interrupted_is_not_shown(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send("one\ntwo\nthree\n")
        server.out.expect("one")
        server.signal(signal.SIGINT)
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(server.status(), 0)
        self.assertEqual(server.out.all(), "alice> one\n")

    def test_a_piped_message_is_whole_wherever_a_read_cuts_it(self) -> None:
        client, partner = self.client_of_partner()
        messages = [f"{number} " + "\u00e9\u4f60\U0001f600" * 150 for number in range(20)]
        client.type("".join(f"{message}\n" for message in messages))
        for message in messages:
            self.assertEqual(partner.line(), message)
            partner.send("go on\n")

    def test_without_a_keyboard_a_terminal_shows_no_prompt_and_no_row(self) -> None:
        client, partner = self.client_of_partner(terminal="out err", stdin=self.file_of(b"alice\nhello\n"))
        self.assertEqual(partner.line(), "hello")
        partner.send("hi\n")
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 0)
        self.assertNotRegex(client.at().so_far(), "\x1b|username> |alice> ")

    def test_notices_never_reach_stdout(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send(f"hello\n{QUIT}\n")
        server.err.expect("alice quit")
        server.signal(signal.SIGINT)
        server.status()
        self.assertEqual(server.out.all(), "alice> hello\n")

    def test_other_encodings_replace_what_they_do_not_have(self) -> None:
        for encoding, typed, sent, shown in (
            ("ascii", b"caf\xc3\xa9\n", "caf\ufffd\ufffd", r"\?\?!"),
            ("latin-1", b"caf\xe9\n", "caf\u00e9", r"\?\xe9!"),
            ("utf-8", b"caf\xe9\n", "caf\ufffd", "\u4f60\u00e9!"),
            ("utf-8", b"caf\xc3", "caf\ufffd", "\u4f60\u00e9!"),  # and the end of the input
        ):
            with self.subTest(encoding=encoding):
                listener = self.listener()
                client = self.client_of(listener,
                                    flags=(), env={"PYTHONIOENCODING": encoding})  # fmt: skip
                partner = self.accept(listener)
                client.type(b"alice\n" + typed)
                client.end_input()
                self.assertEqual(partner.line(), "alice")
                self.assertEqual(partner.line(), sent)
                partner.send("\u4f60\u00e9!\n")
                client.out.expect(f"server> {shown}\n")

    def test_input_in_utf_16_without_a_byte_order_mark_has_ended(self) -> None:
        listener = self.listener()
        client = self.client_of(listener, flags=(), env={"PYTHONIOENCODING": "utf-16"})
        partner = self.accept(listener)
        client.type(b"alice\n")
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 0)


if __name__ == "__main__":
    main()
