"""The flow through an emulated firewall between two modelled mail servers."""
