"""The culprits: each rule that breaks or refuses a mail, at work between real mail servers.

What no MTA does by itself (a verb in two segments, a line that ends in LF, VRFY, XEXCH50, ...) comes from pieces.py;
what no server here says by itself (an empty line, a reply of 4,200 octets, ...) says scripted.py.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rows import CLIENTS, PIECES, SCRIPTED, STEP_BY_STEP, Row
from scenarios import SERVER_KEY
from texts import MAILS

GROUP = "culprits"
NOT_OPENSMTPD = ("exim", "postfix", "sendmail")  # OpenSMTPD waits in silence for 300 s
MIDDLE = 60_000  # octets of a mail that takes many segments, and still fits into the sender's socket

# Otherwise the MTA itself mends or refuses what the rule looks for.
LENIENT: dict[str, dict[str, str]] = {
    "exim": {"message_linelength_limit": "100000", "max_rcpt": "1000"},
    "postfix": {
        "smtputf8_enable": "no",
        "smtp_line_length_limit": "0",
        "smtp_destination_recipient_limit": "1000",
    },
}
EHLO_TO_ALL = {"postfix": {"smtp_pix_workarounds": ""}}  # also behind a starred greeting
TLS_REQUIRED = {
    "exim": {"hosts_avoid_tls": "", "hosts_require_tls": "*"},
    "postfix": {"smtp_tls_security_level": "encrypt"},
}
TLS: dict[str, Any] = {"server": "exim", "server_settings": {"tls_advertise_hosts": "*", "tls_certificate": SERVER_KEY}}
CHUNKING = {"chunking_advertise_hosts": "*"}
SERVERS = ("exim", "postfix", "sendmail", "opensmtpd")


def culprit(
    rule: str, spec: str, client: str, kind: str, tag: str = "", settings: Mapping[str, str] | None = None, **more: Any
) -> Row:
    """`kind`: how the mail ends, as `drop` (silence), `rst`, `reply` (refused) or `quit` (the client gives up)."""
    row = Row(
        name="",
        group=GROUP,
        judged="culprit",
        client=client,
        box=("-i", spec),
        fires=rule,
        kind=kind,
        **more,
    )
    own = LENIENT.get(client, {}) | dict(settings or {})
    if not row.pipelining and row.server == SCRIPTED:
        own |= STEP_BY_STEP.get(client, {})
    parts = [rule.replace(".", "-"), tag, client]
    parts += [f"to-{row.server}"] * (row.server != SCRIPTED) + ["pipelining"] * row.pipelining
    parts += [str(row.size)] * (row.size == MIDDLE)
    name = "-".join(part for part in parts if part)
    return Row(**{**vars(row), "name": f"culprit-{name}", "settings": own})


def relaxed(row: Row, rules: Sequence[str]) -> Row:
    """The same mail through the same box with these rules off; with none it stays as it is, and does not arrive."""
    words = [word for word in row.box[1].split(",") if not word.startswith("off=")]
    before = [word.removeprefix("off=") for word in row.box[1].split(",") if word.startswith("off=")]
    off = "+".join([*before, *rules])
    spec = ",".join([*words, *([f"off={off}"] if off else [])])
    return replace(row, name=f"{row.name}-relaxed", group="relaxed", judged="relaxed", kind="", box=("-i", spec))


# --- Stormshield ----------------------------------------------------------------------------------------

# what the box does, how the mail goes
_TEARDOWNS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("drop-flow", {}),
    ("drop-flow", {"pipelining": True}),
    ("drop-flow", {"size": MIDDLE, "pipelining": True}),
    ("drop", {}),
    ("drop", {"server": "real"}),
    ("rst-both", {"pipelining": True}),
    ("rst-both", {"server": "real"}),
)
_OPENSMTPD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("drop-flow", {}),
    ("rst-both", {}),
    ("rst-both", {"server": "real"}),
)
_ALARMS = (
    ("smtp-122", "raw-from", ""),
    ("smtp-231", "raw-subject", ""),
    ("smtp-217.header", "line-of-400", ",header_line_limit=256"),
)
_MORE = (
    ("smtp-122", "raw-name", ""),
    ("smtp-122", "control-field", ""),
    ("smtp-217.header", "long-references", ""),
)


def _teardown(word: str) -> str:
    return "rst" if word == "rst-both" else "drop"


def _stormshield_text() -> Iterator[Row]:
    real = itertools.cycle(SERVERS)
    for (rule, mail, more), client in itertools.product(_ALARMS, CLIENTS):
        for teardown, how in _OPENSMTPD if client == "opensmtpd" else _TEARDOWNS:
            own = dict(how)
            if own.get("server"):
                own["server"] = next(real)
            spec = f"stormshield,teardown={teardown}{more}"
            yield culprit(f"stormshield.{rule}", spec, client, _teardown(teardown), teardown, mail=mail, **own)
    for rule, mail, more in _MORE:
        for client in ("exim", "postfix") if mail != "raw-name" else ("exim",):  # the others take it for a body
            yield culprit(f"stormshield.{rule}", f"stormshield{more}", client, "drop", mail, mail=mail)


_PATIENT = ("postfix", "sendmail")  # with replies that are none
# rule, spec behind `stormshield`, replies of the server, clients that take them
_REPLIES: tuple[tuple[str, str, dict[str, str], tuple[str, ...]], ...] = (
    ("smtp-217.reply", "", {"RCPT": "250 2.1.5 " + "o" * 4200}, _PATIENT),
    ("smtp-217.reply", ",server_line_limit=512", {"MAIL": "250 2.1.0 " + "o" * 600}, CLIENTS),
    ("smtp-219.reply", "", {"RCPT": r"\r\n250 2.1.5 Ok"}, _PATIENT),
    ("smtp-219.reply", "", {"MAIL": r"250-2.1.0 Ok\r\n\r\n250 2.1.0 Ok"}, _PATIENT),
    ("smtp-223", "", {"EHLO": "502 5.5.2 Error: command not recognized"}, CLIENTS),
    ("smtp-223", ",reply_codes=504+555", {"EHLO": "504 5.5.4 Unknown"}, CLIENTS),
)


def _stormshield_replies() -> Iterator[Row]:
    for number, (rule, more, replies, clients) in enumerate(_REPLIES):
        full = f"stormshield.{rule}"
        at = next(iter(replies)).lower() + ("-own" if more else "")
        for client in clients:
            teardowns = ("rst-both",) if client == "opensmtpd" else ("drop-flow", "rst-both")
            for teardown in teardowns if number % 2 == 0 else teardowns[:1]:
                spec = f"stormshield,teardown={teardown}{more}"
                kind = _teardown(teardown)
                yield culprit(full, spec, client, kind, f"{at}-{teardown}", replies=replies, mail="minutes")


def _stormshield_commands() -> Iterator[Row]:
    chunking: dict[str, Any] = {"server": "exim", "server_settings": CHUNKING}
    yield culprit("stormshield.filter-chunking", "stormshield,filter_chunked_extension=on", "exim", "drop", **chunking)
    yield culprit("stormshield.command-denied", "stormshield,deny_op=BDAT", "exim", "drop", "bdat", **chunking)
    for client in NOT_OPENSMTPD:
        filtering = "stormshield,filter_pipelining_extension=on"
        yield culprit("stormshield.filter-pipelining", filtering, client, "drop", pipelining=True)
        limit = "stormshield,outstanding_pipelined_request_limit=5"
        many = tuple(f"u{number}@example.net" for number in range(9))
        yield culprit("stormshield.pipelined-limit", limit, client, "drop", pipelining=True, recipients=many)
        for verb in ("EHLO", "MAIL", "RCPT", "DATA"):
            spec = f"stormshield,deny_op={verb}"
            pipelining = verb == "DATA"
            yield culprit("stormshield.command-denied", spec, client, "drop", verb.lower(), pipelining=pipelining)
        allowed = "stormshield,allow_op=HELO+MAIL+RCPT+DATA+QUIT"
        yield culprit("stormshield.command-denied", allowed, client, "drop", "allow")
        long = tuple(f"{'u' * 60}@{'d' * 60}.example.net" for _ in range(1))
        spec = "stormshield,command_line_limit=100"
        yield culprit("stormshield.smtp-217.command", spec, client, "drop", recipients=long)
        reset = f"{spec},teardown=rst-both"
        yield culprit("stormshield.smtp-217.command", reset, client, "rst", "rst-both", recipients=long)


# --- SonicWall ------------------------------------------------------------------------------------------

_ENDINGS = (
    ("answer", "", "reply"),
    ("rst", ",on_match=reply552-rst", "reply"),
    ("silent", ",smtp_responses=off", "rst"),
    ("drop", ",on_match=drop", "drop"),
)
_FILES = (
    ("encrypted-zip", "encrypted-zip", ""),
    ("office-macro", "office-macro", ""),
    ("packed-exe", "packed-exe", ""),
)
_MORE_FILES = (
    ("packed-exe-extended", "mpress-exe", ",extended_packers=on"),
    ("nested-archive", "nested-zip", ",block_multiple_compress_files=on"),
    ("encrypted-zip", "aes-zip", ""),
    ("office-macro", "macro-doc", ""),
    ("office-macro", "macro-xlsm", ""),
    ("packed-exe", "aspack-exe", ""),
    ("packed-exe", "fsg-exe", ""),
)


def _sonicwall() -> Iterator[Row]:
    real, pipelined = itertools.cycle(SERVERS), itertools.cycle((False, True))
    for (rule, mail, more), client, (tag, ending, kind) in itertools.product(_FILES, CLIENTS, _ENDINGS):
        if kind == "drop" and client == "opensmtpd":
            continue
        own: dict[str, Any] = {"server": next(real)} if tag == "silent" else {"pipelining": next(pipelined)}
        yield culprit(f"sonicwall.{rule}", f"sonicwall{more}{ending}", client, kind, tag, mail=mail, **own)
    clients = itertools.cycle(CLIENTS)
    for (rule, mail, more), (tag, ending, kind) in itertools.product(_MORE_FILES, _ENDINGS[::2]):
        tag = f"{mail}-{tag}"
        yield culprit(f"sonicwall.{rule}", f"sonicwall{more}{ending}", next(clients), kind, tag, mail=mail)


# --- MailGuard ------------------------------------------------------------------------------------------

PIX = ("pix-4.4", "pix-5", "pix-6")
ESMTP = ("fwsm-3", "asa-7.0", "asa-8")
FRIENDLY = {"GREETING": r"220-mx.example.net ESMTP\r\n220 be polite"}
PIPE = {'RCPT TO:<LISTS ARCHIVE': "501 5.1.3 Bad recipient address syntax"}
ANGLE = {'RCPT TO:<"A B"': "550 5.1.1 User unknown"}
HELO = {"HELO": "502 5.5.1 Use EHLO"}


def _mailguard_dialogue() -> Iterator[Row]:
    for client in CLIENTS:
        yield culprit("mailguard.banner-multiline-broken", "mailguard:pix-4.4", client, "drop", replies=FRIENDLY)
        # The box answers EHLO itself, or makes it NOOP: the server has heard neither EHLO nor HELO.
        unheard = EHLO_TO_ALL.get(client)
        rule = "mailguard.ehlo-blocked"
        yield culprit(rule, "mailguard:pix-4.0", client, "reply", "pix-4.0", unheard, server="opensmtpd")
        if client != "sendmail":
            yield culprit(
                rule, "mailguard:pix-4.4", client, "reply", "pix-4.4", unheard,
                server="postfix", server_settings={"smtpd_helo_required": "yes"},
            )  # fmt: skip
        # Postfix and Sendmail say HELO behind a masked greeting, the others EHLO, which is masked.
        rule = "banner-masked" if client in ("postfix", "sendmail") else "ehlo-blocked"
        yield culprit(f"mailguard.{rule}", "mailguard:pix-6", client, "reply", "helo-refused", replies=HELO)
    for client, settings in TLS_REQUIRED.items():
        own = settings | EHLO_TO_ALL.get(client, {})
        for profile in ESMTP:
            spec = f"mailguard:{profile}"
            yield culprit("mailguard.starttls-blocked", spec, client, "quit", profile, own, **TLS)
        rule = "mailguard.ehlo-blocked"
        yield culprit(rule, "mailguard:pix-6", client, "quit", "tls", own, **TLS)
    required = TLS_REQUIRED["postfix"]
    yield culprit("mailguard.banner-masked", "mailguard:asa-9-tls", "postfix", "quit", "tls", required, **TLS)
    utf8 = {"smtputf8_enable": "yes", "smtp_pix_workarounds": ""}
    for profile in (*ESMTP, "asa-9-tls"):
        yield culprit(
            "mailguard.ehlo-param-masked", f"mailguard:{profile}", "postfix", "quit", profile, utf8,
            offers=("8BITMIME", "SMTPUTF8"), recipients=("zoé@example.net",),
        )  # fmt: skip
    for profile in ESMTP:
        yield culprit(
            "mailguard.command-not-allowed", f"mailguard:{profile},off=ehlo-param-masked", "exim", "reply", profile,
            server="exim", server_settings=CHUNKING,
        )  # fmt: skip


def _mailguard_addresses() -> Iterator[Row]:
    for client, profile in zip(CLIENTS, (*PIX[::2], "fwsm-3", "asa-8"), strict=True):
        spec = f"mailguard:{profile}"
        pipe = ("lists|archive@example.net",)
        yield culprit("mailguard.address-pipe", spec, client, "reply", profile, recipients=pipe, replies=PIPE)
        real: dict[str, Any] = {"recipients": pipe, "server": "postfix"}
        yield culprit("mailguard.address-pipe", spec, client, "reply", profile, **real)
    for client, profile in zip(("exim", "postfix"), ("pix-5", "asa-7.0"), strict=True):
        angle: dict[str, Any] = {"recipients": ('"a<b"@example.net',), "replies": ANGLE}
        yield culprit("mailguard.address-angle", f"mailguard:{profile}", client, "reply", profile, **angle)
    for client in NOT_OPENSMTPD:
        spec = "mailguard:asa-8,address_malicious=lists"
        yield culprit("mailguard.address-malicious", spec, client, "drop", recipients=("lists@example.net",))
        spec = "mailguard:asa-8,special_character=on,address_check=off"
        pipe = ("lists|archive@example.net",)
        yield culprit("mailguard.special-character", spec, client, "drop", recipients=pipe, pipelining=True)
        spec = "mailguard:asa-8,mail_relay=example.com"
        yield culprit("mailguard.mail-relay", spec, client, "drop", pipelining=client == "exim")


# rule, spec behind `mailguard:`, what is sent
_LIMITS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("cmd-line-length", "asa-8,cmd_line_length=100", {"recipients": (f"{'u' * 60}@{'d' * 60}.example.net",)}),
    ("rcpt-count", "asa-8,rcpt_count=20", {"recipients": tuple(f"u{number}@example.net" for number in range(30))}),
    ("rcpt-count", "asa-8", {"recipients": tuple(f"u{number}@example.net" for number in range(120))}),
    ("header-line-length", "asa-8,header_line_length=300", {"mail": "line-of-400"}),
    ("header-line-length", "asa-9-tls", {"mail": "long-line"}),
    ("sender-length", "asa-8,sender_length=64", {"mail_from": f"{'u' * 50}@{'d' * 30}.example.org"}),
    ("sender-length", "asa-8", {"mail_from": f"{'u' * 60}@{'.'.join(['d' * 60] * 5)}.example.org"}),
    ("mime-filename-length", "asa-8", {"mail": "long-name"}),
    ("dkim-content-type", "asa-7.0", {"mail": "signed"}),
)
# Of what an MTA cuts, or refuses itself.
_MENDED = {
    ("sendmail", "rcpt-count", "asa-8"), ("sendmail", "header-line-length", "asa-9-tls"),
    ("exim", "sender-length", "asa-8"), ("sendmail", "sender-length", "asa-8"),
}  # fmt: skip
_LINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("body-length", "body length gt 1000", {}),
    ("body-line-length", "body line length gt 500", {"mail": "body-line-of-700"}),
    ("header-length", "header length gt 500", {"mail": "line-of-400"}),
    ("header-line-length", "header line length gt 300", {"mail": "line-of-400"}),
    ("to-fields-count", "header to-fields count gt 4", {"mail": "many-to"}),
    ("mime-filetype", "mime filetype regex zip", {"mail": "plain-zip"}),
    ("mime-encoding", "mime encoding base64", {"mail": "plain-zip"}),
    ("sender-regex", "sender-address regex example", {}),
    ("cmd-verb", "cmd verb DATA", {}),
    ("invalid-recipients", "invalid-recipients count gt 2", {
        "recipients": tuple(f"u{number}@example.net" for number in range(6)),
        "replies": {"RCPT": "550 5.1.1 User unknown", "RCPT TO:<U5": "250 2.1.5 Ok"},
    }),
)  # fmt: skip


def _mailguard_limits() -> Iterator[Row]:
    pipelined = itertools.cycle((False, True))
    for (rule, spec, sent), client in itertools.product(_LIMITS, CLIENTS):
        if (client, rule, spec) in _MENDED or (client == "opensmtpd" and rule != "dkim-content-type"):
            continue
        tag = spec.partition(",")[0] + ("-own" if "," in spec else "")
        own = {**sent, "pipelining": next(pipelined)}
        yield culprit(f"mailguard.{rule}", f"mailguard:{spec}", client, "drop", tag, **own)
    for (rule, line, sent), client in itertools.product(_LINES, CLIENTS):
        action, kind = ("reset", "rst") if client in ("opensmtpd", "sendmail") else ("drop-connection log", "drop")
        spec = f"mailguard:asa-8,match={line} -> {action}"
        own = {**sent, "pipelining": next(pipelined)}
        yield culprit(f"mailguard.{rule}", spec, client, kind, "match", **own)
    for profile, client in itertools.product(("pix-4.4", "pix-5"), ("sendmail", "opensmtpd")):
        spec = f"mailguard:{profile},eod_split=crlfdotcrlf"
        yield culprit("mailguard.eod-split", spec, client, "drop", profile)


# --- what no MTA does by itself -------------------------------------------------------------------------

_HELO, _MAIL, _RCPT = "HELO out.example.com\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<u@example.net>\r\n"
_TEXT = "From: <a@example.org>\r\nTo: <u@example.net>\r\nSubject: test\r\n\r\nhello\r\n.\r\n"
_END = ("DATA\r\n", _TEXT)
_LARGE = 102_500  # just above the lowest limit of a chunk
_LINES_OF_70 = ("Subject: test\r\n\r\n" + ("x" * 68 + "\r\n") * (_LARGE // 70))[: _LARGE - 2]
_CHUNK = f"BDAT {_LARGE} LAST\r\n{_LINES_OF_70.ljust(_LARGE - 2, 'x')}\r\n"
_BLOCK = (f"XEXCH50 {_LARGE} 2\r\n", "x" * (_LARGE - 1) + "\n")
# rule, spec, tag, kind, pieces
_BY_HAND: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    *(
        ("mailguard.command-split", f"mailguard:{profile}", profile, kind, (_HELO, "MA", _MAIL[2:], _RCPT, *_END))
        for profile, kind in (
            ("pix-4.0", "drop"), ("pix-4.4", "drop"), ("pix-5", "drop"), ("pix-6", "drop"), ("fwsm-3", "drop"),
            ("asa-7.0", "reply"), ("asa-8", "reply"), ("asa-9-tls", "reply"),
        )
    ),
    ("mailguard.command-split", "mailguard:pix-6", "rcpt", "drop", (_HELO, _MAIL, "RC", _RCPT[2:], *_END)),
    ("mailguard.command-split", "mailguard:asa-8", "data", "reply", (_HELO, _MAIL, _RCPT, "DA", "TA\r\n", _TEXT)),
    *(
        ("mailguard.command-termination", f"mailguard:{profile}", profile, kind,
         (_HELO, _MAIL.replace("\r", ""), _RCPT, *_END))
        for profile, kind in (
            ("pix-4.4", "drop"), ("pix-5", "drop"), ("pix-6", "drop"), ("fwsm-3", "drop"), ("asa-7.0", "reply"),
            ("asa-8", "reply"), ("asa-9-tls", "reply"),
        )
    ),
    *(
        ("mailguard.command-not-allowed", f"mailguard:{profile}", f"{profile}-{verb.strip()[:4].lower()}", "reply",
         (_HELO, _MAIL, _RCPT, verb, *more, *_END))
        for profile, verb, *more in (
            ("pix-5", "VRFY u\r\n"), ("pix-6", "VRFY u\r\n"), ("pix-6", "HELP\r\n"),
            ("fwsm-3", "XEXCH50 10 2\r\n", "123456789\n"), ("asa-7.0", "XEXCH50 10 2\r\n", "123456789\n"),
            ("asa-8", "X-LINK2STATE LAST CHUNK\r\n"),
        )
    ),
    ("mailguard.cmd-line-length", "mailguard:asa-8", "asa-8", "drop",
     (_HELO, f"MAIL FROM:<a@example.org>{' ' * 600}\r\n", _RCPT, *_END)),
    ("stormshield.smtp-217.command", "stormshield", "widest", "drop",
     (_HELO, f"MAIL FROM:<a@example.org>{' ' * 4200}\r\n", _RCPT, *_END)),
    ("stormshield.smtp-217.bdat", "stormshield,bdat_size=102400", "bdat", "drop",
     ("EHLO out.example.com\r\n", _MAIL, _RCPT, _CHUNK)),
    ("stormshield.smtp-217.bdat", "stormshield,bdat_size=102400,teardown=rst-both", "bdat-rst-both", "rst",
     ("EHLO out.example.com\r\n", _MAIL, _RCPT, _CHUNK)),
    ("stormshield.smtp-217.xexch50", "stormshield,xexch50_size=102400", "xexch50", "drop",
     ("EHLO out.example.com\r\n", _MAIL, _RCPT, *_BLOCK, *_END)),
    ("stormshield.smtp-217.xexch50", "stormshield,xexch50_size=102400,teardown=rst-both", "xexch50-rst-both", "rst",
     ("EHLO out.example.com\r\n", _MAIL, _RCPT, *_BLOCK, *_END)),
    ("stormshield.smtp-219.command", "stormshield", "drop-flow", "drop", (_HELO, "\r\n", _MAIL, _RCPT, *_END)),
    ("stormshield.smtp-219.command", "stormshield,teardown=drop", "drop", "drop",
     (_HELO, _MAIL, "\r\n", _RCPT, *_END)),
    ("stormshield.smtp-219.command", "stormshield,teardown=rst-both", "rst-both", "rst",
     (_HELO, _MAIL, _RCPT, "\r\n", *_END)),
    ("stormshield.smtp-219.command", "stormshield,blank_is_empty=on", "blank", "drop",
     (_HELO, _MAIL, "  \r\n", _RCPT, *_END)),
    ("stormshield.smtp-223", "stormshield,mode=advertised", "advertised", "drop",
     ("EHLO out.example.com\r\n", "ETRN example.com\r\n", _MAIL, _RCPT, *_END)),
    ("stormshield.smtp-223", "stormshield", "vrfy", "drop", (_HELO, "?VRFY u\r\n", _MAIL, _RCPT, *_END)),
    ("stormshield.smtp-223", "stormshield,teardown=rst-both", "vrfy-rst-both", "rst",
     (_HELO, _MAIL, "?VRFY u\r\n", _RCPT, *_END)),
    ("stormshield.filter-exchange", "stormshield,filter_exchange_extensions=on", "xexch50", "drop",
     ("EHLO out.example.com\r\n", _MAIL, _RCPT, "XEXCH50 20 2\r\n", "x" * 19 + "\n", *_END)),
    ("stormshield.filter-exchange", "stormshield,filter_exchange_extensions=on", "x-link2state", "drop",
     ("EHLO out.example.com\r\n", "X-LINK2STATE LAST CHUNK\r\n", _MAIL, _RCPT, *_END)),
    ("stormshield.filter-turning", "stormshield,filter_turning_extensions=on", "etrn", "drop",
     ("EHLO out.example.com\r\n", "ETRN example.com\r\n", _MAIL, _RCPT, *_END)),
    ("stormshield.filter-turning", "stormshield,filter_turning_extensions=on", "atrn", "drop",
     ("EHLO out.example.com\r\n", "ATRN example.com\r\n", _MAIL, _RCPT, *_END)),
)  # fmt: skip
# Without the box, these servers know the verbs, so that a mail follows.
_KNOWN = {"VRFY": "252 2.1.5 Send it", "HELP": "214 2.0.0 RFC 5321", "ETRN": "250 2.0.0 Ok", "ATRN": "250 2.0.0 Ok"}
_KNOWN |= {"X-LI": "250 2.0.0 Ok", "\r\n": "250 2.0.0 Ok", "  \r\n": "250 2.0.0 Ok"}


def _by_hand() -> Iterator[Row]:
    for rule, spec, tag, kind, pieces in _BY_HAND:
        replies = {} if "VRFY" in pieces[1] + pieces[2] and rule.endswith("223") else _KNOWN
        yield culprit(rule, spec, PIECES, kind, tag, typed=pieces, replies=replies)


CULPRITS = [
    *_stormshield_text(),
    *_stormshield_replies(),
    *_stormshield_commands(),
    *_sonicwall(),
    *_mailguard_dialogue(),
    *_mailguard_addresses(),
    *_mailguard_limits(),
    *_by_hand(),
]

# --- contrast: two paths, one of which cuts -------------------------------------------------------------

# the box, where only the second of two rules that the same mail trips is on; mails; the rule, the one that falls
_MIXED = (
    ("stormshield,off=smtp-122", ("minutes", "raw-from", "raw-both", "raw-subject", "raw-both", "minutes"),
     "stormshield.smtp-231", "stormshield.smtp-122"),
    ("sonicwall,on_match=drop,off=office-macro",
     ("minutes", "office-macro", "two-files", "encrypted-zip", "two-files", "plain-zip"),
     "sonicwall.encrypted-zip", "sonicwall.office-macro"),
)  # fmt: skip
CONTRASTS = [
    Row(
        name=f"contrast-{rule.partition('.')[0]}",
        group="contrast",
        judged="contrast",
        client="exim",
        box=("-i", spec),
        mixed=mails,
        settings=LENIENT["exim"] | STEP_BY_STEP["exim"],
        fires=rule,
        falls=falls,
    )
    for spec, mails, rule, falls in _MIXED
]


# --- check: each mail as it is really sent --------------------------------------------------------------

CHECKED = [
    Row(
        name=f"checked-{mail}-{client}",
        group="checked",
        judged="checked",
        client=client,
        mail=mail,
        settings=LENIENT.get(client, {}),
    )
    for mail, client in itertools.product(MAILS, CLIENTS)
]

DIAGNOSED = [*CULPRITS, *CONTRASTS, *CHECKED]


def _few() -> Iterator[Row]:
    """A row for each rule that ends a mail at once, and for some that let it wait; a bit of all else."""
    waited = ("stormshield.command-denied", "stormshield.filter-pipelining", "mailguard.rcpt-count")
    seen = set()
    for row in CULPRITS:
        if row.fires not in seen and not row.slow and (row.kind != "drop" or row.fires in waited):
            seen.add(row.fires)
            yield row
    yield CONTRASTS[0]
    yield from CHECKED[::7]


FEW = list(_few())
