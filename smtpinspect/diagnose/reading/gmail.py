"""What Gmail's bounces say where no dialogue came about: it names no phase, but a host, its address and an error.

Its wording is documented nowhere; these are the forms of bounces that people have shown (2008 to 2025).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import Cause, Step

_PHRASE: Final = re.compile(r"did not accept our requests to connect")
_WHERE: Final = re.compile(
    r"\[(?:\(\d+\) )?(?P<host>[\w-]+(?:\.[\w-]+)+)\.?(?: \(\d+\))?"
    r"(?: \[?(?P<ip>[0-9A-Fa-f.:]{3,45}?)(?:\](?::\d+)?)?)?: (?P<why>[^\]]{1,200})\]"
)
_BOTH: Final[tuple[Step, ...]] = ("connect", "greeting")
# The errors, the first that fits. A time-out may be one of the SYN or of the greeting.
_ERRORS: Final[tuple[tuple[str, tuple[Step, ...], tuple[Cause, ...]], ...]] = (
    ("refused", ("connect",), ("refused",)),
    ("unreachable|no route", ("connect",), ("unreachable",)),
    ("banner", ("greeting",), ("timeout", "closed", "reset")),
    ("timed out", _BOTH, ("timeout",)),
    ("dropped|reset|closed", _BOTH, ("closed", "reset")),
    ("", _BOTH, ("timeout", "closed", "reset")),
)


def read(line: Line, state: State) -> Iterator[Reading]:
    """A text that says that no connection came about."""
    phrase = _PHRASE.search(line.text)
    if phrase is None:
        return
    where = _WHERE.search(line.text, phrase.end())
    held = {"host": where["host"], "ip": where["ip"] or ""} if where else {}
    why = where["why"] if where else ""
    steps, causes = next((steps, causes) for pattern, steps, causes in _ERRORS if re.search(pattern, why, re.I))
    meant = tuple(Meant(step, cause) for step in steps for cause in causes)
    yield reading(line, "", Sense(meant, line.text[: where.end() if where else phrase.end()], held), scope="host")
