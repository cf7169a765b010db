"""What a path shows: signs of a box in it, several captures of one connection, the firewall's own log."""
