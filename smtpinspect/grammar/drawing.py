"""The state table as Markdown; `python -m smtpinspect.grammar.drawing DESIGN.md` redraws it there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from smtpinspect.grammar.states import ACTIONS, EVENTS, STATES, table

BEGIN: Final = "<!-- states -->"
END: Final = "<!-- end of states -->"
IGNORED: Final = "·"
NOTHING: Final = "-"


def drawn() -> str:
    """States, the cell of every (event, state), and what the actions mean."""
    return "\n".join([*_states(), "", *_cells(), "", *_actions()])


def redrawn(text: str) -> str:
    """The page with the table between its markers. Raises ValueError when they are not there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after:
        raise ValueError(f"the markers {BEGIN} and {END} must stand there once")
    return f"{before}{BEGIN}\n{drawn()}\n{END}{after}"


def _states() -> Iterator[str]:
    yield "| state | how the client's octets are read |"
    yield "|---|---|"
    for state, meaning in STATES.items():
        yield f"| {state} | {meaning} |"


def _cells() -> Iterator[str]:
    cells = table()
    yield f"| event | {' | '.join(STATES)} | |"
    yield "|---" * (len(STATES) + 2) + "|"
    for event, meaning in EVENTS.items():
        row = [_cell(state, *cells[state, event]) for state in STATES]
        yield f"| {event} | {' | '.join(row)} | {meaning} |"


def _cell(state: str, after: str, action: str) -> str:
    """`ask → WAIT`: what is done, and the next state where it is another."""
    if action == "ignore" and after == state:
        return IGNORED
    return f"{action} → {after}".strip() if after != state else action or NOTHING


def _actions() -> Iterator[str]:
    told = {f"**{action}**": meaning for action, meaning in ACTIONS.items() if action not in ("", "ignore")}
    words = [f"{action}: {meaning}" for action, meaning in told.items()]
    yield f"Actions. {IGNORED}: {ACTIONS['ignore']}. {NOTHING}: {ACTIONS['']}. {'. '.join(words)}."


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(redrawn(page.read_text(encoding="utf-8")), encoding="utf-8")
    if not sys.argv[1:]:
        print(drawn())
