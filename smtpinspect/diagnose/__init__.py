"""Which rule of which firewall broke a mail, how sure that is, and what to change."""
