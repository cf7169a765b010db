"""What both mail servers see when a flow breaks: two TCP stacks, a firewall between them, virtual time."""
