"""What both mail servers see when a flow breaks: two modelled TCP stacks, a firewall between them, a clock of its own."""
