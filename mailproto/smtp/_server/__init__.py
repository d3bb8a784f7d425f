"""What `mailproto.smtp.server` is made of: each module adds one thing to the connection of the one before.

`speaking` says what is said, `settling` ends a transaction, `answers` has what the application says to each event,
`logins` the exchange of AUTH, `intake` the messages; the server itself reads the commands. They have the help of
`replies`, the words, `budget`, the limits, `offer`, the reply to EHLO, `body`, the octets of a message, and `unsaid`,
the answers that did not leave.
"""
