"""Bounces: delivery status notifications (RFC 3464), qmail's (QSBMF) and what else comes back as plain text."""

from __future__ import annotations

import email
import email.policy
import email.utils
import re
from collections.abc import Iterator
from email.message import Message
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import sendmail
from smtpinspect.diagnose.reading.dispatch import anywhere
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.means import explained
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.grammar import limits
from smtpinspect.mta.base import Step

_HEADER: Final = re.compile(rb"(?:From |[!-9;-~]{1,76}:)")
_FIELD: Final = re.compile(
    rb"^(?:received|return-path|delivered-to|from|to|subject|date|message-id|mime-version):", re.I | re.M
)
_NOTICE: Final = re.compile(
    rb"message/delivery-status|report-type=\"?delivery-status|^x-failed-recipients:|^This is the qmail-send program"
    rb"|^Hi\. This is the |^return-path:[ \t]*<>|^from:.*(?:mailer-daemon|mail delivery sub?system|postmaster@)",
    re.I | re.M,
)
# Who has written it, by words of its own.
_WRITERS: Final = (
    ("postfix", re.compile(r"This is the mail system at host|X-Postfix-|\(Postfix\)")),
    ("exim", re.compile(r"X-Failed-Recipients:|was created automatically by mail delivery software|\(Exim ", re.I)),
    ("qmail", re.compile(r"This is the qmail-send program|\(qmail \d+ ")),
    ("opensmtpd", re.compile(r"\(OpenSMTPD\)|This is the MAILER-DAEMON, please DO NOT REPLY")),
    ("exchange", re.compile(r"Microsoft Exchange|\.outlook\.com|Microsoft SMTP Server")),
    ("sendmail", re.compile(r"The original message was received at|\(8\.\d+\.\d+/8\.\d+")),
)
_ADDRESS: Final = re.compile(r"(?:rfc822|utf-8|x400);\s*<?([^>\s]*)>?", re.I)
_DIAGNOSTIC: Final = re.compile(r"[\w-]+;\s*(.*)", re.DOTALL)
_QUEUE_FIELD: Final = re.compile(r"x-[\w-]+-queue-id", re.IGNORECASE)
_QUEUE_ID: Final = re.compile(r"\s*([\w.-]{1,64})\s*$")
_REPLY: Final = re.compile(r"(?:^|[\s\"':])([45]\d\d[ -]\S.*)")
_ANSWERED: Final = re.compile(r"[45]\d\d[ -]")
_ACTIONS: Final = {"failed": "bounced", "delayed": "deferred", "delivered": "delivered", "relayed": "delivered"}
_IN_REPLY: Final = re.compile(
    r"in reply to (?P<command>(?:end of )?[A-Z]+)|>>> (?P<said>[A-Z]{4})"
    r"|after (?:pipelined )?(?P<after>[A-Z]{4}|end of data)"
)
_STEPS: Final[dict[str, Step]] = {
    "EHLO": "ehlo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "datacmd", "end of DATA": "dot",
    "end of data": "dot",
}  # fmt: skip
_ANY: Final[tuple[Step, ...]] = ("greeting", "ehlo", "mail", "rcpt", "datacmd", "dot")


def is_message(head: bytes) -> bool:
    """Does it begin as a message (RFC 5322) does?"""
    begins = head.lstrip(b"\r\n \t")
    return bool(_HEADER.match(begins)) and bool(_FIELD.search(begins[:limits.MAIL_LOG_HEAD]))


def is_bounce(head: bytes) -> bool:
    """Is it a message that tells of another's delivery?"""
    return is_message(head) and bool(_NOTICE.search(head))


def read_bounce(message: bytes | str, file: str = "bounce.eml") -> list[Reading]:
    """A reading for each recipient; none for a message that is no bounce. `file`: its name. Never raises."""
    octets = message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
    octets = octets[:limits.BOUNCE_OCTETS].lstrip(b"\r\n \t")
    if not is_message(octets):
        return []
    try:
        parsed = email.message_from_bytes(octets, policy=email.policy.compat32)
        parts = _parts(parsed)
    except (ValueError, LookupError, RecursionError, TypeError, AttributeError, IndexError):
        return []
    head = octets.decode("utf-8", "backslashreplace")
    writer = next((name for name, words in _WRITERS if words.search(head)), "")
    notes = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    texts = [_text(part) for part in parts if part.get_content_type() == "text/plain"]
    told = [each for note in notes for each in _of_status(note, texts[:1], writer)]
    if not told and is_bounce(octets):
        told = list(_of_text(texts[:1] or [head.partition("\n\n")[2]], writer))
    returned = _returned(parts)
    when = _when(parsed)
    number = next((found[1] for note in notes for block in _blocks(note) if (found := _queue_id(block))), "")
    return [
        explained(
            each._replace(
                message_id=returned[0], sender=each.sender or returned[1], when=each.when or when,
                queue_id=each.queue_id or number, bounce=True,
            ),
            file=file,
        )
        for each in told[:limits.BOUNCE_RECIPIENTS]
    ]  # fmt: skip


def _queue_id(block: Message) -> re.Match[str] | None:
    """Postfix and its kin name it in the report."""
    named = next((str(value) for name, value in block.items() if _QUEUE_FIELD.fullmatch(name)), "")
    return _QUEUE_ID.match(named)


def _parts(parsed: Message) -> list[Message]:
    """The parts of the report itself, not those of the mail that came back."""
    if not parsed.is_multipart() or parsed.get_content_type() == "message/delivery-status":
        return [parsed]
    found: list[Message] = []
    for part in list(parsed.get_payload())[:limits.BOUNCE_PARTS]:
        if not isinstance(part, Message):
            continue
        if part.get_content_maintype() == "multipart":
            inner = list(part.get_payload())[:limits.BOUNCE_PARTS]
            found += [each for each in inner if isinstance(each, Message)]
        else:
            found.append(part)
    return found


def _text(part: Message) -> str:
    octets = part.get_payload(decode=True)
    return octets.decode("utf-8", "backslashreplace") if isinstance(octets, bytes) else str(part.get_payload())


def _blocks(note: Message) -> list[Message]:
    payload = note.get_payload()
    if isinstance(payload, list):
        return [block for block in payload if isinstance(block, Message)]
    return [email.message_from_string(block) for block in re.split(r"\n[ \t]*\n", str(payload))]


def _of_status(note: Message, texts: list[str], writer: str) -> Iterator[Reading]:
    blocks = _blocks(note)
    for block in blocks[: limits.BOUNCE_RECIPIENTS + 1]:
        who = str(block.get("Final-Recipient") or block.get("Original-Recipient") or "")
        if not who:
            continue
        address = _ADDRESS.match(who)
        recipient = address[1] if address else who
        diagnostic = _DIAGNOSTIC.match(str(block.get("Diagnostic-Code") or ""))
        quoted = _flat(diagnostic[1]) if diagnostic else ""
        remote = str(block.get("Remote-MTA") or "").partition(";")[2].strip()
        near = [para for para in _paragraphs(texts) if recipient in para]
        fate = _ACTIONS.get(str(block.get("Action") or "").strip().lower(), "bounced")
        if fate == "delivered":
            yield Reading(_head(quoted or who), writer, broken=("none",), fate=fate, recipient=recipient, host=remote)
            continue
        told = _sensed([quoted, *near, *(text for text in texts if len(blocks) == 2)], writer, quoted)
        told = told or Reading(_head(quoted or who), writer)
        yield told._replace(fate=fate, recipient=recipient, host=told.host or remote.partition(" ")[0])


def _of_text(texts: list[str], writer: str) -> Iterator[Reading]:
    for para in _paragraphs(texts):
        told = _sensed([para], writer, "")
        if told is not None:
            address = re.search(r"<?([^\s<>:,]+@[^\s<>:,]+[^\s<>:,.])>?", para)
            yield told._replace(fate="bounced", recipient=address[1] if address else "")


def _sensed(texts: list[str], writer: str, quoted: str) -> Reading | None:
    """The first text with a phrase that names phases; else a reply that is quoted."""
    for text in texts:
        line = Line(_head(text), None, "", _head(text))
        answered = _ANSWERED.match(text)  # what such a reply quotes is its own business
        for told in anywhere(line, State()):
            if answered and told.mta != "exchange":
                continue
            if told.phases or told.gave_up:
                mta = told.mta if not writer or told.phases else writer
                return told._replace(mta=mta, line=_head(quoted or text))
    for text in texts:
        reply = _REPLY.search(text)
        if reply is None:
            continue
        line, said = Line(_head(quoted or text), None, "", ""), reply[1][:limits.BOUNCE_QUOTED]
        if sendmail.NO_TLS.search(reply[1]):
            return reading(line, "sendmail", Sense((Meant("starttls", "unreachable"),), said, {}))
        asked = next((match for each in texts if (match := _IN_REPLY.search(each))), None)
        step = _STEPS.get(next((word for word in asked.groups() if word), "")) if asked else None
        meant = tuple(Meant(each, "reply") for each in ((step,) if step else _ANY))
        return reading(line, writer, Sense(meant, said, {"reply": said}))
    return None


def _paragraphs(texts: list[str]) -> list[str]:
    whole = "\n\n".join(text[: limits.MAIL_LOG_LINE] for text in texts)
    return [_flat(para) for para in re.split(r"\n[ \t\r]*\n", whole) if para.strip()]


def _flat(text: str) -> str:
    return re.sub(r"\s*[\r\n]+\s*", " ", text).strip()


def _head(text: str) -> str:
    return text[:limits.MAIL_LOG_LINE]


def _returned(parts: list[Message]) -> tuple[str, str]:
    """Message-ID and sender of the mail that came back."""
    for part in parts:
        kind = part.get_content_type()
        if kind == "message/rfc822" and isinstance(part.get_payload(), list) and part.get_payload():
            inner = part.get_payload()[0]  # type: ignore[index]
        elif kind == "text/rfc822-headers":
            inner = email.message_from_string(_text(part))
        else:
            continue
        if isinstance(inner, Message):
            number = str(inner.get("Message-ID") or "").strip("<> \r\n\t")
            return number[:limits.BOUNCE_QUOTED], email.utils.parseaddr(str(inner.get("From") or ""))[1]
    return "", ""


def _when(parsed: Message) -> float | None:
    try:
        found = email.utils.parsedate_tz(str(parsed.get("Date") or ""))
        return float(email.utils.mktime_tz(found)) if found else None
    except (ValueError, OverflowError, TypeError):
        return None
