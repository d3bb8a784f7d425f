"""PRDR: a reply to the message for each recipient, as in LMTP, and one for all behind them (draft-hall-prdr-00).

Where MAIL asks for it, and several recipients were accepted, 353 begins the replies. A server gains nothing by it
unless it judges the message for each recipient alone, so it is off until the application does.
"""

from __future__ import annotations

from mailproto.smtp.extensions.frame import Extension, flag, offer_always

EACH_FOLLOWS = 353
"""The reply code that begins the replies."""

PRDR = Extension("PRDR", "draft-hall-prdr-00", offer_always, mail=(flag("PRDR", "prdr"),))
