"""Exim's main log. Layout: exim's doc/spec, chapter 52, and mta.md 2.3; the phrases are smtpinspect.mta.exim's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line, duration
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import BREAKS, Cause, Step

NAME: Final = "exim"
ID: Final = r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}"
_LINE: Final = re.compile(rf"(?:\[\d+\] )?(?P<id>{ID}) (?P<rest>.*)", re.DOTALL)
_PEER: Final = r"H=(?P<host>\S+)(?: \([^)]*\))? \[(?P<ip>[0-9a-fA-F.:]+)\](?::\d+)?"
_FIELDS: Final = r'(?: (?!DT=)[A-Za-z]+=(?:"[^"]*"|\S+?)(?=[ :]|$))*'
_TRIED: Final = re.compile(rf"{_PEER}{_FIELDS}(?: ?: (?P<text>.*)| (?P<why>[A-Z][A-Za-z].*))", re.DOTALL)
# The strerror stands in front of the host, the phrase behind it; without a host there is one of them.
_DEFERRED: Final = re.compile(
    r"== (?P<rcpt>\S+)(?: <[^>]*>)?.*? defer \((?P<errno>-?\d+)\)"
    rf"(?:(?:: (?P<why>[^:]*?))? {_PEER}{_FIELDS}(?: DT=(?P<taken>\S+?))?(?: ?: (?P<text>.*))?"
    r"|(?: DT=(?P<taken_alone>\S+?))?(?:: (?P<alone>.*?)(?: DT=(?P<taken_last>[\w.]+))?)?)",
    re.DOTALL,
)
_RETURNED: Final = re.compile(
    rf"\*\* (?P<rcpt>[^\s:]+):?(?: <[^>]*>)?(?: [A-Z]=\S+)*(?: {_PEER})?{_FIELDS}(?: DT=(?P<taken>[\w.]+))?"
    r"(?: ?: (?P<text>.*?)| (?P<late>retry timeout exceeded))?(?: DT=(?P<taken_last>[\w.]+))?",
    re.DOTALL,
)
# Of a layout that is not known: whose mail, and what is said behind.
_FAILED: Final = re.compile(
    r"(?:==|\*\*) (?P<rcpt>[^\s:]+):?(?: <[^>]*>)?(?P<said>(?:.*? defer \(-?\d+\))?.*)", re.DOTALL
)
_LAYOUT: Final = re.compile(
    r"(?:.*? defer \(-?\d+\))?:?(?: [A-Za-z]+=(?:\"[^\"]*\"|[^\s\"]+?)(?: \[[^\]]*\](?::\d+)?)?(?=[ :]|$))*:? *"
)
_REACHED: Final = re.compile(_PEER)
_NAMED: Final = re.compile(
    r"(?:while connected to|Remote host|Malformed SMTP reply from|: host) (?P<host>\S+) \[(?P<ip>[0-9a-fA-F.:]+)\]"
)
_ERROR: Final = re.compile(r"[^\W\d_][^\d:]{0,60}: ")  # in any language
_SENT: Final = re.compile(rf"(?:=>|->|>>) (?P<rcpt>\S+).*? {_PEER}.*")
_TAKEN: Final = re.compile(r" DT=([\w.]+)")
_ARRIVED: Final = re.compile(r"<= (?P<sender>\S+)")
_SIZE: Final = re.compile(r" S=(\d{1,15})\b")
_MESSAGE_ID: Final = re.compile(r" id=(\S+)")
_LATE: Final = ": retry timeout exceeded"
# Other wording for the same: releases before 4.85 (commit c562fd30c), and a provider's, who blends two families of
# strings (mta.md, section 0, 1): no Exim has ever written "SMTP timeout from remote mail server".
_ALIASES: Final = (
    (re.compile(r"SMTP timeout from remote mail server (?=after )"), "SMTP timeout "),
    (re.compile(r"SMTP timeout while connected to \S+ \[[^\]]+\](?::\d+)? "), "SMTP timeout "),
    (re.compile(r"Remote host \S+ \[[^\]]+\](?::\d+)? closed connection"), "Remote host closed connection"),
    (re.compile(r"(SMTP error from remote mail server after .*?): host \S+ \[[^\]]+\](?::\d+)?(?=: \d{3})"), r"\1"),
    (re.compile(r"Malformed SMTP reply from \S+ \[[^\]]+\](?::\d+)? "), "Malformed SMTP reply "),
    (re.compile(r"\bLMTP timeout after"), "SMTP timeout after"),
    (re.compile(r"\bLMTP error after"), "SMTP error from remote mail server after"),
    (re.compile(r"\bLMTP connection closed after"), "Remote host closed connection in response to"),
    (re.compile(r"(MAIL FROM:<[^>]*>) [A-Z0-9]+(?:=\S+)?(?: [A-Z0-9]+=\S+)*(?=$|: )"), r"\1"),
    (re.compile(r"(RCPT TO:<[^>]*>) [A-Z]+=\S+(?: [A-Z]+=\S+)*(?=$|: )"), r"\1"),
    (re.compile(r"((?:after|response to) (?:pipelined )?)LHLO "), r"\1EHLO "),
    (re.compile(r"((?:after|response to) (?:pipelined )?)AUTH [^:]*"), r"\1AUTH"),
    (re.compile(r"(after|response to) (?:pipelined )?BDAT \d+(?: LAST)?"), r"\1 end of data"),
    # behind BDAT nothing but the replies to the group ends pipelining (smtp.c, smtp_chunk_cmd_callback())
    (re.compile(r"((?:after|response to) )pipelined (?=end of data|sending data block)"), r"\1"),
    (re.compile(r"(SMTP (?:timeout|error from remote mail server) after )pipelined (?=RCPT TO:)"), r"\1"),
)
_WRITTEN: Final[tuple[Step, ...]] = ("ehlo", "mail", "rcpt", "datacmd", "body")
_CLOSED: Final[tuple[Cause, ...]] = ("closed", "reset")
# With CHUNKING and PIPELINING the text goes out in one segment with MAIL and RCPT, and what waits for their replies is
# named after it (smtp_chunk_cmd_callback(); confirmed: run with Exim 4.96).
_GROUPED: Final = re.compile("pipelined (?:sending data block|end of data)")
# Texts whose end is anything: the TLS library's, the system's (tls-gnu.c, tls-openssl.c; mta.md 2.2). "unreachable" is
# of no kind: how it was broken is not told.
_BEGUN: Final = tuple(
    (re.compile(pattern, re.DOTALL), meant)
    for pattern, meant in (
        (r"TLS (?:session: |error on connection).*timed out", (Meant("starttls", "timeout"),)),
        (r"TLS (?:session: |error on connection).*|bad first read from TLS conn",
         (Meant("starttls", "unreachable"),)),
        (r"smtp send to \S+ \[[^\]]+\](?::\d+)? failed: .*",
         tuple(Meant(step, cause) for step in _WRITTEN for cause in _CLOSED)),
        (r"failed to write a data block", tuple(Meant("body", cause) for cause in _CLOSED)),
    )
)
_STRERROR: Final[dict[str, Meant]] = {
    "Connection timed out": Meant("connect", "timeout"),
    "Operation timed out": Meant("connect", "timeout"),
    "Connection refused": Meant("connect", "refused"),
    "No route to host": Meant("connect", "unreachable"),
    "Network is unreachable": Meant("connect", "unreachable"),
    "Host is unreachable": Meant("connect", "unreachable"),
}
_ERRNO: Final = {"110": "Connection timed out", "111": "Connection refused", "113": "No route to host"}
# What an error of the system may be of a conversation whose own line says more: kinds of break by errno.
_BROKEN_BY: Final = {
    "110": ("drop",), "Connection timed out": ("drop",), "Operation timed out": ("drop",),
    "111": ("rst",), "Connection refused": ("rst",),
    "104": ("rst", "fin"), "Connection reset by peer": ("rst", "fin"),
    "32": ("rst", "fin"), "Broken pipe": ("rst", "fin"),
}  # fmt: skip
BROKEN: Final = ("drop", "rst", "fin", "reply")
SAME: Final = 5.0  # seconds between the lines of one attempt
_MESSAGE: Final = (("mail", "timeout"), ("dot", "timeout"), ("dot", "closed"), ("dot", "reset"))


def normal(text: str) -> str:
    """Older and foreign wording as Exim 4.96 says it."""
    for pattern, said in _ALIASES:
        text = pattern.sub(said, text)
    return text


def sense(text: str) -> Sense | None:
    """The meaning of a phrase; a strerror behind it counts for nothing."""
    for words in _STRERROR:
        text = text.removesuffix(f": {words}")
    if (found := phrases.sense(NAME, normal(text))) is not None:
        return refined(_unrefused(found), text)._replace(text=text.strip())
    if text in _STRERROR:
        return Sense((_STRERROR[text],), text, {})
    begun = next((meant for pattern, meant in _BEGUN if pattern.fullmatch(text)), None)
    return Sense(begun, text, {}) if begun is not None else None


def _unrefused(found: Sense) -> Sense:
    """An error that quotes a good reply is none of the server's: the connection was reset amid the text, and what is
    quoted is the reply to the chunk before (confirmed: run with Exim 4.96).
    """
    if found.reply[:1] not in ("2", "3") or any(each.cause != "reply" for each in found.meant):
        return found
    held = {key: value for key, value in found.held.items() if key != "reply"}
    return found._replace(meant=tuple(Meant(found.meant[0].step, cause) for cause in _CLOSED), held=held)


def refined(found: Sense, text: str) -> Sense:
    """With what CHUNKING makes possible: the text goes out behind MAIL and RCPT, before their replies are read.

    smtp.c: smtp_chunk_cmd_callback() reaps them before the second chunk, smtp_deliver() behind the only one. `text`: as
    it was written. Confirmed (run with Exim 4.96): 78 breaks at MAIL, RCPT, BDAT, its octets and its reply.
    """
    first = found.meant[0]
    if first.cause not in BREAKS:
        return found
    if _GROUPED.search(text):
        more = tuple(Meant("mail", cause, ("rcpt", "datacmd")) for cause in dict.fromkeys(m.cause for m in found.meant))
        return found._replace(meant=(*found.meant, *more))
    if first.step == "rcpt":
        found = found._replace(meant=tuple(each._replace(grouped=("datacmd",)) for each in found.meant))
    elif first.step != "mail" or not first.grouped:
        return found
    return found._replace(meant=(*found.meant, *(Meant("dot", each.cause) for each in found.meant)))


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of the main log, its times already gone."""
    match = _LINE.match(line.text)
    if match is None:
        return
    queue_id, rest = match["id"], match["rest"]
    match rest[:2]:
        case "<=":
            _arrived(queue_id, rest, state)
        case "=>" | "->" | ">>":
            if sent := _SENT.match(rest):
                yield from state.take(queue_id)  # hosts that were tried in vain
                taken = _TAKEN.search(rest)
                yield reading(
                    line, NAME, fate="delivered", recipient=sent["rcpt"], host=sent["host"], ip=sent["ip"],
                    queue_id=queue_id, seconds=duration(taken[1]) if taken else None, broken=("none",),
                    **state.known(queue_id),
                )  # fmt: skip
        case "==":
            yield from _deferred(line, queue_id, rest, state)
        case "**":
            yield from _returned(line, queue_id, rest, state)
        case "H=":
            if tried := _TRIED.fullmatch(rest):
                found = sense(tried["text"] or tried["why"] or "")
                if found is not None:
                    told = reading(
                        line, NAME, found, host=tried["host"], ip=tried["ip"], queue_id=queue_id,
                        **state.known(queue_id),
                    )  # fmt: skip
                    yield from state.hold(queue_id, told._replace(scope=scope_of(found)))


def _arrived(queue_id: str, rest: str, state: State) -> None:
    sender, size, number = _ARRIVED.match(rest), _SIZE.search(rest), _MESSAGE_ID.search(rest)
    state.know(
        queue_id,
        sender=sender["sender"] if sender else "",
        size=int(size[1]) if size else None,
        message_id=number[1] if number else "",
    )


def _deferred(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    match = _DEFERRED.fullmatch(rest)
    held = state.take(queue_id)
    if match is None:
        yield from held
        yield from _failed(line, queue_id, rest, state)
        return
    if match["errno"] in ("-54", "-53", "-52", "-51"):  # the time of the host, address or route has not come
        yield from held
        yield reading(line, NAME, fate="deferred", recipient=match["rcpt"], queue_id=queue_id, waiting=True)
        return
    text = match["text"] or match["why"] or match["alone"] or _ERRNO.get(match["errno"], "")
    whole = None if match["text"] else _behind_error(text)  # a phrase behind the error of the system
    plain = not match["host"] and whole is None
    of_host = _of_host(line, queue_id, held, state, _BROKEN_BY.get(match["errno"])) if plain else None
    found = whole or sense(of_host.text if of_host is not None else text)
    if found is None and not match["text"] and ": " not in text:  # an error of connect() in another language
        found = sense(_ERRNO.get(match["errno"], ""))
        found = found._replace(text=text) if found is not None else None
    if found is None:
        yield from held
        yield from _failed(line, queue_id, rest, state)
        return
    same = of_host or next((each for each in held if each.text == found.text), None)
    # the line of the host is of this attempt; lines of other hosts are attempts of their own
    yield from (each for each in held if each is not same)
    host, ip = match["host"] or "", match["ip"] or ""
    if not host:
        peer = None if same else _REACHED.search(rest) or _NAMED.search(text)
        host, ip = (same.host, same.ip) if same else (peer["host"], peer["ip"]) if peer else ("", "")
    taken = match["taken"] or match["taken_alone"] or match["taken_last"]
    told = reading(
        line, NAME, found, fate="deferred", recipient=match["rcpt"], host=host, ip=ip, queue_id=queue_id,
        seconds=duration(taken) if taken else None, **state.known(queue_id),
    )  # fmt: skip
    yield told._replace(scope=scope_of(found), line=of_host.line if of_host is not None else told.line)


def _behind_error(text: str) -> Sense | None:
    """Releases before 4.85 write the error of the system, and behind it the phrase."""
    said = _TAKEN.sub("", text)
    head = _ERROR.match(said)
    found = sense(said[head.end() :]) if head is not None else None
    return found if found is not None and found.text not in _STRERROR else None


def _of_host(
    line: Line, queue_id: str, held: Sequence[Reading], state: State, kinds: tuple[str, ...] | None
) -> Reading | None:
    """The line of the host, `H=` in front, that a line without one belongs to: the last one of this mail, of the same
    moment, and broken so. A mail to several recipients has a line for each of them.
    """
    key = f"exim {queue_id}"
    last: Reading | None = held[-1] if held else state.sessions.get(key) if line.when is not None else None
    if last is None or kinds is None or not set(kinds) & set(last.broken):
        return None
    if line.when is not None and last.when is not None and abs(line.when - last.when) > SAME:
        return None
    state.session(key, last)
    return last


def _returned(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    match = _RETURNED.fullmatch(rest)
    if match is None:
        yield from state.take(queue_id)
        yield from _failed(line, queue_id, rest, state)
        return
    text = match["text"] or ""
    late = text.endswith(_LATE) or text == _LATE[2:] or bool(match["late"])
    said = text.removesuffix(_LATE)
    found = (sense(said) or _behind_error(said)) if text else None
    held = state.take(queue_id)
    of_host = None
    if not match["host"]:
        only = late and found is None
        of_host = _of_host(line, queue_id, held, state, BROKEN if only else _BROKEN_BY.get(said))
    found = sense(of_host.text) if of_host is not None else found
    yield from (each for each in held if each is not of_host and (found is None or each.text != found.text))
    if found is None and not late:
        yield from _failed(line, queue_id, rest, state)
        return
    taken = match["taken"] or match["taken_last"]
    host, ip = (of_host.host, of_host.ip) if of_host is not None else (match["host"] or "", match["ip"] or "")
    told = reading(
        line, NAME, found, fate="bounced", recipient=match["rcpt"], host=host, ip=ip,
        queue_id=queue_id, gave_up=late, seconds=duration(taken) if taken else None, **state.known(queue_id),
    )  # fmt: skip
    told = told._replace(line=of_host.line if of_host is not None else told.line)
    yield told._replace(scope=scope_of(found) if found else "")


def _failed(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    """By a text that is not known."""
    match = _FAILED.match(rest)
    if match is None:
        return
    peer, taken, said = _REACHED.search(rest), _TAKEN.search(rest), _TAKEN.sub("", match["said"])
    layout = _LAYOUT.match(said)
    text = (said[layout.end() :] if layout is not None else "").strip() or said.strip()
    found = sense(text)
    yield reading(
        line, NAME, found, fate="deferred" if rest.startswith("==") else "bounced", recipient=match["rcpt"],
        host=peer["host"] if peer else "", ip=peer["ip"] if peer else "", queue_id=queue_id, text=text,
        seconds=duration(taken[1]) if taken else None, **state.known(queue_id),
    )  # fmt: skip


def scope_of(found: Sense) -> str:
    """Who else waits (mta.md 2.4)."""
    each = found.meant[0]
    if each.step == "rcpt" and each.cause in ("timeout", "reply"):
        return "address"
    of_message = (each.step, each.cause) in _MESSAGE or (
        each.cause == "reply" and each.step in ("mail", "datacmd", "dot")
    )
    return "message" if of_message else "host"
