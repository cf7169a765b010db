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


def numbered(keywords: Iterable[str]) -> bool:
    """Are masked keywords numbered as MailGuard does it, by A, B, C, ... at their ends?"""
    return all(word[-1] == chr(65 + n % 26) for n, word in enumerate(keywords))


def _kept(greeting: bytes, style: str) -> bool:
    return any(masks.banner(greeting, style, keep_sep=keep) == greeting for keep in (True, False))


def greeting_of(styles: Iterable[str]) -> tuple[str, ...]:
    """The profiles that mask a greeting in one of these ways."""
    known = set(styles)
    return having(lambda each: each.banner in known)


def told(profiles: Iterable[str]) -> str:
    """`PIX 5.1 to 5.3, or PIX 6.0 to 6.3 and FWSM 1.x and 2.x`: the products that these stand for."""
    return ", or ".join(PRODUCTS[profile].partition(", ")[0] for profile in profiles)
