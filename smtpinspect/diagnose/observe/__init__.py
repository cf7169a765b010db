"""What the packets of a connection show: its trace, how it ended and by whom, where the capture was taken."""
