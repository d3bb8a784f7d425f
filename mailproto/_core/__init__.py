"""Floor 0: byte work that SMTP and POP3 share. Nothing here knows either protocol, a socket or a clock."""
