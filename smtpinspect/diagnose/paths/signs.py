"""Signs of a box in one connection: what it makes of greetings, commands, keywords and replies, and forged segments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.model import Fingerprint, Sign
from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.paths.generations import PRODUCT
from smtpinspect.enforce.craft import RST
from smtpinspect.grammar.verbs import NUMBER, hides
from smtpinspect.simulate.script import Command, Script, Transaction

GREETING: Final = 4_096  # octets of the server's stream in which a greeting without an end is looked for
OTHER_TTL: Final = 2  # hops by which a forged segment differs at least; a route that changes moves it by one or two
_CROSSED: Final = re.compile(rb"X{4,}")
_CROSSED_VERB: Final = re.compile(rb"XXXX\w* \S")
_NOOP_HELO: Final = re.compile(rb"NOOP +[\w\[][\w.:\[\]-]+\.[\w.:\[\]-]+", re.I)
_BARE_OK: Final = re.compile(r"(?:250 )?(?:2\.0\.0 )?OK\.?", re.I)
_STARTTLS: Final = "STARTTLS"
_UNKNOWN: Final = (500, 502)  # RFC 5321 4.2.4: a command that is not known, or not there


def of_dialogue(script: Script, account: Account | None) -> Iterator[Fingerprint]:
    """What the dialogue of a connection tells; packets where these are at hand."""
    yield from _greeting(script, account)
    yield from _keywords(script, account)
    for command in script.commands:
        if not command.answer:
            yield from _command(script, command, account)


def of_packets(account: Account) -> Iterator[Fingerprint]:
    """What the packets of a connection tell beside their octets (hops, RFC 791 3.2)."""
    for by_client in (True, False):
        mine = [packet for packet in account.packets if packet.by_client == by_client]
        usual = Counter(packet.ttl for packet in mine).most_common(1)
        if not usual or usual[0][1] < 2:
            continue
        ttl = usual[0][0]
        others = [packet for packet in mine if abs(packet.ttl - ttl) >= OTHER_TTL]
        who = "client" if by_client else "server"
        for what, text, found in (
            ("reset-other-ttl", "a reset in the name of the", [p for p in others if p.flags & RST]),
            ("ttl-step", "a packet in the name of the", [p for p in others if not p.flags & RST]),
        ):
            if found:
                point = account.trace.point
                seen = tuple(Sign(p.number, f"TTL {p.ttl}, its other packets {ttl}", point) for p in found[:8])
                yield Fingerprint("", what, f"{text} {who} came with another TTL", (), seen)


def shown(line: bytes) -> str:
    """A command as a sign quotes it, without what AUTH carries."""
    words = line.decode("latin-1").split()
    if len(words) > 2 and hides(words[0].upper()):
        return excerpt(" ".join(words[:2]).encode("latin-1")[:40]) + " (masked)"
    return excerpt(line[:40])


def sign(account: Account | None, by_client: bool, at: int, text: str) -> Sign:
    """With the packet that first carried this octet of a side, where that is known."""
    first = account.stream(by_client).carrier(at) if account is not None else None
    return Sign(first.number if first is not None else None, text, account.trace.point if account is not None else "")


def _greeting(script: Script, account: Account | None) -> Iterator[Fingerprint]:
    octets = script.greeting.octets if script.greeting else b""
    if not octets:  # first4 takes the code of the last line away, and no greeting ends
        until = script.replies[0].at if script.replies and script.replies[0].at else GREETING
        octets = script.streams[1][: min(until, GREETING)]
    styles = generations.styles_of(octets)
    if styles:
        text = "the greeting is masked with stars" if b"*" in octets else "the greeting is masked with underscores"
        seen = sign(account, False, 0, excerpt(octets[:64]))
        yield Fingerprint(PRODUCT, "banner-starred", text, generations.greeting_of(styles), (seen,))


def _keywords(script: Script, account: Account | None) -> Iterator[Fingerprint]:
    for command in script.commands:
        reply = command.reply
        if command.verb != "EHLO" or reply is None or reply.code != 250:
            continue
        keywords = [line[4:].strip() for line in reply.text.split("\n")[1:]]
        masked = generations.crossed_keywords(keywords)
        if masked:
            clear = _STARTTLS in (word.upper() for word in keywords)
            profiles = generations.masking_keywords(clear)
            text = "EHLO keywords are masked with X and a letter"
            text += "; STARTTLS is in clear" if clear else ""
            seen = sign(account, False, reply.at, " ".join(masked))
            yield Fingerprint(PRODUCT, "keyword-xed", text, profiles, (seen,))
        elif len(reply.text.split("\n")) == 1 and _BARE_OK.fullmatch(reply.text):
            seen = sign(account, False, reply.at, f"{command.verb} got {reply.text}")
            text = "EHLO got the reply to NOOP, without the server's name"
            # a server made for a test may say no more; one that calls itself ESMTP says its name (RFC 5321 4.1.1.1)
            sure = script.greeting is not None and b"ESMTP" in script.greeting.octets.upper()
            profiles = generations.denying("noop", "local-ok") if sure else ()
            yield Fingerprint(PRODUCT if sure else "", "ehlo-as-noop", text, profiles, (seen,))


def _command(script: Script, command: Command, account: Account | None) -> Iterator[Fingerprint]:
    line, reply = command.line, command.reply
    seen = sign(account, True, command.at, shown(line))
    if _CROSSED.fullmatch(line):
        text = "a whole command was overwritten with X (this side is behind the box)"
        yield Fingerprint(PRODUCT, "verb-xed", text, generations.denying("xxxx-all"), (seen,))
    elif _CROSSED_VERB.match(line):
        text = "the verb of a command was overwritten with X (this side is behind the box)"
        yield Fingerprint(PRODUCT, "verb-xed", text, generations.denying("xxxx-verb"), (seen,))
    elif _NOOP_HELO.fullmatch(line) and command is script.commands[0]:
        text = "EHLO was overwritten with NOOP (this side is behind the box)"
        yield Fingerprint(PRODUCT, "verb-nooped", text, generations.denying("noop"), (seen,))
    if reply is None:
        return
    told = sign(account, False, reply.at, f"{shown(line)} got {excerpt(reply.octets[:64].rstrip())}")
    styles = generations.crossed(line, reply.text)
    if reply.code in _UNKNOWN and styles and b"XXXX" not in line.upper():
        text = "the server answers a command of X that the client did not send"
        yield Fingerprint(PRODUCT, "verb-xed", text, generations.denying(*styles), (told,))
    bare = reply.code is None and _BARE_OK.fullmatch(reply.text.strip())
    verb = b"".join(line.split(None, 1)[:1]).upper()
    unknown = command.verb and verb not in NUMBER and not verb.startswith(b"X")
    if bare or (unknown and reply.code is not None and 200 <= reply.code < 300):
        styles = ("local-ok",) if bare else ("local-ok", "noop")
        text = "a command that does not exist got OK" if unknown else "a bare OK, without a code"
        yield Fingerprint(PRODUCT, "ok-to-nonsense", text, generations.denying(*styles), (told,))


def of_replies(script: Script, account: Account | None) -> Iterator[Fingerprint]:
    """A 552 before the text is whole: a server answers its end (RFC 5321 4.1.1.4), SonicWall's gateway anti-virus
    what it finds in it. Its words are in no source."""
    for mail in script.mails:
        if mail.text_at is None or mail.chunks:
            continue  # each chunk has a reply of its own
        for reply in script.replies:
            if reply.code == 552 and _early(reply.at, mail, account):
                text = "552 in the server's name, before the end of the text had come there"
                seen = sign(account, False, reply.at, excerpt(reply.octets[:64].rstrip()))
                yield Fingerprint("sonicwall", "answer-552", text, (), (seen,))


def _early(at: int, mail: Transaction, account: Account | None) -> bool:
    """Did this octet of the server come before it had the end of the text?"""
    packet = account.server.carrier(at) if account is not None else None
    if packet is None or packet.acks is None or mail.text_at is None:
        return not mail.complete and mail.reply is None
    return mail.text_at <= packet.acks < (mail.text_end if mail.complete and mail.text_end else packet.acks + 1)
