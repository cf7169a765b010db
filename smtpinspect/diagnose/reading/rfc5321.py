"""The log of this project's own client by RFC 5321: `TIME <RCPT> FATE by HOST [IP] after N s: TEXT`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.state import State, reading

NAME: Final = "rfc5321"
_LINE: Final = re.compile(
    r"<(?P<rcpt>[^>]*)> (?P<fate>deferred|bounced|delivered) by (?P<host>\S+) \[(?P<ip>[^\]]+)\] "
    r"after (?P<seconds>\d{1,9}) s: (?P<text>.*)",
    re.DOTALL,
)
_AUTH: Final = re.compile(r"\bAUTH (?!is required)[^:\s]+")


def read(line: Line, state: State) -> Iterator[Reading]:
    """One line is one attempt."""
    match = _LINE.fullmatch(line.text)
    if match is None:
        return
    found = phrases.sense(NAME, _AUTH.sub("AUTH", match["text"]))
    if found is not None or match["fate"] != "delivered":
        told = {} if found is not None else {"text": match["text"]}
        yield reading(
            line, NAME, found, **told, fate=match["fate"], recipient=match["rcpt"], host=match["host"], ip=match["ip"],
            seconds=float(match["seconds"]),
        )  # fmt: skip
