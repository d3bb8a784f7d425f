"""Floor 3: what the flows of SMTP and of POP3 share."""
