"""SMTP and POP3 in Python."""
