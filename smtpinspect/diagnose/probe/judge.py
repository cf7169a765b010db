"""What the answers of a probe mean, by the tables of MailGuard's profiles; none of them alone decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.paths.generations import Traits
from smtpinspect.diagnose.probe.steps import FAKE, Talked
from smtpinspect.diagnose.probe.talk import Answer
from smtpinspect.inspectors.mailguard import masks
from smtpinspect.inspectors.mailguard.profiles import BANNER, DENY, EHLO_NAMED, SPLIT

Verdict = Literal["yes", "no", "unclear"]
OPEN: Final = "none"  # of any knob: nothing is done
_OK: Final = re.compile(rb"(?:250[ -])?(?:2\.\d\.\d )?OK\.?\r?\n?", re.I)


class Shows(NamedTuple):
    """What an answer shows of one setting: the values that it may have, and in words what was seen; `clear`: the
    answer is one that a server without a box gives, too."""

    knob: str
    values: frozenset[str]
    text: str
    clear: bool


class Judged(NamedTuple):
    """`profiles`: the generations that fit, those that fit by default first; `exact`: how many these are."""

    mailguard: Verdict
    profiles: tuple[str, ...]
    exact: int
    shows: tuple[Shows, ...]
    off: tuple[str, ...] = ()  # knobs that are not as in any profile


def judge(talked: Talked) -> Judged:
    """Which profiles give all of these answers. A profile's style of denial counts for its configuration keyword:
    which build of a generation denies how is in no source."""
    shows = tuple(each for each in (_banner(talked), _deny(talked), *_ehlo(talked), _split(talked)) if each is not None)
    signs = [each for each in shows if not each.clear]
    if not signs:
        # what a server says to a command that does not exist is the test: without it nothing was tested
        tested = any(each.knob == "deny_style" for each in shows)
        return Judged("no" if tested else "unclear", (), 0, shows)
    misses = {each.profile: _misses(each, shows) for each in generations.traits()}
    least = min(len(missed) for missed in misses.values())
    best = [profile for profile, missed in misses.items() if len(missed) == least]
    if least >= len(signs):
        return Judged("unclear", (), 0, shows)
    by_name = {each.profile: each for each in generations.traits()}
    exact = [profile for profile in best if _own_style(by_name[profile], shows)]
    rest = [profile for profile in best if profile not in exact]
    off = tuple(dict.fromkeys(knob for profile in best for knob in misses[profile])) if least else ()
    return Judged("yes", (*exact, *rest), len(exact), shows, off)


def _misses(traits: Traits, shows: Iterable[Shows]) -> list[str]:
    """The knobs in which a profile is not like this."""
    return [each.knob for each in shows if not each.values & _values(traits, each.knob)]


def _values(traits: Traits, knob: str) -> set[str]:
    family = [each for each in generations.traits() if each.inspect == traits.inspect]
    match knob:
        case "banner":
            return {traits.banner}
        case "deny_style":
            return {each.deny_style for each in family}
        case "ehlo":
            return {"passes"} if traits.esmtp else {each.deny_style for each in family}
        case "ehlo_mask":
            return {traits.ehlo_mask}
        case "allow_tls":
            return {"on" if traits.allow_tls else "off"} if traits.esmtp else {"on", "off"}
        case _:
            return {traits.split_verb}


def _own_style(traits: Traits, shows: Iterable[Shows]) -> bool:
    told = next((each.values for each in shows if each.knob == "deny_style"), frozenset({traits.deny_style}))
    return traits.deny_style in told


# --- one answer after the other


def _banner(talked: Talked) -> Shows | None:
    styles = generations.styles_of(talked.greeting.octets)
    if not styles:
        return Shows("banner", frozenset({OPEN}), "the greeting is in clear", True)
    look = "underscores" if b"*" not in talked.greeting.octets else "stars"
    more = " (the second line has lost its code)" if talked.greeting.ended == "silence" else ""
    return Shows("banner", frozenset(styles) & frozenset(BANNER), f"the greeting is masked with {look}{more}", False)


def _deny(talked: Talked) -> Shows | None:
    """What a command that does not exist gets."""
    fake, noop = talked.of("fake"), talked.of("noop")
    if fake is None or fake.ended:
        return None
    reply = fake.octets
    quoted = fake.text.split("\n")[0]
    if fake.code is None and _OK.fullmatch(reply):
        return Shows("deny_style", frozenset({"local-ok"}), "a command that does not exist got a bare OK", False)
    if fake.code is not None and 200 <= fake.code < 300:
        styles = {"local-ok", "noop"}
        if noop is not None and not noop.ended and noop.octets != reply:
            styles = {"local-ok"}
        elif not _OK.fullmatch(reply) or b"2." in reply:
            styles = {"noop"}
        return Shows("deny_style", frozenset(styles), f"a command that does not exist got {quoted}", False)
    crossed = re.search(rb"X{4,}\S*", reply)
    if crossed and FAKE not in reply and generations.crossed(FAKE, fake.text):
        whole = len(crossed[0].rstrip(b"'\".,)>")) >= len(FAKE) and not crossed[0].endswith(FAKE[4:])
        style = "xxxx-all" if whole and b"fake" not in reply else "xxxx-verb"
        sent = crossed[0].rstrip(b"'\".,:;)>]").decode("latin-1")
        text = f"the server was sent {sent} in place of a command that does not exist"
        return Shows("deny_style", frozenset({style}), text, False)
    text = f"a command that does not exist is refused: {quoted}"
    if FAKE in reply.lower():
        return Shows("deny_style", frozenset({OPEN}), text, True)
    return Shows("deny_style", frozenset({OPEN, "xxxx-verb", "xxxx-all"}) & ({OPEN} | DENY.keys()), text, True)


def _ehlo(talked: Talked) -> Iterable[Shows]:
    ehlo = talked.of("ehlo")
    if ehlo is None or ehlo.ended:
        return
    if ehlo.code is None or (ehlo.code == 250 and _bare(ehlo)):
        text = f"EHLO got {ehlo.text}, which is no server's answer to it"
        yield Shows("ehlo", frozenset({"local-ok", "noop"}), text, False)
        return
    if ehlo.code != 250:
        # an old server refuses it, too
        yield Shows("ehlo", frozenset({"xxxx-verb", "xxxx-all"}), f"EHLO is refused: {ehlo.text}", True)
        return
    yield Shows("ehlo", frozenset({"passes"}), "EHLO passes", True)
    lines = ehlo.octets.splitlines()[1:]
    words = [line[4:].decode("latin-1").strip() for line in lines]
    masked = generations.crossed_keywords(words)
    others = [word for word in words if word and _keyword(word) not in EHLO_NAMED]
    clear = [word for word in others if word not in masked]
    tls = any(word.upper() == "STARTTLS" for word in clear)
    if masked:
        yield Shows("ehlo_mask", frozenset({"others"}), f"EHLO keywords are masked: {', '.join(masked)}", False)
        if tls:
            yield Shows("allow_tls", frozenset({"on"}), "STARTTLS is offered in clear", True)
    elif len(clear) > tls:
        yield Shows("ehlo_mask", frozenset({OPEN}), "EHLO keywords are in clear", True)
    elif tls:
        yield Shows("allow_tls", frozenset({"on"}), "STARTTLS is offered in clear", True)


def _keyword(word: str) -> str:
    return masks.keyword(word.encode("latin-1")).decode("latin-1")


def _bare(ehlo: Answer) -> bool:
    return len(ehlo.octets.splitlines()) == 1 and bool(_OK.fullmatch(ehlo.octets))


def _split(talked: Talked) -> Shows | None:
    split, whole = talked.of("split"), talked.of("noop")
    if split is None or whole is None or whole.ended or whole.code is None:
        return None
    if split.code is not None and 500 <= split.code < 600:
        text = f"a command in two segments is refused: {split.text}"
        return Shows("split_verb", frozenset({"mask"} & SPLIT.keys()), text, False)
    # a stack may join the parts when it sends them again: then they pass, late
    others = sum(answer.again for each in talked.heard if each.step.name != "split" for answer in each.answers)
    gave_up = split.ended == "silence" or split.code == 421
    if gave_up or (split.again and not others and not split.ended):
        text = "a command in two segments was not let through"
        return Shows("split_verb", frozenset({"discard"} & SPLIT.keys()), text, False)
    if split.ended:
        return None
    return Shows("split_verb", frozenset({"off"}), "a command in two segments is understood", True)
