from smtpinspect._core.pcapfile import Source

class Reader:
    def __init__(self, source: Source) -> None: ...
