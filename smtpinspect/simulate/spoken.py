"""What a part of a captured stream says, in a line for a timeline. What AUTH carries is not shown."""

from __future__ import annotations

from smtpinspect.grammar.phrases import count
from smtpinspect.grammar.verbs import hides
from smtpinspect.simulate.adopt import Side
from smtpinspect.simulate.script import Command, Script, Transaction

SHOWN = 72  # characters of a command or a reply


def shown(command: Command) -> str:
    """A command on a line, without what AUTH carries."""
    if command.answer:
        return "(answer in the AUTH dialogue)"
    if hides(command.verb):
        return " ".join(command.text.split()[:2])
    return cut(command.text) or "(an empty line)"


def cut(text: str) -> str:
    """As much of a text as a line has room for, control characters spelled out."""
    text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def spoken(script: Script, side: Side, at: int, n: int) -> str:
    """What these octets of a side's stream are; "" for none."""
    if n <= 0:
        return ""
    words = _of_server(script, at, at + n) if side == "server" else _of_client(script, at, at + n)
    return ", ".join(words) or f"{n:,} bytes"


def _of_server(script: Script, at: int, end: int) -> list[str]:
    words = []
    for reply in script.replies:
        if reply.at < end and at < reply.end:
            lines = reply.text.split("\n")
            more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
            words.append(cut(lines[0]) + more)
    return words


def _of_client(script: Script, at: int, end: int) -> list[str]:
    words: list[tuple[int, str]] = []
    for command in script.commands:
        if at <= command.at < end or command.at < at < command.end:
            words.append((command.at, shown(command)))
    for mail in script.mails:
        part = _of_text(mail, at, end)
        if part:
            words.append(((mail.text_at or 0), part))
    if script.tls_at is not None and end > script.tls_at:
        words.append((script.tls_at, "TLS"))
    return [text for _, text in sorted(words)]


def _of_text(mail: Transaction, at: int, end: int) -> str:
    if mail.text_at is None:
        return ""
    last = mail.text_end if mail.text_end is not None else mail.text_at + len(mail.text)
    low, high = max(at, mail.text_at), min(end, last)
    if high <= low:
        return ""
    begin = low - mail.text_at
    dot = mail.complete and mail.text_end == high and not mail.chunks
    if dot and high - low <= 3:
        return "the final dot"
    return f"text, bytes {begin:,}-{high - mail.text_at - 1:,}{' with the final dot' if dot else ''}"


def in_message(script: Script | None, mail: Transaction, at: int, n: int) -> str:
    """Which bytes of the message these octets of the client's stream are, first and last, counted from 0, its final
    dot with it; and what of them is behind that."""
    assert mail.text_at is not None
    last = max(at + max(n, 1) - 1, at)
    end = mail.text_end
    behind = ""
    if end is not None and at < end <= last:
        told = script.commands if script is not None else ()
        verbs = " ".join(one.verb for one in told if end <= one.at <= last and one.verb)
        behind = f", and {verbs or count(last - end + 1, 'byte')} behind it"
        last = end - 1
    return f"bytes {at - mail.text_at:,}-{last - mail.text_at:,}{behind}"
