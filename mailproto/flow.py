"""The contract between flows and those who drive them, for drivers and flows of your own.

A flow is a whole job written as a generator: it yields what it wants and is sent the answer. It does no I/O and knows
no clock; the adapter that drives it moves bytes, keeps time and runs TLS, and knows no protocol. A job is so written
once, for asyncio, for blocking sockets, and for whatever else can drive a generator.

There are five wishes to grant: `Want` has three of them, the others are `Call` and `Sleep`. Besides, a driver

- sends what ``connection.data_to_send()`` holds before it grants a wish that is no `Call`, or when more than 64 KiB
  are waiting; and at the end of the flow, if the connection is ``closing`` then;
- throws `ConnectionClosedError` into a flow that wants to read from a connection that is ``closing``, or whose end of
  input the flow has had already;
- calls ``connection.lose_output()`` and ``connection.receive_eof()`` when the network is gone;
- closes the connection with a flow that it breaks off: what comes then is the answer to nobody's question.
"""

from mailproto._core.flow import Call, Flow, Sleep, Want, Wish

__all__ = ["Call", "Flow", "Sleep", "Want", "Wish"]
