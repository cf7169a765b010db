from smtpinspect._core.machine import Machine
from smtpinspect._core.sources import Source

class Streams:
    def __init__(self, machine: Machine, source: Source) -> None: ...
    @property
    def stored(self) -> int: ...
