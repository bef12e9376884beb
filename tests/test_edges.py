"""At the edges: addresses and names of hosts, telnet, signals that the parent ignored, systems that
lack something."""

from __future__ import annotations

import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from typing import Any

from harness import (
    CLIENT, CONNECTED, CTRL_C, ENTER, GREETING, NO_USERNAME, ON_PYPY, QUIT, SERVER, ChatTest, Program,
    TerminalTest, main,
)  # fmt: skip

IAC, DONT, DO, WONT, WILL, SB, SE, IP = (bytes([code]) for code in (255, 254, 253, 252, 251, 250, 240, 244))


def can_have_a_network_of_its_own() -> bool:
    """Tell whether a program can be started in a network and with files in /etc of its own."""
    if not (shutil.which("unshare") and shutil.which("ip") and shutil.which("mount")):
        return False
    command = ["unshare", "-mn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@unittest.skipUnless(can_have_a_network_of_its_own(), "this needs root, unshare, ip, and mount")
class OwnNetwork(ChatTest):
    """Programs in a network where nothing is but themselves, with names of hosts of its own."""

    HOSTS = "127.0.0.1 localhost\n::1 localhost\n"

    def in_network(
        self, setup: str = "", hosts: str = HOSTS, resolver: str = "", helper: str = ""
    ) -> tuple[str, ...]:
        """Return a prefix that starts a program in a network of its own, after some commands of the
        shell. `helper` is Python for another program there, which calls `tell("ready")` when the
        first one can start."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        script = ["set -e", "ip link set lo up", setup]
        for name, text in (("hosts", hosts), ("resolv.conf", resolver), ("nsswitch.conf", "hosts: files dns\n")):
            (self.folder / name).write_text(text)
            pathlib.Path("/etc", name).touch()
            script.append(f"mount --bind {self.folder / name} /etc/{name}")
        if helper:
            tell = f"tell = lambda word: pathlib.Path({folder.name!r}, word).touch()"
            lines = ["import pathlib, socket, time", tell, helper, "time.sleep(60)"]
            (self.folder / "helper.py").write_text("\n".join(lines))
            script.append(f"{sys.executable} -I {self.folder}/helper.py &")
            script.append(f"while [ ! -e {self.folder}/ready ]; do :; done")
        return ("unshare", "-mn", "sh", "-c", "\n".join([*script, 'exec "$@"']), "sh")

    def assert_cannot_connect(self, client: Program, host: str, reason: str) -> None:
        self.assertEqual(client.status(), 1)
        client.err.expect(rf"\A\* cannot connect to {host} port \d+: {reason}[^\n]+\n\Z")

    def test_refused_is_told_where_ipv6_is_off(self) -> None:
        off = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"
        client = self.start(CLIENT, "localhost", 9, prefix=self.in_network(off))
        self.assert_cannot_connect(client, "localhost", "Connection refused; ")

    def test_refused_is_told_where_another_address_has_no_route(self) -> None:
        for hosts in ("127.0.0.1 there\n2001:db8::1 there\n", "2001:db8::1 there\n127.0.0.1 there\n192.0.2.1 there\n"):
            client = self.start(CLIENT, "there", 9, prefix=self.in_network(hosts=hosts))
            self.assert_cannot_connect(client, "there", "Connection refused; ")

    def test_a_full_queue_is_told_where_another_address_has_no_route(self) -> None:
        helper = """
listener = socket.create_server(("127.0.0.1", 999), backlog=0)
waiting = [socket.socket() for _ in range(8)]
for one in waiting:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", 999))
tell("ready")
"""
        prefix = self.in_network(hosts="127.0.0.1 there\n2001:db8::1 there\n", helper=helper)
        client = self.start(self.impatient(CLIENT, "CONNECT_SECONDS", 0.3), "there", 999, prefix=prefix)
        self.assert_cannot_connect(client, "there", "timed out; it may be busy: ")

    def test_localhost_is_127_0_0_1_first_for_both(self) -> None:
        helper = """
other = socket.create_server(("::1", 999), family=socket.AF_INET6)
listener = socket.create_server(("127.0.0.1", 999))
tell("ready")
listener.accept()[0].sendall(b"chatserve\\n")
"""
        hosts = "::1 localhost\n127.0.0.1 localhost\n"
        prefix = self.in_network(hosts=hosts, helper=helper)
        client = self.start(CLIENT, "localhost", 999, prefix=prefix)
        client.err.expect(CONNECTED)
        server, _ = self.server(prefix=self.in_network(hosts=hosts))
        addresses = pathlib.Path(f"/proc/{server.pid}/net/tcp").read_text()
        self.assertIn("0100007F:", addresses)

    def test_a_connection_to_itself_counts_as_refused(self) -> None:
        ports = "echo '40000 40001' >/proc/sys/net/ipv4/ip_local_port_range"
        for port in (40000, 40001):
            client = self.start(CLIENT, "127.0.0.1", port, prefix=self.in_network(ports))
            self.assert_cannot_connect(client, r"127\.0\.0\.1", "Connection refused; ")

    def test_a_slow_look_up_of_a_name_can_be_interrupted(self) -> None:
        helper = """
silent = socket.socket(type=socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
tell("ready")
silent.recv(1)
tell("asked")
"""
        for script, arguments in ((CLIENT, ("slow.example", 9)), (SERVER, ("--host", "slow.example", 9))):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                prefix = self.in_network(resolver="nameserver 127.0.0.1\n", helper=helper)
                program = self.start(script, *arguments, prefix=prefix)
                self.wait_for((self.folder / "asked").exists, lambda: "the name is asked for")
                program.signal(number)
                self.assertEqual(program.status(2), -number)  # which a shell calls 128 and the number
                self.assertEqual(program.err.so_far(), "")


class Addresses(ChatTest):
    def test_an_empty_host_is_named(self) -> None:
        server = self.start(SERVER, "--host", "", 0)
        self.assertEqual(server.status(), 1)
        server.err.expect(r"\A\* cannot listen on '' port 0: ")
        client = self.start(CLIENT, "", 9)
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\A\* cannot connect to '' port 9: ")

    def test_a_host_with_what_cannot_be_seen_is_shown_in_one_line(self) -> None:
        client = self.start(CLIENT, "a\nb\x1b[2J", 9)
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\A\* cannot connect to a\\x0ab\\x1b\[2J port 9: [^\n]+\n\Z")


class Telnet(ChatTest):
    """Telnet's commands are no text (RFC 854), and its Ctrl-C is a `\\quit`."""

    COMMANDS = (
        WILL + b"\x18", WONT + b"\x01", DO + b"\x06", DONT + b"\x03", b"\xf1", b"\xf6", IAC,
        SB + b"\x18\x00xterm" + IAC + SE, SB + b"\x1f\x00\x50\x00\x0a" + IAC + SE,
    )  # fmt: skip

    def test_commands_are_dropped_wherever_they_come(self) -> None:
        server, port = self.server()
        for place in range(4):
            texts = [b"", b"ali", b"ce\r\nhel", b"lo\r\n", b""]
            texts[place] += b"".join(IAC + command for command in self.COMMANDS)
            partner = self.partner(port)
            partner.send(b"".join(texts))
            server.err.expect("is alice\n")
            server.out.expect("alice> hello\n")
            partner.close()

    def test_commands_that_are_cut_by_segments(self) -> None:
        server, port = self.server()
        partner = self.partner(port)
        for byte in b"ali" + b"".join(IAC + command for command in self.COMMANDS) + b"ce\r\nhello\r\n":
            partner.send(bytes([byte]))
            partner.stream.read(0.001)
        server.err.expect("is alice\n")
        server.out.expect("alice> hello\n")

    def test_a_command_of_which_a_byte_is_urgent(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send(b"hel" + IAC)
        partner.sock.send(b"\xf2", socket.MSG_OOB)  # a data mark: telnet's synch
        partner.send("lo\n")
        server.out.expect("alice> hello\n")

    def test_what_only_looks_like_a_command_does_not_hold_the_line(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send(IAC + SB + b"x" * 2000 + b"\nhello\n")
        server.err.expect("alice broke a rule: ")

    def test_a_byte_255_before_what_is_no_command_is_text_that_cannot_be_shown(self) -> None:
        server, port = self.server()
        partner = self.visitor(port)
        partner.send(b"a\xff\r\nb\xffc\n")
        server.out.expect("alice> a\ufffd\n")
        partner.quit()
        server.out.expect("alice> b\ufffdc\n")

    def test_the_interrupt_is_a_quit(self) -> None:
        interrupt = IAC + IP + IAC + DO + b"\x06"  # as telnet sends it, with a timing mark
        for said, shown, name in ((b"alice\nhello\n", "alice> hello\n", "alice"), (b"alice\nhello\nhalf", "alice> hello\n", "alice"),
                                  (b"", "", r"127\.0\.0\.1 port \d+"), (b"half a name", "", r"127\.0\.0\.1 port \d+")):  # fmt: skip
            for cut in range(len(interrupt)):
                server, port = self.server()
                partner = self.partner(port)
                partner.send(said + interrupt[:cut])
                if cut:
                    server.err.expect(CONNECTED)
                    partner.stream.read(0.02)
                partner.send(interrupt[cut:] + b"more\n")
                server.err.expect(rf"\* {name} quit\n")
                self.assertEqual(server.out.so_far(), shown)
                server.kill()

    @unittest.skipUnless(shutil.which("telnet"), "there is no telnet here")
    def test_ctrl_c_at_telnet_ends_the_conversation(self) -> None:
        server, port = self.server()
        telnet = self.start("telnet", "127.0.0.1", port, terminal="in out err")
        telnet.at().expect(GREETING)
        telnet.type("alice\r")
        server.err.expect("is alice")
        telnet.type("hello\r")
        server.out.expect("alice> hello\n")
        telnet.type(CTRL_C)
        server.err.expect(r"\* alice quit\n")
        telnet.at().expect("closed by foreign host")


@unittest.skipIf(ON_PYPY, "PyPy does not tell which signals are ignored")
class IgnoredSignals(ChatTest):
    """What the parent ignored stays ignored: nohup, or a script's `&`."""

    def test_signals_that_are_ignored_from_the_start_stay_ignored(self) -> None:
        server, port = self.server(prefix=("sh", "-c", 'trap "" INT QUIT HUP; exec "$@"', "sh"))
        visitor = self.visitor(port)
        server.err.expect("is alice")
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            server.signal(number)
        visitor.send("hello\n")
        server.out.expect("alice> hello\n")
        server.signal(signal.SIGTERM)
        self.assert_goodbye(visitor)
        visitor.close()
        self.assertEqual(server.status(), 0)

    def test_ctrl_c_during_the_imports_shows_no_traceback(self) -> None:
        for script in (SERVER, CLIENT):
            slow = "import time; time.sleep(60)"
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "argparse.py").write_text(f"print(flush=True); {slow}\n")
                program = self.start(script, "9", "9", flags=(), env={"PYTHONPATH": folder})
                program.out.expect("\n")
                program.signal(signal.SIGINT)
                self.assertEqual(program.status(), -signal.SIGINT)
                self.assertEqual(program.err.so_far(), "")


class Lacking(TerminalTest):
    """Where the system, or the start, lacks something."""

    def run_without(self, module: str, script: pathlib.Path, *arguments: object, **options: Any) -> Program:
        """Start a script that cannot import a module."""
        without = f"""if True:
            import runpy, sys
            sys.modules[{module!r}] = None  # to import it is an ImportError
            sys.argv = sys.argv[1:]
            runpy.run_path(sys.argv[0], run_name="__main__")
        """
        return self.start(script, *arguments, flags=("-I", "-c", without), **options)

    def test_a_system_without_termios_is_told_what_is_needed(self) -> None:
        for script, arguments in ((SERVER, ("0",)), (CLIENT, ("localhost", "9"))):
            program = self.run_without("termios", script, *arguments)
            self.assertEqual(program.status(), 1)
            program.err.expect(r"\A\* [^\n]*POSIX[^\n]*WSL[^\n]*\n\Z")

    def test_a_readline_that_cannot_be_imported_changes_nothing(self) -> None:
        listener = self.listener()
        client = self.run_without("readline", CLIENT, *listener.getsockname(), terminal="in out err")
        partner = self.accept(listener)
        client.wait_for_row("username>")
        self.type_and_see(client, "alice", "username> alice")
        client.type(ENTER)
        self.assertEqual(partner.line(), "alice")

    def test_no_warning_and_no_help_from_docstrings(self) -> None:
        for flags in (("-X", "dev", "-W", "error", "-I"), ("-OO", "-I")):
            server, port = self.server(flags=flags)
            client = self.start(CLIENT, "localhost", port, flags=flags)
            client.type("alice\nhello\n")
            server.out.expect("alice> hello\n")
            client.end_input()
            server.type("hi\n")
            self.assertEqual(client.status(), 0)
            server.err.expect("alice quit\n")
            server.signal(signal.SIGINT)
            self.assertEqual(server.status(), 0)
            for program in (server, client):
                self.assertRegex(program.err.all(), r"\A(\* [^\n]+\n)+\Z")
            for script, arguments in (
                (SERVER, ("65536",)), (CLIENT, ("", "9")), (CLIENT, ("127.0.0.1", "1")), (SERVER, ("--host", "", "0")),
            ):  # fmt: skip
                program = self.start(script, *arguments, flags=flags)
                self.assertIn(program.status(), (1, 2))
                self.assertNotRegex(program.err.all(), "Warning|Traceback|Exception")
            shown = self.start(SERVER, "--help", flags=flags)
            self.assertEqual(shown.status(), 0)
            self.assertIn(QUIT, shown.out.all())

    def test_help_in_the_background_of_a_terminal_is_not_stopped(self) -> None:
        shell = self.start("sh", "-i", terminal="in out err", env={"PS1": "$ "})
        shell.at().expect("[$] ")
        with tempfile.TemporaryDirectory() as folder:
            shell.type(f"{SERVER} --help >{folder}/help & wait $!; echo status=$?\r")
            shell.at().expect("status=0")
            self.assertIn(QUIT, pathlib.Path(folder, "help").read_text())

    @unittest.skipUnless(pathlib.Path("/proc/self/limits").exists(), "this looks into the system as Linux has it")
    def test_no_descriptors_at_the_start(self) -> None:
        for limit in range(4, 8):  # with fewer not every Python starts
            prefix = ("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh")
            server = self.start(SERVER, 0, prefix=prefix)
            text = server.err.expect(r"[^\n]*\n").group().decode()
            if "waiting on" in text:
                server.signal(signal.SIGTERM)
                self.assertEqual(server.status(), 0)
            else:
                self.assertEqual(server.status(), 1)
                self.assertRegex(server.err.all(), r"\A\* cannot listen on [^\n]+(Too many open files|not known); [^\n]+\n\Z")


class Names(ChatTest):
    def test_what_cannot_be_seen_in_a_name_is_shown_as_an_escape(self) -> None:
        server, port = self.server()
        for name, shown in (("a\u200bb", r"'a\\u200bb'"), ("a\u3000b", r"'a\\u3000b'"), ("\ufeffalice", r"'\\ufeffalice'")):
            partner = self.visitor(port, name)
            self.assertRegex(partner.line(), f"^{GREETING}: {shown} {NO_USERNAME}")
            server.err.expect(f"{shown} {NO_USERNAME}")
            partner.close()


if __name__ == "__main__":
    main()
