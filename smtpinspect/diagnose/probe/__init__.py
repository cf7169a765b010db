"""Is a MailGuard on the way to a server, and of which generation? What is sent, what is read, what it means."""
