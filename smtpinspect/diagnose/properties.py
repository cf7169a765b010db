"""What mails are told apart by, when those that were cut are compared with those that were accepted.

The core measures: rows of an inspector that only tells, beside what a mail's record holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import ClassVar, Final, NamedTuple

from smtpinspect._core.views import Alert, Mail
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.facts import COMMAND, END_OF_DATA, FIELD, KEYWORD, LINE, PATH, Octets, Pattern, flags, gt, in_, ne
from smtpinspect.inspectors.base import Inspector, Rule, Settings

NAME: Final = "properties"
_FIRST: Final = 2000900
_ODD: Final = int(
    Octets.CONTROL | Octets.BARE_CR | Octets.BARE_LF | Octets.BAD_NAME | Octets.NO_COLON | Octets.NUL
)
_ODD_PATH: Final = int(Octets.EIGHT_BIT | Octets.CONTROL | Octets.PIPE | Octets.ANGLE | Octets.BACKQUOTE)

# By word: what a page says, and when it is so.
SEEN: Final[Mapping[str, tuple[str, Pattern]]] = {
    "subject-8bit": ("raw 8-bit Subject", FIELD(level=0, name=b"Subject", octets=flags(Octets.EIGHT_BIT))),
    "header-8bit": ("raw 8-bit header field", FIELD(level=0, octets=flags(Octets.EIGHT_BIT))),
    "header-no-utf8": ("8-bit header field that is no UTF-8", FIELD(level=0, octets=flags(int(Octets.BAD_UTF8)))),
    "header-odd": ("malformed header field", FIELD(level=0, octets=flags(_ODD))),
    **{
        f"header-{limit}": (f"header line above {limit:,} bytes", LINE(where="header", length=gt(limit)))
        for limit in (256, 512, 998, 2048, 4096, 8192)
    },
    **{
        f"body-{limit}": (f"text line above {limit:,} bytes", LINE(where="body", length=gt(limit)))
        for limit in (512, 998, 2048, 4096)
    },
    "command-512": ("command line above 512 bytes", LINE(where="command", length=gt(512))),
    "path-odd": ("address with 8-bit bytes, pipe or stray brackets", PATH(octets=flags(_ODD_PATH))),
    "pipelined": ("pipelined commands", COMMAND(verb=in_(b"RCPT", b"DATA"), outstanding=gt(0))),
    "helo": ("HELO", COMMAND(verb=b"HELO")),
    "auth": ("AUTH", COMMAND(verb=b"AUTH")),
    "starttls": ("STARTTLS offered", KEYWORD(name=b"STARTTLS")),
    "end-cut": ("end of data parted between segments", END_OF_DATA(cuts=ne(0))),
}  # fmt: skip
# Kinds of files, by their extensions.
ATTACHED: Final[Mapping[str, frozenset[str]]] = {
    "archive attached": frozenset("zip 7z rar gz tgz bz2 xz iso cab arj".split()),
    "program attached": frozenset("exe dll scr com bat cmd js vbs msi jar ps1".split()),
    "Office 97 or macro file attached": frozenset("doc docm xls xlsm ppt pptm dotm rtf".split()),
    "Office file attached": frozenset("docx xlsx pptx odt ods".split()),
    "PDF attached": frozenset(("pdf",)),
}
SEGMENT: Final = 1_400  # octets of a text that fill a segment


class Property(NamedTuple):
    """Something that a mail's record tells. `told`: what a contrast calls it, "" where it asks the core, or not at all;
    `mails`: what a comparison of two captures says behind "mails", "" where it is too narrow a class for one; `seen`:
    the word of SEEN, of which the octets tell and the record, whose text is escaped, does not.
    """

    told: str
    mails: str
    has: Callable[[Mail], bool]
    seen: str = ""


def _above(octets: int) -> Callable[[Mail], bool]:
    return lambda mail: mail.octets > octets


def _recipients(more_than: int) -> Callable[[Mail], bool]:
    return lambda mail: len(mail.rcpt_to) > more_than


def _attached(kinds: frozenset[str]) -> Callable[[Mail], bool]:
    return lambda mail: any(name.rpartition(".")[2].lower() in kinds for name in mail.attachments)


RECORDED: Final = (
    Property("", "with a raw 8-bit Subject", lambda mail: False, "subject-8bit"),
    Property("attachment", "with an attachment", lambda mail: bool(mail.attachments)),
    *(Property(told, "", _attached(kinds)) for told, kinds in ATTACHED.items()),
    *(
        Property(f"text above {size:,} bytes", "", _above(size))
        for size in (SEGMENT, 10_000, 100_000, 1_000_000, 10_000_000)
    ),
    Property("", "of more than 65,536 bytes", _above(65_536)),
    Property("", f"of at most {SEGMENT:,} bytes", lambda mail: mail.octets <= SEGMENT),
    Property("more than 1 recipient", "to several recipients", _recipients(1)),
    *(Property(f"more than {count} recipients", "", _recipients(count)) for count in (10, 50, 100)),
    Property("BDAT", "sent by BDAT", lambda mail: mail.bdat),
    Property("", "that are bounces (MAIL FROM:<>)", lambda mail: mail.mail_from == ""),
)
# By which two captures are compared: in wide classes.
COMPARED: Final = tuple(one for one in RECORDED if one.mails)


class Properties(Inspector):
    """A row for each of SEEN; alarms only."""

    name = NAME
    title = "Properties of mails"
    only: ClassVar[Collection[str]] = SEEN

    def rules(self, settings: Settings) -> Iterator[Rule]:
        for number, (word, (told, when)) in enumerate(SEEN.items()):
            if word not in self.only:
                continue
            yield Rule(f"{NAME}.{word}", when, ALARM, PROJECT, "", _FIRST + number, told, kind="seen")


class Compared(Properties):
    """Those of COMPARED alone."""

    only = frozenset(one.seen for one in COMPARED)


def properties_of(mail: Mail, alerts: Iterable[Alert]) -> frozenset[str]:
    """The words for people. `alerts`: those of Properties that count for it."""
    seen = {SEEN[alert.rule.partition(".")[2]][0] for alert in alerts}
    return frozenset(seen | {one.told for one in RECORDED if one.told and one.has(mail)})
