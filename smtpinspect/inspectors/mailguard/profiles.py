"""The generations of Cisco's SMTP inspection as tables, from PIX 4.0 `mailhost` to FTD `inspect esmtp`."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from smtpinspect.actions import CONFIRMED, INFERRED, PROJECT
from smtpinspect.inspectors.base import Evidence
from smtpinspect.inspectors.settings import Knob

# RFC 821 4.5.1; the list is that of Cisco doc 4733.
SEVEN: Final = ("HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT")
# Cisco doc 117801, FWSM guide (inspect smtp and esmtp).
FIFTEEN: Final = (*SEVEN, "AUTH", "EHLO", "ETRN", "HELP", "SAML", "SEND", "SOML", "VRFY")

# EHLO keywords with a parameter name of their own in `match ehlo-reply-parameter`; all others are `others`.
# AUTH= is the spelling of old Exchange servers; ENHANCEDSTATUSCODES is `ecode` in newer builds.
EHLO_NAMED: Final = (
    "8BITMIME", "AUTH", "AUTH=", "BINARYNAME", "CHECKPOINT", "DSN", "ENHANCEDSTATUSCODES", "ETRN",
    "PIPELINING", "SIZE", "VRFY",
)  # fmt: skip

SOURCES: Final = {
    "Cisco doc 4733": "Testing the PIX Firewall Mailguard Feature",
    "Microsoft KB Q295725": "Exchange behind a PIX, 2001",
    "AppRiver KB a238": "copy of Microsoft KB 295725 and 320027",
    "Cisco ESMTP note": "support note: ESMTP through a PIX",
    "Exchange help": "Exchange behind a Cisco PIX (2008): greetings as they look behind one",
    "Gordano KB": "Why do other servers quit immediately",
    "FWSM guide": "Catalyst 6500/7600, inspect smtp and esmtp",
    "FWSM guide 2.3": "OL-6392-01, p. 13-19",
    "Cisco CLI guide 7.0": "OL-6721-01, p. 21-52",
    "Cisco CLI guide 9.x": "ASA, ESMTP inspection, p. 13-41",
    "Cisco CLI guide 9.x p. 13-43": "ASA, criteria and actions of an ESMTP map",
    "Cisco CSM guide 4.4": "Security Manager, p. 17-34",
    "Cisco doc 113423": "ASA: ESMTP and SMTP inspection (character-mode telnet)",
    "Cisco doc 117801": "ASA: verbs that ESMTP inspection lets through",
    "Cisco doc 118550": "ESA: EHLO reply with XXXXXXXA, TLS behind ESMTP inspection",
    "Cisco syslog manual": "ASA syslog messages 108002 to 108007, 507003",
    "Cisco academy text": "Fundamentals of Network Security v2, Mail Guard: what `no fixup` without a port does",
    "Cisco mail inspection text": "ASA/PIX 7 study text, chapter Mail inspection",
    "cisco-nsp 2004-11": "message 014446: lengths and sequence numbers never change",
    "Exim FAQ": "Q0053 and Q0078: XXXX in the log behind a PIX",
    "nmap-service-probes": "fingerprints of PIX and ASA",
    "ASA field report": "log of a drop at `Class 4: header line length gt 998`",
    "CVE-2000-1022": "CIAC L-002, AusCERT ESB-2000.276 and ESB-2001.406 (CSCdr91002, CSCds30699, CSCds38708)",
    "CSCds90792": "end of data over two segments; Microsoft KB Q295725, Postfix HISTORY 20010529",
    "Postfix source": "src/smtp/smtp_proto.c, src/global/mail_params.h: PIX workarounds",
    "iX/heise": "Cisco PIX behindert authentifizierten Mail-Versand",
    "RFC 5321": "Simple Mail Transfer Protocol",
    "RFC 5322": "Internet Message Format",
    "project": "no source decides: our choice",
}


ALLOWED: Final = {
    "mailhost": Evidence(CONFIRMED, "Cisco doc 4733"),
    "fixup": Evidence(CONFIRMED, "Cisco doc 4733"),
    "smtp": Evidence(CONFIRMED, "FWSM guide"),
    "esmtp": Evidence(CONFIRMED, "Cisco doc 117801; FWSM guide"),
}
# What a denied command gets. The octets of the `local-ok` reply, and that `xxxx-verb` keeps the argument,
# are in no source.
DENY: Final = {
    "local-ok": Evidence(CONFIRMED, "Cisco doc 4733"),
    "noop": Evidence(CONFIRMED, "Cisco ESMTP note; FWSM guide 2.3; cisco-nsp 2004-11"),
    "xxxx-verb": Evidence(INFERRED, "Exim FAQ; Microsoft KB Q295725"),
    "xxxx-all": Evidence(CONFIRMED, "Cisco CLI guide 7.0; FWSM guide; Cisco doc 113423"),
}
BANNER: Final = {
    "cmap": Evidence(INFERRED, "Exchange help"),
    "first4": Evidence(INFERRED, "AppRiver KB a238; Gordano KB"),
    "keep20": Evidence(CONFIRMED, "AppRiver KB a238; Microsoft KB Q295725"),
    "per-line": Evidence(CONFIRMED, "Cisco CLI guide 9.x; nmap-service-probes"),
}
SPLIT: Final = {
    "discard": Evidence(INFERRED, "FWSM guide; Cisco doc 4733"),
    "mask": Evidence(CONFIRMED, "Cisco doc 113423"),
}
# Only that it is looked for is written down; what then happens is not.
TERMINATION: Final = Evidence(PROJECT, "Cisco mail inspection text; project")
PIPELINING: Final = Evidence(PROJECT, "Cisco CLI guide 7.0; FWSM guide; project")
TRANSITION: Final = Evidence(PROJECT, "Cisco mail inspection text; project")
PIPE: Final = Evidence(CONFIRMED, "Cisco mail inspection text; Cisco syslog manual")
ANGLE: Final = Evidence(INFERRED, "Cisco mail inspection text; Cisco syslog manual")
EHLO_MASK: Final = Evidence(CONFIRMED, "Cisco CLI guide 9.x; Cisco doc 118550")
TLS: Final = Evidence(CONFIRMED, "Cisco CSM guide 4.4; Cisco syslog manual")
MAP: Final = Evidence(CONFIRMED, "Cisco CLI guide 9.x")
SIZE: Final = Evidence(CONFIRMED, "Cisco syslog manual")
MALICIOUS: Final = Evidence(PROJECT, "Cisco syslog manual; project")
SPECIAL: Final = Evidence(INFERRED, "Cisco CSM guide 4.4; Cisco CLI guide 9.x")
RELAY: Final = Evidence(CONFIRMED, "Cisco CLI guide 9.x; Cisco syslog manual")
EOD: Final = {
    "dotcrlf": Evidence(INFERRED, "CSCds90792; Postfix source"),
    "crlfdotcrlf": Evidence(CONFIRMED, "CSCds90792"),
}
BYPASS: Final = Evidence(CONFIRMED, "CVE-2000-1022")
DKIM: Final = Evidence(INFERRED, "iX/heise; Cisco doc 118550")
WORKAROUND: Final = Evidence(CONFIRMED, "Postfix source")
ANSWERED: Final = Evidence(INFERRED, "Cisco doc 4733")
MULTILINE: Final = Evidence(CONFIRMED, "Gordano KB")


class Criterion(NamedTuple):
    """What a `match` line of a user's map can ask for: its words, the rule that it is, what follows."""

    words: str
    rule: str
    takes: Literal["limit", "words", "regex"]
    evidence: Evidence


_LISTED: Final = "Cisco CLI guide 9.x p. 13-43"
_CRITERION: Final = Evidence(CONFIRMED, _LISTED)
_MEANING: Final = Evidence(PROJECT, f"{_LISTED}; project")  # what exactly is counted or compared is ours
# In the order of the guide; longer words before their beginnings.
CRITERIA: Final = (
    Criterion("body line length", "body-line-length", "limit", _CRITERION),
    Criterion("body length", "body-length", "limit", Evidence(CONFIRMED, "Cisco syslog manual")),
    Criterion("cmd line length", "cmd-line-length", "limit", _CRITERION),
    Criterion("cmd RCPT count", "rcpt-count", "limit", _CRITERION),
    Criterion("cmd verb", "cmd-verb", "words", _CRITERION),
    Criterion("ehlo-reply-parameter", "ehlo-param-masked", "words", _CRITERION),
    Criterion("header line length", "header-line-length", "limit", _CRITERION),
    Criterion("header length", "header-length", "limit", _CRITERION),
    Criterion("header to-fields count", "to-fields-count", "limit", _MEANING),
    Criterion("invalid-recipients count", "invalid-recipients", "limit", _MEANING),
    Criterion("mime encoding", "mime-encoding", "words", _MEANING),
    Criterion("mime filename length", "mime-filename-length", "limit", _CRITERION),
    Criterion("mime filetype regex", "mime-filetype", "regex", _MEANING),
    Criterion("sender-address length", "sender-length", "limit", _CRITERION),
    Criterion("sender-address regex", "sender-regex", "regex", _CRITERION),
)


class Limit(NamedTuple):
    """One `match` line of the default map with a limit: its class, the words in the log, the limit."""

    rule: str
    number: int
    criterion: str
    limit: int
    drops: bool = True


# policy-map type inspect esmtp _default_esmtp_map. That the classes count so is confirmed for 4 only.
DEFAULT_MAP: Final = (
    Limit("cmd-line-length", 1, "cmd line length", 512),
    Limit("rcpt-count", 2, "cmd RCPT count", 100),
    Limit("body-line-length", 3, "body line length", 998, drops=False),
    Limit("header-line-length", 4, "header line length", 998),
    Limit("sender-length", 5, "sender-address length", 320),
    Limit("mime-filename-length", 6, "MIME filename length", 255),
)
CLASSES: Final = 7  # the last one is match ehlo-reply-parameter others
MASK_CLASS: Final = f"Class {CLASSES}"


def _limit(meaning: str) -> Knob:
    return Knob(
        "int",
        None,
        f"{meaning}; 0 is off, unset follows `limits`",
        low=1,
        off=True,
        source="Cisco CLI guide 9.x",
    )


KNOBS: Final = {
    "inspect": Knob(
        "word",
        "fixup",
        "the configuration keyword that is in force",
        ("mailhost", "fixup", "smtp", "esmtp"),
        basis=CONFIRMED,
        source="Cisco doc 4733; Cisco CLI guide 7.0",
    ),
    "allowed_verbs": Knob(
        "list",
        None,
        "verbs that pass; unset: the seven, for inspect=esmtp the fifteen (and STARTTLS with allow_tls)",
        basis=CONFIRMED,
        source="Cisco doc 4733; Cisco doc 117801",
    ),
    "deny_style": Knob(
        "word", "xxxx-verb", "what becomes of a denied command", tuple(DENY), source="project"
    ),
    "deny_reply": Knob("octets", b"250 OK\r\n", r"what `local-ok` answers; OK\r\n is the literal transcript"),
    "banner": Knob("word", "keep20", "how the greeting is masked", ("none", *BANNER)),
    "keep_sep": Knob("bool", True, "keep20 leaves the space behind the code", source="Microsoft KB Q295725"),
    "mask_banner": Knob(
        "bool", None, "the parameter mask-banner; unset: `banner` decides", source="Cisco CLI guide 9.x"
    ),
    "ehlo_mask": Knob(
        "word", None, "EHLO keywords that are masked; unset: others for inspect=esmtp", ("none", "others")
    ),
    "ehlo_named": Knob(
        "list", EHLO_NAMED, "EHLO keywords that are not `others`", source="nmap-service-probes"
    ),
    "allow_tls": Knob(
        "word",
        "off",
        "the parameter allow-tls [action log]",
        ("off", "on", "log"),
        basis=CONFIRMED,
        source="Cisco CSM guide 4.4",
    ),
    "split_verb": Knob("word", "discard", "what becomes of a verb in more than one segment", ("off", *SPLIT)),
    "termination": Knob(
        "word", "discard", "what becomes of a command that a bare LF ends", ("off", "discard", "mask")
    ),
    "pipelining": Knob("bool", True, "tell of a second command in one segment"),
    "server_transitions": Knob("bool", True, "tell of replies that do not fit"),
    "address_check": Knob(
        "word",
        "space",
        "what becomes of | and of a stray < or > in an address",
        ("off", "space"),
        basis=CONFIRMED,
        source="Cisco mail inspection text",
    ),
    "limits": Knob(
        "word",
        None,
        "the limits of the default ESMTP map; unset: in force from asa-8 on, unless `match` is given",
        ("none", "default-map"),
        aliases={"off": "none", "on": "default-map", "default": "default-map"},
        basis=CONFIRMED,
        source="Cisco CLI guide 9.x",
    ),
    "cmd_line_length": _limit("bytes of a command line, CR LF counted"),
    "rcpt_count": _limit("RCPT commands of a mail"),
    "body_line_length": _limit("bytes of a body line without CR LF"),
    "header_line_length": _limit("bytes of a header line without CR LF"),
    "sender_length": _limit("bytes of the address in MAIL"),
    "mime_filename_length": _limit("bytes of an attachment's name as sent"),
    "size_violation": Knob(
        "bool", False, "tell of a message larger than its SIZE", source="Cisco syslog manual"
    ),
    "special_character": Knob("bool", False, "the parameter special-character", source="Cisco CSM guide 4.4"),
    "special_character_action": Knob(
        "word",
        "drop-connection",
        "what special-character does",
        ("drop-connection", "drop-connection log", "log"),
        source="Cisco CSM guide 4.4",
    ),
    "mail_relay": Knob(
        "list", (), "the local domains of the parameter mail-relay", source="Cisco CLI guide 9.x"
    ),
    "mail_relay_action": Knob(
        "word",
        "drop-connection",
        "what mail-relay does",
        ("drop-connection", "log"),
        basis=CONFIRMED,
        source="Cisco CLI guide 9.x",
    ),
    "match": Knob(
        "list",
        (),
        "the lines of your own ESMTP map, each `[not] CRITERION -> ACTION` in the ASA's words; they stand in the "
        "default map's place",
        basis=CONFIRMED,
        source=_LISTED,
    ),
    "address_malicious": Knob("regex", b"", "a malicious pattern in an address; none is published"),
    "drop_rst": Knob("list", ("server",), "who gets an RST at drop-connection", ("client", "server")),
    "early_data_bypass": Knob(
        "bool",
        False,
        "the filter is off from a refused DATA to a lone dot",
        basis=CONFIRMED,
        source="CVE-2000-1022",
    ),
    "eod_split": Knob(
        "word",
        "off",
        "which cuts lose the end of data",
        ("off", *EOD),
        aliases={"on": "dotcrlf"},
        source="CSCds90792",
    ),
    "dkim_bug": Knob(
        "bool", False, "header names in a signature's h= tag taken for headers", source="iX/heise"
    ),
}

_PIX: Final[dict[str, Any]] = {"inspect": "fixup"}
_ASA: Final[dict[str, Any]] = {
    "inspect": "esmtp",
    "deny_style": "xxxx-all",
    "banner": "per-line",
    "split_verb": "mask",
    "termination": "mask",
}

PROFILES: Final[dict[str, dict[str, Any]]] = {
    # Which of the later checks 4.0 had is in no source: they are off.
    "pix-4.0": {
        "inspect": "mailhost",
        "deny_style": "local-ok",
        "banner": "none",
        "termination": "off",
        "pipelining": False,
        "server_transitions": False,
        "address_check": "off",
    },
    "pix-4.4": _PIX
    | {"deny_style": "noop", "banner": "first4", "early_data_bypass": True, "eod_split": "dotcrlf"},
    "pix-5": _PIX | {"early_data_bypass": True, "eod_split": "dotcrlf"},
    "pix-6": _PIX,
    "fwsm-3": _ASA | {"split_verb": "discard", "termination": "discard"},
    # DKIM: fixed in 7.2(2.19) and 8.0(2.7), so this profile has it and the next has not.
    "asa-7.0": _ASA | {"dkim_bug": True, "size_violation": True},
    "asa-8": _ASA | {"size_violation": True},
    "asa-9-tls": _ASA | {"size_violation": True, "allow_tls": "on"},
}
# Where `inspect esmtp` without a name stands for _default_esmtp_map.
WITH_DEFAULT_MAP: Final = ("asa-8", "asa-9-tls")

# What each profile stands for.
PRODUCTS: Final = {
    "pix-4.0": "PIX 4.0 and 4.1, mailhost",
    "pix-4.4": "PIX 4.2 to 5.0, fixup protocol smtp",
    "pix-5": "PIX 5.1 to 5.3, fixup protocol smtp",
    "pix-6": "PIX 6.0 to 6.3 and FWSM 1.x and 2.x, fixup protocol smtp",
    "fwsm-3": "FWSM 3.x and 4.x, inspect esmtp",
    "asa-7.0": "PIX and ASA 7.0 to 7.1, inspect esmtp",
    "asa-8": "ASA 7.2(3) to 9.3, inspect esmtp with its default map",
    "asa-9-tls": "ASA 9.4 and later, FTD, inspect esmtp with allow-tls",
}
HINTS: Final = {
    "pix": "pix-6",
    "pix-4": "pix-4.4",
    "pix-4.1": "pix-4.0",
    "pix-4.2": "pix-4.4",
    "pix-7": "asa-7.0",
    "pix-7.0": "asa-7.0",
    "pix-8": "asa-8",
    "fwsm": "fwsm-3",
    "fwsm-2": "pix-6",
    "fwsm-4": "fwsm-3",
    "asa": "asa-9-tls",
    "asa-7": "asa-7.0",
    "asa-9": "asa-9-tls",
    "ftd": "asa-9-tls",
}
