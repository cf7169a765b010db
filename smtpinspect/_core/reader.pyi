from smtpinspect._core.sources import Source

class Reader:
    def __init__(self, source: Source) -> None: ...
