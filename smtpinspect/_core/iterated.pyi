from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from smtpinspect._core.windows import Windowed
from smtpinspect.errors import CaptureError

class Frames(Windowed):
    def __init__(self, items: Iterable[Any], name: str, *, linktype: int) -> None: ...
    def fault(self) -> CaptureError | None: ...
    def close(self) -> None: ...

def nanoseconds(when: float | Decimal | Fraction) -> int: ...
