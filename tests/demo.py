"""Play a short conversation between the two scripts, and show both screens next to each other."""

from __future__ import annotations

from itertools import zip_longest

from harness import CTRL_C, ChatTest, Program

COLUMNS = 60


def show(title: str, bob: Program, alice: Program) -> None:
    """Show both screens; the cursor is a low line."""
    print(f"{title}\n\n{f'chatserve {bob.port}':{COLUMNS}}  chatclient localhost {bob.port}")
    left, right = (
        [*("".join(cells[at : at + COLUMNS]) for cells in screen.finished
           for at in range(0, len(cells) or 1, COLUMNS)), screen.row("_")]  # fmt: skip
        for screen in (bob.screen, alice.screen)
    )
    for one, other in zip_longest(["-" * COLUMNS, *left], ["-" * COLUMNS, *right], fillvalue=""):
        print(f"{one:{COLUMNS}}  {other}".rstrip())
    print()


def play(stage: ChatTest) -> None:
    bob = stage.server(terminal=True, columns=COLUMNS)
    bob.row("(nobody is connected)")
    alice = stage.client(bob, "localhost", terminal=True, columns=COLUMNS)
    alice.row("username>")
    bob.row("(no username yet)")
    alice.enters("alice", "hello, is anybody there?")
    bob.row("server>")
    bob.types("yes, hel")
    alice.row("(server's turn)")
    alice.enters("does naïve café ☕ come through?")  # it waits
    alice.types("I have so much to te")
    alice.row("(server's turn) (1 waiting) I have so much to te")
    show("While both people type:", bob, alice)
    bob.enters("lo alice!")
    bob.row("server>")
    bob.enters("\\quit")
    alice.row("(server quit) I have so much to te")
    show("bob has quit, and alice was typing:", bob, alice)
    alice.ends(0)
    bob.row("(nobody is connected)")
    bob.types(CTRL_C)
    bob.ends(0)
    show("At the end:", bob, alice)


def main() -> None:
    stage = ChatTest()
    stage.setUp()
    try:
        play(stage)
    finally:
        stage.doCleanups()


if __name__ == "__main__":
    main()
