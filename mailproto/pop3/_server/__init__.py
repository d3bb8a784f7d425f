"""What `mailproto.pop3.server` is made of.

`speaking` says what is said, `answers` has what the application says to each event, `refusing` what the server says
no to by itself, `logins` the ways to log in; the server itself reads the other commands. They have the help of
`responses`, the words, `marks`, the deletions, `offer`, the list of CAPA, and `content`, the octets of a message.
"""
