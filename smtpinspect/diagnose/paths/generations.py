"""What tells the generations of Cisco's MailGuard apart from outside, read from the tables of its profiles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final, NamedTuple

from smtpinspect.inspectors import registry
from smtpinspect.inspectors.mailguard import masks
from smtpinspect.inspectors.mailguard.profiles import BANNER, PRODUCTS, PROFILES

PRODUCT: Final = "mailguard"
_LEFT: Final = frozenset("*02 ")
_KEYWORD: Final = re.compile(r"X+[A-Z]")
VERB: Final = 4  # letters of a verb that become X
STARS_ALL: Final = 8  # X in a row, of a whole line that a reply quotes a part of
# A run of X that is a word, and what stands in front of a command that a reply quotes.
_CROSSED: Final = re.compile(r"(?<![\w-])X{4,}[^\s\"'`<>()\[\],;:]*")
_QUOTES: Final = re.compile(
    r"(?:^[45]\d\d[ -](?:[45]\.\d+\.\d+ )?|[\"'`<(\[]|"
    r"\b(?:command|verb|unknown|(?:un)?recogni[sz]ed?|unsupported)\b\W*)\Z",
    re.I | re.M,
)
STARS: Final = 3  # fewer may be anybody's; a name and a word behind the code are longer


class Traits(NamedTuple):
    """The settings of a profile that show in a dialogue, by the names of its knobs."""

    profile: str
    inspect: str  # the configuration keyword
    banner: str
    deny_style: str
    esmtp: bool  # EHLO passes
    ehlo_mask: str
    allow_tls: bool
    split_verb: str


@cache
def traits() -> tuple[Traits, ...]:
    """Those of every profile, oldest first."""
    made = []
    for profile in PROFILES:
        found = registry.load(f"{PRODUCT}:{profile}").settings
        made.append(
            Traits(
                profile=profile,
                inspect=found.inspect,
                banner=found.banner,
                deny_style=found.deny_style,
                esmtp="EHLO" in found.allowed_verbs,
                ehlo_mask=found.ehlo_mask,
                allow_tls=found.allow_tls != "off",
                split_verb=found.split_verb,
            )
        )
    return tuple(made)


def having(test: Callable[[Traits], bool]) -> tuple[str, ...]:
    """The profiles of which this holds."""
    return tuple(each.profile for each in traits() if test(each))


def denying(*styles: str) -> tuple[str, ...]:
    """The profiles that treat a command they do not allow so, and those of the same configuration keyword: no source
    says which build of `fixup` makes it NOOP, and which one X."""
    families = {each.inspect for each in traits() if each.deny_style in styles}
    return having(lambda each: each.inspect in families)


def masking_keywords(tls: bool) -> tuple[str, ...]:
    """The profiles that mask EHLO keywords; where `tls`, those that leave STARTTLS."""
    return having(lambda each: each.ehlo_mask != "none" and (not tls or each.allow_tls))


def styles_of(greeting: bytes) -> tuple[str, ...]:
    """The masks that may have made this greeting: to mask it once more changes nothing. None: it is in clear."""
    if greeting.count(b"*") < STARS and b"cmap_" not in greeting:
        return ()
    return tuple(style for style in BANNER if _kept(greeting, style))


def starred(text: str) -> bool:
    """A greeting without its code, of which a mask has left stars and its own 0, 2 and blank only."""
    return "*" in text and not set(text) - _LEFT


def masked(keyword: str) -> bool:
    """May this keyword of EHLO have been masked? X in the place of each letter but the last, which numbers it."""
    return len(keyword) > 1 and bool(_KEYWORD.fullmatch(keyword))


def crossed_keywords(keywords: Iterable[str]) -> list[str]:
    """Those of a reply to EHLO that are masked; none where they are not numbered as MailGuard does it: A, B, C, ..."""
    found = [word for word in keywords if masked(word)]
    return found if all(word[-1] == chr(65 + n % 26) for n, word in enumerate(found)) else []


def crossed(line: bytes, reply: str) -> tuple[str, ...]:
    """Does a reply quote this command as MailGuard overwrites it with X? The styles that do so; X may stand anywhere
    else in a reply (a ticket's number, a telephone's), and then tells nothing."""
    words = masks.xxxx_verb(line).decode("latin-1").split(None, 1)
    verb, argument = words[0] if words else "", words[1] if len(words) > 1 else ""
    for found in _CROSSED.finditer(reply):
        token = found[0].rstrip(".!?")
        if not token.strip("X") and len(token) in (len(line), *range(STARS_ALL, len(line))) and len(token) > VERB:
            return ("xxxx-all",)
        if len(verb) > VERB and token.lower() == verb.lower():
            return ("xxxx-verb",)
        if token != "X" * VERB or len(verb) != VERB:
            continue
        if argument and reply[found.end() :].lstrip(" \t").lower().startswith(argument.lower()):
            return ("xxxx-verb",)
        if _QUOTES.search(reply[: found.start()]):
            return ("xxxx-verb", "xxxx-all")
    return ()


def _kept(greeting: bytes, style: str) -> bool:
    return any(masks.banner(greeting, style, keep_sep=keep) == greeting for keep in (True, False))


def greeting_of(styles: Iterable[str]) -> tuple[str, ...]:
    """The profiles that mask a greeting in one of these ways."""
    known = set(styles)
    return having(lambda each: each.banner in known)


def told(profiles: Iterable[str]) -> str:
    """`PIX 5.1 to 5.3, or PIX 6.0 to 6.3 and FWSM 1.x and 2.x`: the products that these stand for."""
    return ", or ".join(PRODUCTS[profile].partition(", ")[0] for profile in profiles)
