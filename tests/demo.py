"""Play a short conversation between the two scripts, and show both sides next to each other."""

from __future__ import annotations

from itertools import zip_longest

import harness

TURNS = [
    ("hello, is anybody there?", "yes, hello alice!"),
    ("does naïve café ☕ come through?", "as you typed it"),
    ("what is longer than the row is shown in full once it is sent?", "as you see"),
]
COLUMN = 60


def show(left: list[str], right: list[str]) -> None:
    for one, other in zip_longest(left, right, fillvalue=""):
        print(f"{one:{COLUMN}}  {other}".rstrip())


def main() -> None:
    server = harness.Program(harness.SERVER, 0, terminal="in out err", columns=COLUMN)
    client = None
    try:
        port = server.port()
        client = harness.Program(
            harness.CLIENT, "localhost", port, terminal="in out err", columns=COLUMN
        )
        client.wait_for_row("username>")
        client.type("alice\r")
        for question, answer in TURNS:
            client.wait_for_row("alice>")
            client.type(question + "\r")
            server.wait_for_row("server>")
            server.type(answer + "\r")
        client.wait_for_row("alice>")
        client.type(f"{harness.QUIT}\r")
        client.status()
        server.err.expect("waiting on")
        server.signal(2)
        server.status()
        show(
            [f"chatserve {port}", "-" * COLUMN, *server.screen()[:-1]],
            [f"chatclient localhost {port}", "-" * COLUMN, *client.screen()[:-1]],
        )
    finally:
        server.kill()
        if client:
            client.kill()


if __name__ == "__main__":
    main()
