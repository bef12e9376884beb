"""Play a short conversation between the two scripts, and show both screens next to each other: once
while both people type, and once at the end."""

from __future__ import annotations

from itertools import zip_longest

import harness

COLUMN = 60


class Scene:
    """Two people at two screens."""

    def __init__(self) -> None:
        self.server = harness.Program(harness.SERVER, 0, terminal="in out err", columns=COLUMN)
        self.port = self.server.port()
        self.client = harness.Program(
            harness.CLIENT, "localhost", self.port, terminal="in out err", columns=COLUMN
        )

    def kill(self) -> None:
        self.server.kill()
        self.client.kill()

    def say(self, program: harness.Program, name: str, text: str) -> None:
        """Type a line when it is the turn of a person."""
        program.wait_for_row(f"{name}>")
        program.type(text + harness.ENTER)

    def type_and_see(self, program: harness.Program, keys: str, row: str) -> None:
        program.type(keys)
        program.wait_for_row(row)

    def show(self, title: str) -> None:
        """Show both screens, with the cursor where it is."""
        print(f"{title}\n")
        left = [f"chatserve {self.port}", "-" * COLUMN, *self.rows(self.server)]
        right = [f"chatclient localhost {self.port}", "-" * COLUMN, *self.rows(self.client)]
        for one, other in zip_longest(left, right, fillvalue=""):
            print(f"{one:{COLUMN}}  {other}".rstrip())
        print()

    def rows(self, program: harness.Program) -> list[str]:
        """Return the rows of a screen; the cursor of a program that is running is a low line."""
        rows = program.screen()
        if program.process.poll() is not None:
            return rows[:-1]
        rows[-1] = f"{rows[-1]:{program.display.column}}_"
        return rows


def play(scene: Scene) -> None:
    server, client = scene.server, scene.client
    scene.say(client, "username", "alice")
    scene.say(client, "alice", "hello, is anybody there?")
    scene.say(server, "server", "yes, hello alice!")
    scene.say(client, "alice", "does naïve café ☕ come through?")
    client.wait_for_row("")
    scene.type_and_see(client, "a line for my next turn", "a line for my next turn")
    server.wait_for_row("server>")
    scene.type_and_see(server, "as you typed", "server> as you typed")
    scene.show("While both people type:")
    server.type(" it" + harness.ENTER)
    client.wait_for_row("alice> a line for my next turn")
    client.type(harness.ENTER)
    scene.say(server, "server", "\\quit")
    client.status()
    server.wait_for_row("")
    server.type(harness.CTRL_C)
    server.status()
    scene.show("At the end:")


def main() -> None:
    scene = Scene()
    try:
        play(scene)
    finally:
        scene.kill()


if __name__ == "__main__":
    main()
