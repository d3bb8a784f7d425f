"""What domains promise of the TLS of their mail hosts (MTA-STS, RFC 8461).

`store` knows the policy that holds now, for which it has `fetch` ask the domain, and `files` keep it. What is in a
policy is the business of `mailproto.smtp.sts`.
"""
