"""SonicWall (SonicOS): what gateway anti-virus restricts in mail, whether or not a virus is in it."""

from smtpinspect.inspectors.sonicwall.inspector import SonicWall

__all__ = ["SonicWall"]
