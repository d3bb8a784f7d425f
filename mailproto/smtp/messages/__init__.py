"""Messages on their way out: what a caller gives, and the octets that one server is to have of it.

`submission` is what is to be sent, from whom and to whom; `content` its octets, in pieces. An ``email`` message
becomes octets in `flattening` and `writing`, and octets of 8 bits become some of 7 in `downgrade`. What header fields
say is read in `header` and `header_addresses`, as far as `bounded` has time for it.
"""
