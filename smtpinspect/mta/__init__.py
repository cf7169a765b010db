"""How mail servers behave when a flow breaks: as senders and as receivers, one table per product."""
