"""Any system call may fail, and a signal may come at any of them: each in turn, in the real scripts."""

from __future__ import annotations

import pathlib
import re
import resource
import signal
import socket
import time
from functools import partial
from typing import IO

from harness import (
    BROKE, CLIENT, CTRL_U, ENTER, GREETING, MESSAGE_LONGEST, PAUSE_SECONDS, QUIT, SERVER, WAITING,
    ChatTest, Partner, Patience, Program, main, on_linux, processor_seconds,
)  # fmt: skip
from meddling import (
    ALWAYS, ANSWER, END, FAREWELL, NEVER, ODD, SENT, TROUBLE, TYPED, VISIT, MeddlingTest, Outcome,
    Pair, meddling,
)  # fmt: skip


class ClientFails(MeddlingTest):
    def begin(self, function: str, what: str, when: str) -> Pair:
        """Start a client whose person types the whole conversation at once."""
        listener = self.listener()
        client = self.client_of(listener, flags=meddling(function, what, when))
        client.type("".join(f"{line}\n" for line in TYPED))
        return Pair(client, listener)

    def finish(self, client: Pair) -> Outcome:
        """Hold the conversation, as far as it goes."""
        partner = self.picked_up(client, SENT)
        heard = ""
        if partner:
            heard = partner.rest()
            partner.close()
        client.listener.close()
        return self.outcome(client.program, heard, bool(partner))

    def usual(self) -> Outcome:
        """Return what comes of a conversation in which nothing fails."""
        outcome = self.finish(self.begin("recv", "EIO", NEVER))
        self.assertEqual((outcome.status, outcome.ends()), (0, ["quit"]))
        self.assertEqual(outcome.heard.split(), list(TYPED))
        return outcome

    def assert_whole_lines(self, outcome: Outcome, farewell: bool) -> None:
        """The partner heard a part of the conversation, in whole lines; `\\quit` comes last, or not."""
        lines = outcome.heard.split("\n")
        self.assertEqual(lines.pop(), "")
        if farewell:
            self.assertEqual(lines.pop(), QUIT)
        self.assertEqual(lines, list(TYPED[: len(lines)]))

    def test_failures_that_change_nothing(self) -> None:
        usual = self.usual()
        same = [self.begin(*kind) for kind in (
            ("setsockopt", "ENOPROTOOPT", ALWAYS), ("recv", "EAGAIN", ODD), ("keyboard", "EAGAIN", ODD),
            ("stdout", "EAGAIN", ODD), ("stderr", "EAGAIN", ODD), ("shutdown", "ENOTCONN", ALWAYS),
            ("close", "EIO", ALWAYS),
        )]  # fmt: skip
        for client in same:
            with self.subTest(command=client.program.process.args[5:7]):  # type: ignore[index]
                outcome = self.finish(client)
                self.assertTrue(outcome.meddled)
                self.assertEqual(outcome, usual._replace(meddled=True))

    def test_failures_of_every_call_end_the_conversation_at_most(self) -> None:
        usual = self.usual()
        ends = {  # the exit status, how it ended, and whether the partner is told
            "recv": (1, r"was lost \(Connection reset by peer\).*", False),
            "send": (1, r"was lost \(Broken pipe\)", False),
            "select": (1, "quit", True),
            "stdout": (1, "quit", True),
            "keyboard": (0, "quit", True),
        }

        def check(function: str, _: str, outcome: Outcome) -> None:
            status, how, told = ends[function]
            if outcome.status == 0 and function != "keyboard":  # it was the goodbye
                self.assertEqual(outcome.heard.split()[:3], list(TYPED[:3]))
                status, how, told = 0, "quit", function != "send"
            self.assertEqual((outcome.status, len(outcome.ends())), (status, 1), outcome)
            self.assertRegex(outcome.ends()[0], rf"\A{how}\Z")
            if function in TROUBLE:
                self.assertEqual(outcome.err.count(TROUBLE[function]), 1)
            self.assert_whole_lines(outcome, told)

        def check_stderr(_: str, __: str, outcome: Outcome) -> None:
            self.assertEqual(outcome._replace(err=""), usual._replace(err="", meddled=True))
            lines = usual.err.splitlines()
            but_one = [lines[:i] + lines[i + 1 :] for i in range(len(lines))]
            self.assertIn(outcome.err.splitlines(), but_one)

        def check_connect(_: str, __: str, outcome: Outcome) -> None:
            self.assertEqual((outcome.status, outcome.connected), (1, False))
            self.assertRegex(outcome.err, r"\A\* cannot connect to .*: Network is unreachable; .*\n\Z")

        checks = {"connect": check_connect, "stderr": check_stderr}
        self.each_call(
            [("connect", "ENETUNREACH"), ("recv", "ECONNRESET"), ("send", "EPIPE"),
             ("select", "ENOMEM"), ("keyboard", "EIO"), ("stdout", "ENOSPC"), ("stderr", "EIO")],
            self.begin, self.finish,
            lambda function, what, outcome: checks.get(function, check)(function, what, outcome),
        )  # fmt: skip

    def test_a_signal_at_every_call(self) -> None:
        def check(function: str, what: str, outcome: Outcome) -> None:
            if function == "connect":  # there is nobody yet to be told
                self.assertEqual(outcome.status, -signal.SIGTERM)
                return
            self.assertEqual(outcome.ends(), ["quit"], f"it is told once: {outcome}")
            self.assertIn(outcome.status, (0, 128 + signal.SIGTERM))
            if outcome.status == 0:  # the end came first
                self.assertEqual(outcome.heard.split(), list(TYPED))
            self.assert_whole_lines(outcome, farewell=True)

        functions = ("connect", "send", "recv", "stdout", "stderr", "select")
        kinds = [(function, "before") for function in functions]
        kinds += [(function, "after") for function in functions if function != "select"]
        self.each_call(kinds, self.begin, self.finish, check)


class ServerFails(MeddlingTest):
    def keyboard(self) -> IO[bytes]:
        """Return an input that answers whatever is asked."""
        return self.file_of(f"{ANSWER}\n".encode() * 1000)

    def begin(self, function: str, what: str, when: str) -> Program:
        """Start a server that may fail."""
        return self.start(SERVER, 0, stdin=self.keyboard(), flags=meddling(function, what, when))

    def port(self, server: Program) -> int:
        """Return the port of a server, or 0 if it ends before it tells."""
        if not self.comes(server.err, WAITING):
            return 0
        return int(re.findall(WAITING.encode(), server.err.data)[0])

    def visit(self, port: int) -> str:
        """Hold a conversation, as far as it goes; return what was heard."""
        try:
            partner = self.partner(port)
        except ConnectionError:  # the server has ended meanwhile
            return ""
        partner.send(VISIT)
        heard = partner.rest()
        partner.close()
        return heard

    def finish(self, server: Program, ends_itself: bool = False) -> Outcome:
        """Visit a server, and close it with a Ctrl-C, unless what was meddled with ends it: a Ctrl-C
        could be faster then. What is meddled with after the Ctrl-C is too late to count."""
        heard, over = "", False
        port = self.port(server)
        if port:
            heard = self.visit(port)
            over = self.comes(server.err, WAITING) and "meddled" not in server.err.so_far()
            if over or not ends_itself:
                server.signal(signal.SIGINT)
        outcome = self.outcome(server, heard, b"accepted" in server.err.data)
        return outcome._replace(meddled=not over)

    def assert_heard(self, heard: str) -> None:
        """What a visitor heard is a part of the conversation, in whole lines."""
        self.assertRegex(heard, rf"\A({GREETING} [^\n]+\n({ANSWER}\n)*)?({FAREWELL})?\Z")

    def test_failures_in_a_conversation_cost_the_next_nothing(self) -> None:
        kinds = (
            ("setsockopt", "ENOPROTOOPT", ""), ("shutdown", "ENOTCONN", ""), ("close", "EIO", ""),
            ("recv", "EAGAIN", ""), ("keyboard", "EAGAIN", ""), ("stdout", "EAGAIN", ""),
            ("stderr", "EAGAIN", ""), ("stderr", "EIO", ""), ("keyboard", "EIO", "quit"),
            ("recv", "ETIMEDOUT", r"was lost \(Connection timed out\)"),
            ("send", "EPIPE", r"was lost \(Broken pipe\)"),
        )  # fmt: skip
        servers = [self.begin(function, what, "here == conversation") for function, what, _ in kinds]
        for (function, what, how), server in zip(kinds, servers):
            heard: list[str] = []
            port = self.port(server)
            meddled = True
            while meddled:  # in the nth conversation with the nth call, as far as there is one
                heard.append(self.visit(port))
                server.err.expect("accepted\n")
                meddled = server.err.expect(f"meddled|{WAITING}").group() == b"meddled"
            server.signal(signal.SIGTERM)
            self.assertEqual(server.status(), 0, (function, what, server.err.so_far()[-600:]))
            self.assert_calm(server)
            notices = server.err.all().split("accepted\n")[1:]
            usual = heard.pop()
            self.assertEqual(usual.split("\n")[1:], [ANSWER, ANSWER, QUIT, ""])
            self.assertTrue(heard, f"there is no {function}")
            for number, (words, notice) in enumerate(zip(heard, notices), 1):
                with self.subTest(function=function, what=what, number=number):
                    self.assert_heard(words)
                    ends = END.findall(re.sub(r"port \d+", "port", notice))
                    if not how:
                        self.assertEqual(words, usual)
                    if (function, what) == ("stderr", "EIO"):
                        self.assertLessEqual(len(ends), 1)
                    else:
                        self.assertEqual(len(ends), 1, notice)
                        self.assertRegex(ends[0], rf"\A({how or BROKE}|{BROKE}.*)")
            if not how and what == "EAGAIN":
                self.assertEqual(server.out.data.decode(), "alice> hello\nalice> again\n" * (len(heard) + 1))

    def test_a_failing_select_or_stdout_ends_the_server_in_order(self) -> None:
        def check(function: str, _: str, outcome: Outcome) -> None:
            self.assertEqual(outcome.status, 1)
            self.assertEqual(outcome.err.count(TROUBLE[function]), 1)
            self.assertTrue(outcome.err.endswith("* server closed\n"))
            self.assertEqual(outcome.err.count("server closed"), 1)
            self.assert_heard(outcome.heard)
            self.assertEqual(len(outcome.ends()), int(outcome.connected))
            if outcome.connected:
                self.assertTrue(outcome.heard.endswith(f"{QUIT}\n"))
                self.assertRegex(outcome.ends()[0], rf"\A(quit|{BROKE}.*)\Z")

        kinds = [("select", "ENOMEM"), ("stdout", "EPIPE")]
        finish = partial(self.finish, ends_itself=True)
        self.each_call(kinds, self.begin, finish, check, when="count >= {}")

    def test_a_signal_at_every_call(self) -> None:
        def check(_: str, __: str, outcome: Outcome) -> None:
            self.assertEqual(outcome.status, 0)
            self.assertEqual(outcome.err.count("server closed\n"), 1, f"it is told once: {outcome}")
            self.assert_heard(outcome.heard)
            self.assertEqual(len(outcome.ends()), int(outcome.connected), f"it is told once: {outcome}")
            if outcome.connected:
                self.assertTrue(outcome.heard.endswith(f"{QUIT}\n"), outcome)
                self.assertRegex(outcome.ends()[0], rf"\A(quit|{BROKE}.*)\Z")

        functions = ("accept", "send", "recv", "stdout", "stderr", "select")
        kinds = [(function, "before") for function in functions]
        kinds += [("accept", "after"), ("select", "after")]
        self.each_call(kinds, self.begin, self.finish, check)


class Sending(MeddlingTest):
    """A line that cannot be sent, and a partner that takes none."""

    def test_a_failing_send_is_told_after_what_has_arrived(self) -> None:
        for what, why in (("EPIPE", "Broken pipe"), ("ENOBUFS", "No buffer space available")):
            server, port = self.server(flags=meddling("send", what, "count == 2"))
            partner = self.visitor(port)
            partner.send("hello\nagain\n")
            server.out.expect("^alice> hello\n$")
            server.type("right\n")
            self.assertEqual(partner.rest(), "")  # and no `\\quit`
            server.err.expect(rf"meddled\n\* alice was lost \({why}\)\n\* waiting on")
            self.assertEqual(server.out.so_far(), "alice> hello\nalice> again\n")
            self.visitor(port, "next")
            server.err.expect("is next")
            client, partner = self.client_of_partner(flags=meddling("send", what, "count == 2"))
            partner.send("fine\nwell\n")
            client.type("hello\n")
            self.assertEqual(partner.rest(), "")
            self.assertEqual(client.status(), 1)
            self.assertEqual(client.out.all(), "server> fine\nserver> well\n")
            client.err.expect(rf"meddled\n\* server was lost \({why}\)\n$")
            self.assert_calm(server, client)

    # Runs a script whose connections hold few lines that were not read.
    NARROW = """if True:
        import runpy, socket, sys
        class Socket(socket.socket):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        socket.socket = Socket
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """

    def stuck(self, script: pathlib.Path) -> tuple[Program, Partner]:
        """Return a program that waits for its partner to read, and the partner."""
        answers = self.file_of(b"alice\n" + (b"y" * MESSAGE_LONGEST + b"\n") * 2000)
        flags = ("-I", "-S", "-c", self.NARROW)
        if script == SERVER:
            program, port = self.server(stdin=answers, flags=flags)
            partner = self.partner(port)
            partner.send("alice\n")
        else:
            listener = self.listener()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            program = self.client_of(listener, stdin=answers, flags=flags)
            partner = self.accept(listener)
        partner.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        partner.send("\n" * 2000)
        program.out.expect("> \n")
        while program.out.read(0.3):  # a message is shown whenever an answer could be sent
            pass
        return program, partner

    def test_lines_to_a_peer_that_reads_late_arrive_whole(self) -> None:
        program, partner = self.stuck(CLIENT)
        self.assertEqual(partner.line(), "alice")
        for _ in range(1000):
            self.assertEqual(partner.line(), "y" * MESSAGE_LONGEST)
        self.assert_calm(program)

    def test_what_is_typed_while_a_line_is_on_its_way_is_refused(self) -> None:
        listener = self.listener()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client = self.client_of(listener, flags=("-I", "-S", "-c", self.NARROW), terminal="in out err")
        partner = self.accept(listener)
        partner.send("\n" * 2000)  # so that only the connection makes the client wait
        client.at().expect("username> ")
        client.type("alice" + ENTER)
        patience = Patience()
        while "not sent: your last line is still on its way" not in client.at().so_far():
            self.assertTrue(patience.lasts(), "it did not have to wait")
            client.type("y" * MESSAGE_LONGEST + ENTER + "half" + ENTER + CTRL_U)
        client.type(QUIT + ENTER)
        client.at().expect("you quit")
        self.assertEqual(partner.rest().split("\n")[-2:], [QUIT, ""])
        self.assert_calm(client)

    def test_a_full_buffer_gets_no_half_lines(self) -> None:
        for script in (SERVER, CLIENT):
            for reads in (True, False):  # while the program says goodbye, or only afterwards
                with self.subTest(script=script.name, reads=reads):
                    program, partner = self.stuck(script)
                    self.assertLess(program.out.data.count(b"\n"), 1900, "it did not have to wait")
                    program.signal(signal.SIGTERM)
                    if not reads:
                        program.status()
                    lines = partner.rest().split("\n")
                    partner.close()
                    self.assertEqual(program.status(), 0 if script == SERVER else 143)
                    half = lines.pop()
                    if reads:
                        self.assertIsNone(partner.stream.error)
                        self.assertEqual((half, lines.pop()), ("", QUIT))
                    else:  # the rest of the line could not be sent, so nothing came behind it
                        self.assertRegex(half, r"\Ay*\Z")
                    sizes = {len(line) for line in lines[2:] if line != QUIT}
                    self.assertEqual(sizes, {MESSAGE_LONGEST})
                    self.assertNotIn(QUIT, lines[:-1])
                    self.assert_calm(program)


class Accepting(MeddlingTest):
    @on_linux
    def test_a_failing_accept_is_tried_again_without_hurry(self) -> None:
        errors = (("ECONNABORTED", "Software caused connection abort"), ("EMFILE", "Too many open files"))
        servers = [self.server(0, flags=meddling("accept", what, "count <= 2")) for what, _ in errors]
        visitors = [self.partner(port) for _, port in servers]
        begin = time.monotonic()
        for (_, why), (server, _), visitor in zip(errors, servers, visitors):
            before = processor_seconds(server.pid)
            visitor.send("alice\nhello\n")
            server.out.expect("alice> hello\n")
            self.assertGreater(time.monotonic() - begin, 1.5 * PAUSE_SECONDS)
            self.assertLess(processor_seconds(server.pid) - before, PAUSE_SECONDS / 4)
            self.assertEqual(server.err.so_far().count(f"* cannot pick up a client: {why}; trying again\n"), 2)
            server.signal(signal.SIGTERM)
            visitor.line()
            self.assert_goodbye(visitor)
            visitor.close()
            self.assertEqual(server.status(), 0)
            self.assert_calm(server)

    def test_a_signal_while_accept_fails_closes_the_server(self) -> None:
        server, port = self.server(0, flags=meddling("accept", "EMFILE", ALWAYS))
        self.partner(port)
        server.err.expect("trying again\n")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.status(), 0)
        server.err.expect("server closed\n$")

    def test_a_server_that_cannot_listen_says_why(self) -> None:
        for function, what, why in (("bind", "EACCES", "Permission denied"),
                                    ("listen", "EADDRINUSE", "Address already in use"),
                                    ("getsockname", "ENOBUFS", "No buffer space available")):  # fmt: skip
            server = self.start(SERVER, 0, flags=meddling(function, what, ALWAYS))
            self.assertEqual(server.status(), 1)
            server.err.expect(rf"^(meddled\n)+\* cannot listen on localhost port 0: {why}; [^\n]+\n(meddled\n)*$")

    # Runs a script with more descriptors than a select() can wait for.
    CROWDED = """if True:
        import os, resource, runpy, sys
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
        while os.dup(2) < 1100:
            pass
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    """

    def test_a_descriptor_that_select_refuses_ends_a_script_in_order(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 1200:
            self.skipTest("so many descriptors are not allowed here")
        flags = ("-I", "-c", self.CROWDED)
        server = self.start(SERVER, 0, flags=flags)
        self.assertEqual(server.status(), 1)
        server.err.expect(r"\A\* cannot wait [^\n]+\n\* waiting on [^\n]+\n\* server closed\n\Z")
        listener = self.listener()
        client = self.client_of(listener, flags=flags)
        partner = self.accept(listener)
        self.assert_goodbye(partner)
        partner.close()
        self.assertEqual(client.status(), 1)
        client.err.expect(r"\A\* cannot wait [^\n]+\n\* waiting to be [^\n]+\n\* you quit\n\Z")


class Goodbye(ChatTest):
    """Signals during a goodbye to a partner that does not close."""

    def test_ctrl_c_in_ones_own_goodbye_changes_nothing(self) -> None:
        listener = self.listener()
        client = self.client_of(listener)
        partner = self.accept(listener)
        client.type(f"{QUIT}\n")
        self.assert_goodbye(partner)
        client.signal(signal.SIGINT)
        self.assertEqual(client.status(), 0)
        self.assertEqual(END.findall(client.err.all()), ["quit"])
        self.assert_calm(client)

    def test_ctrl_c_in_a_goodbye_closes_the_server_after_it(self) -> None:
        server, port = self.server()
        visitor = self.visitor(port)
        visitor.send("hello\n")
        server.type(f"{QUIT}\n")
        self.assert_goodbye(visitor)
        server.signal(signal.SIGINT)
        self.assertEqual(server.status(), 0)
        server.err.expect(r"\* you quit\n\* server closed\n$")
        self.assertEqual(END.findall(server.err.all()), ["quit"])
        self.assert_calm(server)


if __name__ == "__main__":
    main()
