"""What `mailproto.pop3.client` is made of: `requests` has the commands; the client itself reads the responses."""
