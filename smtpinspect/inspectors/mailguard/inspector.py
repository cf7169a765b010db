"""MailGuard: settings become rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from smtpinspect.actions import ALARM, DETACH, DROP, PASS, RESET, Action, Strength, answer, rewrite
from smtpinspect.errors import UsageError
from smtpinspect.facts import (
    COMMAND,
    COUNT,
    END_OF_DATA,
    FIELD,
    GREETING,
    KEYWORD,
    LINE,
    PART,
    PATH,
    REPLY,
    REPLY_LINE,
    TLS,
    Given,
    Octets,
    Pattern,
    flags,
    gt,
    in_,
    matches,
    ne,
    not_in,
)
from smtpinspect.inspectors.base import Evidence, Inspector, Remedy, Rule, Settings
from smtpinspect.inspectors.mailguard import maps
from smtpinspect.inspectors.mailguard import profiles as p
from smtpinspect.inspectors.mailguard.pages import PAGES
from smtpinspect.inspectors.mailguard.remedies import remedies

# Bit i of END_OF_DATA.cuts: octet i of CR LF . CR LF began a segment.
_CUTS: Final = {"dotcrlf": 0b11000, "crlfdotcrlf": 0b11110}
# Postfix sleeps 10 s (smtp_pix_workaround_delay_time).
_WORKAROUND_PAUSE_MS: Final = 9_000
_SIGNATURES: Final = (b"DKIM-Signature", b"DomainKey-Signature")
_H_TAG: Final = rb"(?is)(?:^|;)\s*h\s*=[^;]*\bcontent-type\b"


class Mailguard(Inspector):
    """Cisco PIX MailGuard, and its successors in FWSM, ASA and FTD."""

    name = "mailguard"
    title = "Cisco PIX MailGuard, FWSM and ASA ESMTP inspection"
    gid = 2001
    profiles = p.PROFILES
    default_profile = "pix-6"
    knobs = p.KNOBS
    pages = PAGES
    sources = p.SOURCES
    hints = p.HINTS
    words: ClassVar[dict[str, str]] = {
        "log": "alarm",
        "flag": "alarm",
        "discard": "drop",
        "drop-connection": "drop-flow",
        "mask": "rewrite",
    }

    def derive(self, values: dict[str, Any]) -> dict[str, Any]:
        """The lists follow the configuration keyword, the six limits follow `limits`, that follows `match`."""
        made = dict(values)
        esmtp = made["inspect"] == "esmtp"
        if made["allow_tls"] != "off" and not esmtp:
            raise UsageError(
                f"allow_tls is a parameter of inspect=esmtp; mailguard has inspect={made['inspect']} here"
            )
        if made["match"] and not esmtp:
            raise UsageError(
                f"match is for a map of inspect=esmtp; mailguard has inspect={made['inspect']} here"
            )
        maps.read(made["match"])
        if made["limits"] is None:
            default = self.profile in p.WITH_DEFAULT_MAP and not made["match"]
            made["limits"] = "default-map" if default else "none"
        if made["allowed_verbs"] is None:
            tls = () if made["allow_tls"] == "off" else ("STARTTLS",)
            made["allowed_verbs"] = (*p.FIFTEEN, *tls) if esmtp else p.SEVEN
        if made["ehlo_mask"] is None:
            own = made["match"] and made["limits"] == "none"
            made["ehlo_mask"] = "others" if esmtp and not own else "none"
        if made["mask_banner"] is False:
            made["banner"] = "none"
        elif made["mask_banner"] and made["banner"] == "none":
            made["banner"] = "per-line"
        for limit in p.DEFAULT_MAP:
            key = limit.rule.replace("-", "_")
            if made[key] is None:
                made[key] = limit.limit if made["limits"] == "default-map" else 0
        if not made["deny_reply"].endswith(b"\r\n"):
            made["deny_reply"] += b"\r\n"
        return made

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """The rows of one generation."""
        yield from self._greeting(settings)
        yield from self._commands(settings)
        yield from self._ehlo_reply(settings)
        yield from self._addresses(settings)
        yield from self._limits(settings)
        yield from self._map(settings)
        yield from self._replies(settings)
        yield from self._text(settings)

    def notes(self) -> tuple[str, ...]:
        """Lines of `match` that are read and not evaluated."""
        return tuple(line.note for line in maps.read(self.settings.match) if line.note)

    def remedies(self, rule: str) -> tuple[Remedy, ...]:
        """What to type on the firewall, by product generation."""
        mine = (row for row in self.table() if row.id == rule and self.settings.match)
        return remedies(rule, next((str(row.action.params.get("criterion", "")) for row in mine), ""))

    def act(self, row: Rule, word: str, settings: Settings) -> Action:
        """`mask` fits commands and EHLO keywords only; drop-connection sends the RST of the settings."""
        word = self.words.get(word, word)
        if word == "drop-flow":
            return _drop_connection(settings, **row.action.params)
        if word == "rewrite" and row.action.strength != Strength.REWRITE:
            how = {"ehlo-param-masked": "mask-keyword", "command-not-allowed": "xxxx-all"}.get(
                row.id.partition(".")[2]
            )
            if how is None:
                raise UsageError(f"{row.id}: mask is for commands and EHLO keywords")
            return rewrite(how)
        if word == "answer" and row.when.kind is COMMAND:
            return answer(settings.deny_reply)
        return super().act(row, word, settings)

    def _greeting(self, s: Settings) -> Iterator[Rule]:
        if s.banner == "none":
            return
        mask = rewrite("mask-banner", mask=s.banner, keep_sep=s.keep_sep)
        yield _row("banner-masked", GREETING(), mask, p.BANNER[s.banner], s.banner)
        if s.banner == "first4":
            yield _row("banner-multiline-broken", GREETING(lines=gt(1)), mask, p.MULTILINE, breaks=True)

    def _commands(self, s: Settings) -> Iterator[Rule]:
        # In a release with the bypass a refused DATA closes the filter's eyes.
        blind = Given.REFUSED_DATA if s.early_data_bypass else 0
        allowed = [verb.upper().encode() for verb in s.allowed_verbs]
        group = {"first_of": "command"}
        if s.split_verb != "off":
            # Beside the other rows, not before them: what a verb is must not depend on how it was cut.
            action = DROP if s.split_verb == "discard" else rewrite("xxxx-segment")
            yield _row(
                "command-split",
                COMMAND(split=1, not_given=blind),
                action,
                p.SPLIT[s.split_verb],
                s.split_verb,
            )
        deny = answer(s.deny_reply) if s.deny_style == "local-ok" else rewrite(s.deny_style)
        basis, source = p.DENY[s.deny_style]
        listed = p.ALLOWED[s.inspect]
        evidence = Evidence(basis, "; ".join(dict.fromkeys(f"{listed.source}; {source}".split("; "))))
        for rule, verb in (("ehlo-blocked", b"EHLO"), ("starttls-blocked", b"STARTTLS")):
            if verb not in allowed:
                yield _row(rule, COMMAND(verb=verb, not_given=blind), deny, evidence, s.deny_style, **group)
        own = [*allowed, b"EHLO", b"STARTTLS"]
        denied = COMMAND(verb=not_in(*dict.fromkeys(own)), not_given=blind)
        yield _row("command-not-allowed", denied, deny, evidence, s.deny_style, **group)
        if blind:
            foreign = COMMAND(verb=not_in(*allowed, b"."), given=Given.REFUSED_DATA)
            yield _row("bypass-early-data", foreign, PASS, p.BYPASS, kind="seen")
        if s.termination != "off":
            action = DROP if s.termination == "discard" else rewrite("xxxx-all")
            ended = COMMAND(line_end="lf", not_given=blind)
            yield _row("command-termination", ended, action, p.TERMINATION, s.termination)
        if s.pipelining:
            # Offload hides the borders inside a super-segment: nothing is told of those.
            second = COMMAND(nth=gt(1), super_segment=0, not_given=blind)
            yield _row("pipelining", second, ALARM, p.PIPELINING)
        if s.allow_tls != "off":
            yield _row("tls-started", TLS(how="starttls"), DETACH, p.TLS)

    def _ehlo_reply(self, s: Settings) -> Iterator[Rule]:
        if s.ehlo_mask == "none":
            return
        detail = p.MASK_CLASS if s.limits == "default-map" else "keyword"
        mask = rewrite("mask-keyword", criterion=f"ehlo-reply-parameter {s.ehlo_mask}", log=False)
        named = [keyword.upper().encode() for keyword in s.ehlo_named]
        if s.allow_tls == "off" and b"STARTTLS" not in named:
            offered = KEYWORD(name=in_(b"STARTTLS"))
            yield _row("starttls-blocked", offered, mask, p.EHLO_MASK, detail, first_of="keyword")
        others = KEYWORD(name=not_in(*dict.fromkeys([*named, b"STARTTLS"])))
        yield _row("ehlo-param-masked", others, mask, p.EHLO_MASK, detail, first_of="keyword")

    def _addresses(self, s: Settings) -> Iterator[Rule]:
        blind = Given.REFUSED_DATA if s.early_data_bypass else 0
        if s.address_check == "space":
            pipe = PATH(octets=flags(Octets.PIPE), not_given=blind)
            angle = PATH(octets=flags(Octets.ANGLE), not_given=blind)
            yield _row("address-pipe", pipe, rewrite("space", octets=b"|"), p.PIPE, "|")
            yield _row("address-angle", angle, rewrite("space", octets=b"<>"), p.ANGLE, "stray bracket")
        if s.address_malicious:
            yield _row(
                "address-malicious",
                PATH(address=matches(s.address_malicious)),
                _drop_connection(s),
                p.MALICIOUS,
            )
        if s.special_character:
            special = PATH(octets=flags(Octets.PIPE | Octets.BACKQUOTE | Octets.NUL))
            action = _configured(s, s.special_character_action, "special-character")
            yield _row("special-character", special, action, p.SPECIAL, "special-character")
        if s.mail_relay:
            # <postmaster> has no domain and is always local (RFC 5321 4.5.1).
            domains = [b"", *(d.lower().encode() for d in s.mail_relay)]
            foreign = PATH(role="recipient", domain=not_in(*domains))
            action = _configured(s, s.mail_relay_action, "mail-relay")
            yield _row("mail-relay", foreign, action, p.RELAY, "mail-relay")

    def _limits(self, s: Settings) -> Iterator[Rule]:
        for limit in p.DEFAULT_MAP:
            number = getattr(s, limit.rule.replace("-", "_"))
            if not number:
                continue
            criterion = f"{limit.criterion} gt {number}"
            words = "drop-connection log" if limit.drops else "log"
            action = _configured(s, words, criterion)
            yield _row(limit.rule, _too_much(limit.rule, number), action, p.MAP, f"Class {limit.number}")
        if s.size_violation:
            yield _row("size-violation", COUNT(what="over-size", value=gt(0)), ALARM, p.SIZE)

    def _map(self, s: Settings) -> Iterator[Rule]:
        # The default map's classes come first where both are asked for.
        first = p.CLASSES if s.match and s.limits == "default-map" else 0
        for line in maps.read(s.match):
            words = line.action + " log" * (line.log and line.action != "log")
            action = _configured(s, words, line.text)
            for rule, when in maps.rows(line, s):
                yield _row(rule, when, action, line.criterion.evidence, f"Class {first + line.number}")

    def _replies(self, s: Settings) -> Iterator[Rule]:
        if s.deny_style in ("local-ok", "noop"):
            success = REPLY(code=in_(*range(200, 300)), known=0, verb=ne(b""))
            bare = REPLY(bare_ok=1, known=0, verb=ne(b""))
            yield _row("command-answered-ok", success, PASS, p.ANSWERED, "2xx", kind="seen")
            yield _row("command-answered-ok", bare, PASS, p.ANSWERED, "OK", kind="seen")
        if s.server_transitions:
            # A server may say 421 and close whenever it likes (RFC 5321 3.8).
            wrong = REPLY(fits=in_("unsolicited", "wrong-state"), code=ne(421))
            codeless = REPLY_LINE(form=in_("short", "not-numeric"))
            yield _row("server-transition", wrong, ALARM, p.TRANSITION, "reply does not fit")
            yield _row("server-transition", codeless, ALARM, p.TRANSITION, "no reply code")

    def _text(self, s: Settings) -> Iterator[Rule]:
        if s.dkim_bug:
            signed = FIELD(level=0, name=in_(*_SIGNATURES), value=matches(_H_TAG))
            yield _row("dkim-content-type", signed, _drop_connection(s), p.DKIM, "h= tag")
        if s.eod_split != "off":
            split = END_OF_DATA(variant=1, cuts=flags(_CUTS[s.eod_split]))
            yield _row("eod-split", split, DROP, p.EOD[s.eod_split], s.eod_split)
        if s.inspect == "mailhost":
            return
        seen = END_OF_DATA(
            variant=1, alone=1, pause=gt(_WORKAROUND_PAUSE_MS), given=Given.STARRED | Given.HELO
        )
        yield _row("postfix-workaround-seen", seen, PASS, p.WORKAROUND, kind="seen")


def _row(
    name: str, when: Pattern, action: Action, evidence: Evidence, detail: str = "", **more: Any
) -> Rule:
    page = PAGES[f"mailguard.{name}"]
    return Rule(
        f"mailguard.{name}",
        when,
        action,
        evidence.basis,
        evidence.source,
        page.signature_id,
        page.title,
        detail,
        **more,
    )


def _drop_connection(s: Settings, **params: object) -> Action:
    """The packet is dropped and the flow forgotten; `drop_rst` says who is told."""
    who = {"client": "client" in s.drop_rst, "server": "server" in s.drop_rst}
    return Action(Strength.DROP_FLOW, "drop-connection", {**params, **who})


def _configured(s: Settings, words: str, criterion: str) -> Action:
    """The action of a map's line or parameter, in the ASA's words; the log tells its criterion."""
    word, _, log = words.partition(" ")
    told: dict[str, object] = {"criterion": criterion, "log": bool(log) or word == "log"}
    match word:
        case "drop-connection":
            return _drop_connection(s, **told)
        case "reset":
            return RESET._replace(params={**RESET.params, **told})
        case "mask":
            return rewrite("xxxx-all" if "cmd verb" in criterion.lower() else "mask-keyword", **told)
        case _:
            return Action(Strength.ALARM, params=told)


def _too_much(rule: str, limit: int) -> Pattern:
    match rule:
        case "cmd-line-length":
            return LINE(where="command", wire_length=gt(limit))
        case "rcpt-count":
            return COUNT(what="rcpt", value=gt(limit))
        case "body-line-length":
            # The headers of parts stand in the body (RFC 5322 2.3).
            return LINE(where=in_("body", "part-header"), length=gt(limit))
        case "header-line-length":
            return LINE(where="header", length=gt(limit))
        case "sender-length":
            return PATH(role="sender", length=gt(limit))
        case _:
            return PART(filename_length=gt(limit))
