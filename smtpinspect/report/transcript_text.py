"""`transcript` for people: one ladder per connection, client on the left, reply codes on the right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from smtpinspect.grammar.verbs import hides
from smtpinspect.report.terminal import Style, count, cut, padded, safe, wide, wrapped

_ARROW: Final = 60  # where the reply stands, when the commands leave it there
_MARGIN: Final = 16  # columns beside a command, on a terminal
_GREETINGS: Final = (220, 421, 554)


def readable(text: str) -> str:
    """A transcript's octets are Latin-1 characters; where they are UTF-8, people read that."""
    try:
        return text.encode("latin-1").decode()
    except ValueError:
        return text


def lines(talks: Iterable[Mapping[str, Any]], width: int | None, style: Style) -> Iterator[str]:
    """A ladder for each dict of `smtpinspect.transcript`."""
    for number, talk in enumerate(talks):
        if number:
            yield ""
        yield from _talk(talk, width, style)


def _talk(talk: Mapping[str, Any], width: int | None, style: Style) -> Iterator[str]:
    yield style(f"{talk['client']} to {talk['server']}", "bold")
    sent = count(talk["client_bytes"], "byte")
    yield f"  client sent {sent}, server {count(talk['server_bytes'], 'byte')}"
    for gap in talk["gaps"]:
        last = gap["offset"] + gap["length"] - 1
        yield f"  gap: {gap['direction']}'s bytes {gap['offset']:,}-{last:,} are not in the capture"
    commands = talk["commands"]
    codes = talk["reply_codes"]
    to_command = {reply["command"]: reply["text"] for reply in talk["replies"]}
    to_message = {reply["message"]: reply["text"] for reply in talk["replies"]}
    if codes and codes[0] in _GREETINGS and len(codes) > sum(c["reply"] is not None for c in commands):
        yield from wrapped(_said(codes[0], talk["replies"][0]["text"]), width, "  S: ")
    elif not codes:
        yield "  no reply of the server is in the capture" if commands else "  no dialogue is in the capture"
    messages = list(talk["messages"])
    texts = [_command(command) for command in commands]
    if width is not None:
        texts = [cut(text, width - _MARGIN) for text in texts]
    column = min(max(map(wide, texts), default=0), _ARROW)
    for number, (command, text) in enumerate(zip(commands, texts, strict=True)):
        reply = command["reply"]
        told = _said(reply, to_command.get(number, ""))
        answer = "" if command["verb"] == "." else told.split("; ")[0]
        room = None if width is None else max(width - max(column, wide(text)) - 7, 3)
        shown = answer if room is None else cut(answer, room)
        yield f"  C: {padded(text, max(column, wide(text)))}  {style(shown, _colour(reply))}".rstrip()
        if more := told.partition("; ")[2]:
            yield from wrapped(more, width, "       ")
        if messages and _carries(command, commands[number + 1 :]):
            place = len(talk["messages"]) - len(messages)
            yield from _message(messages.pop(0), to_message.get(place, ""), width, style)
    for message in messages:
        yield from _message(message, "", width, style)
    if talk["starttls"]:
        tls = talk["starttls"]
        sent = f"{count(tls['client_tls_bytes'], 'byte')} from the client"
        told = f"TLS from here: {sent}, {tls['server_tls_bytes']:,} from the server; not readable"
        yield from wrapped(told, width, "  ")


def _command(command: Mapping[str, Any]) -> str:
    verb, arg, length = command["verb"], safe(command["arg"]), command["length"]
    if verb == "(auth-response)":
        return arg or f"(answer to AUTH, {count(length, 'byte')})"
    text = f"{safe(verb)} {arg}".rstrip()
    if hides(verb) and arg and length > len(text):
        text += " ***"
    return text or "(empty line)"


def _carries(command: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> bool:
    """Does a text follow this command? BDAT: the last of its chunks."""
    if command["verb"] == "DATA":
        return bool(command["reply"] == 354)
    if command["verb"] == "BDAT":
        return not (later and later[0]["verb"] == "BDAT")
    return False


def _said(code: int | None, text: str) -> str:
    """A reply as it was said; what its further lines say stands behind semicolons, without their codes."""
    if not text:
        return "no reply" if code is None else str(code)
    first, *rest = [safe(readable(line)) for line in text.split("\n")]
    if rest and first.startswith(f"{code}-"):
        first = first[:3] + " " + first[4:]
    mark = str(code)
    return "; ".join([first, *(line[4:] if line.startswith(mark) else line for line in rest)])


def _message(message: Mapping[str, Any], text: str, width: int | None, style: Style) -> Iterator[str]:
    whole = "" if message["terminated"] else ", its end is not in the capture"
    reply = message["final_reply"]
    answer = _said(reply, text)
    size = count(message["bytes_wire"], "byte")
    for line in wrapped(f"text by {message['via']}: {size}{whole}; {answer}", width, "     "):
        yield line.replace(answer, style(answer, _colour(reply)))
    told = []
    if message["subject_decoded"] is not None:
        decoded, raw = readable(message["subject_decoded"]), readable(message["subject_raw"])
        told.append(f"Subject: {safe(decoded)}")
        if raw != decoded:
            told.append(f"as sent: {safe(raw)}")
    for part in message["parts"] or ():
        name = f" {safe(part['filename'])!r}" if part["filename"] else ""
        encoding = f", {safe(part['encoding'])}" if part["encoding"] else ""
        size = count(part["bytes"], "byte")
        told.append(f"{safe(part['type'])}{name}{encoding}, {size}, md5 {part['md5']}")
    for text in told:
        yield from wrapped(text, width, "       ")


def _colour(reply: int | None) -> str:
    if reply is None:
        return "yellow"
    return "green" if reply < 400 else "red"
