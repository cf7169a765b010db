"""From actions to packets: what an emulated firewall does to a flow, and the flow behind it."""
