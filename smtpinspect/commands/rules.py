"""`smtpinspect rules`: the rules of the emulated firewalls."""

from __future__ import annotations

import sys
from typing import Final

from smtpinspect.commands.arguments import parser_of
from smtpinspect.commands.console import DONE, columns

RULES_HELP: Final = """\
RULE is a full id (stormshield.smtp-217.header), a family (stormshield.smtp-217)
or a short form (smtp-217, smtp:217, 217); a product's name lists its rules.

examples:
  smtpinspect rules
  smtpinspect rules stormshield
  smtpinspect rules -i mailguard:asa-8
  smtpinspect rules stormshield.smtp-231
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect rules` with these words; its exit status."""
    parser = parser_of("rules", "The rules of the emulated firewalls; one of them on a screen.", RULES_HELP)
    parser.add_argument("rules", nargs="*", metavar="RULE", help="tell all about this rule")
    parser.add_argument(
        "-i",
        dest="inspectors",
        action="append",
        metavar="INSPECTOR",
        help="rules as they are in this profile, with these settings; may be repeated",
    )
    given = parser.parse_intermixed_args(words)

    from smtpinspect.inspectors import registry
    from smtpinspect.report import rules_page

    made = tuple(registry.load(spec) for spec in given.inspectors) if given.inspectors else None
    width = columns() if sys.stdout is not None and sys.stdout.isatty() else None
    if not given.rules:
        print(rules_page.listing(registry.every() if made is None else made, width), end="")
    # All pages are made before one is printed: a wrong name gives an error and nothing else.
    pages = []
    for word in given.rules:
        product = [one for one in registry.every() if one.name == word.lower()] if made is None else []
        if product:
            pages.append(rules_page.listing(product, width))
        else:
            pages.append(rules_page.page(word, made, width, given.inspectors or ()))
    print("\n".join(pages), end="")
    return DONE
