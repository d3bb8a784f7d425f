"""Flows, and the engine that drives them: for flows of your own, and for drivers in an event loop of your own.

A flow is a whole job written as a generator: it yields what it wants and is sent the answer. It does no I/O and knows
no clock; whoever drives it moves bytes and keeps time, and knows no protocol. A job is so written once, for asyncio,
for blocking sockets, and for whatever else can call a function when a socket is ready. Flows are made of flows, with
``yield from``.

An `Engine` does with the flows of one connection what is the same everywhere, TLS and the order of things above all.
What is left is a driver: `mailproto.aio` and `mailproto.sync` have one each, ``examples/selector_loop.py`` shows a
third. These are its steps. Of the wishes it does not see START_TLS, which the engine grants.

1. ``Engine(connection, open_tls)``, where ``open_tls`` is what `mailproto.tls` makes of a context, or any function
   that returns a new `TLSSession`. Then ``engine.begin(flow)``, with ``part=True`` if the flow serves a connection.
2. ``wish = engine.step()`` goes on with the flow. It returns None when the flow is over, and ``engine.result`` is
   there; what else ends the flow is raised. A `Call` is granted by calling the function, and going on with
   ``engine.step(its result)``, or ``engine.step(thrown=its exception)``. Before any other wish, and when the flow is
   over, send what ``engine.output()`` returns; ask for more only when all of that has left.
3. The other wishes are granted with ``engine.step()``: ``Want.READ`` when something came, ``Want.FLUSH`` when all
   output has left, a `Sleep` when its time is over. What comes from the network goes to ``engine.receive(data)``, its
   end as ``b""``. That may be done at any time, and has to be while a FLUSH waits, for the peer may be waiting for us
   to read; but beyond `HIGH_WATER` octets that no READ has asked for, stop reading from the network.
4. Each of these waits may last until ``engine.wait_from(now)``, by any clock that does not jump; tell
   ``engine.wait_to(now)`` when it is over. When the time is up, go on with
   ``engine.step(thrown=engine.receive_timeout())``.
5. When the network is gone, say ``engine.lose()`` and go on: grant what was wanted, and ask for output as before,
   which is empty from now on; the flow learns of it when it reads. To end a connection in good order, say
   ``engine.shut_down()``, and grant the READ if the flow waits for one: nothing has to have come for it. A flow that
   is given up halfway ends with ``engine.break_off()``.
6. When the flow is over, and there is to be no other, say ``engine.close_tls()``, send what ``engine.output()``
   returns, and close the connection. It has to be closed if it is ``engine.conn.closing`` or ``engine.broken``.
"""

from mailproto._core.connection import Connection
from mailproto._core.flow import Call, Flow, Sleep, Want, Wish
from mailproto._flows.engine import HIGH_WATER, Engine, TLSSession

__all__ = ["HIGH_WATER", "Call", "Connection", "Engine", "Flow", "Sleep", "TLSSession", "Want", "Wish"]
