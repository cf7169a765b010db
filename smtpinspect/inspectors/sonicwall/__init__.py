"""SonicWall gateway anti-virus: what it does to SMTP."""
