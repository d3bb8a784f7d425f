"""What `mailproto.smtp.client` is made of: each module adds one thing to the connection of the one before.

`pipelining` decides what leaves when, `conveying` sends messages, `requests` has the commands, `plain` the short way
of most of them; the client itself reads the replies. `terms` is what the server has offered.
"""
