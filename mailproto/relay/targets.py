"""The hosts on a way: that of a route, or those that the DNS names for a domain (RFC 5321 section 5.1)."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from mailproto.relay.config import RelayConfig
from mailproto.relay.route import Route, Target, Way, name_of
from mailproto.smtp.reply import Reply
from mailproto.smtp.routing import (
    LOOKUP_FAILED,
    UNROUTABLE,
    Resolver,
    RoutingError,
    hosts_for,
    literal_host,
    lookup_name,
)
from mailproto.smtp.sts import Mode


class Found(NamedTuple):
    """What was found on a way.

    Attributes:
        targets: its hosts at each of their addresses, in the order in which they are tried; there is one at least.
        missing: why there is a host besides that could not be found for now; None if there is none.
    """

    targets: list[Target]
    missing: Reply | None = None


async def find_targets(way: Way, config: RelayConfig) -> Found:
    """Return the host of a route, or those that take mail for a domain.

    Raises:
        RoutingError: there is none, or none can be found now.
    """
    if isinstance(way, Route):
        if way.path is not None:
            return Found([Target(config.hostname, way.place, route=way)])
        return Found([Target(name_of(way.host), way.host, route=way)])
    literal = literal_host(way)
    if literal is not None:
        return Found([Target(way, literal, way)])
    if config.resolver is None:
        raise RoutingError(UNROUTABLE)
    domain = lookup_name(way, config.idna_encode)
    try:
        return await _look_up(domain, config.resolver, config)
    except RoutingError as error:
        if error.reply.permanent and await _has_promised_hosts(domain, config):
            text = f"{domain} has mail hosts by its policy (MTA-STS), but the DNS has none: {error.reply.text}"
            raise RoutingError(Reply.build(451, text, "4.7.5")) from error
        raise


async def _has_promised_hosts(domain: str, config: RelayConfig) -> bool:
    """Say whether a domain enforces a policy that is known from before. That it has no hosts now may be forged, by
    somebody who is not to have mail returned: it is as if none of them was in the policy (RFC 8461 section 5)."""
    policy = await config.sts.kept_policy(domain) if config.sts is not None else None
    return policy is not None and policy.mode is Mode.ENFORCE


async def _look_up(domain: str, resolver: Resolver, config: RelayConfig) -> Found:
    """Find the hosts that take mail for a domain as far as there is time: who owns the domain says how many there
    are, and how slowly they are found."""
    targets: list[Target] = []
    failures: list[Reply] = []
    try:
        async with asyncio.timeout(config.attempt_timeout):
            await _collect(domain, resolver, config, targets, failures)
    except TimeoutError:
        failures.append(LOOKUP_FAILED)
    missing = next((reply for reply in failures if reply.temporary), None)
    if not targets:
        raise RoutingError(missing or next(iter(failures), UNROUTABLE))
    return Found(targets[: config.max_targets], missing)


async def _collect(
    domain: str, resolver: Resolver, config: RelayConfig, targets: list[Target], failures: list[Reply]
) -> None:
    """Add the hosts that take mail for a domain to ``targets``, until they are enough, and to ``failures`` why some
    could not be found. Whoever has no more time for it has what was found so far."""
    records = await resolver.mx(domain)
    policy = await config.sts.policy(domain) if config.sts is not None else None
    for host in hosts_for(domain, records, shuffle=config.shuffle, own_names=[config.hostname]):
        try:
            addresses = await resolver.addresses(host)
            targets += [Target(host, address, domain, policy=policy) for address in addresses]
        except RoutingError as error:  # which is no reason not to try the others
            failures.append(error.reply)
        if len(targets) >= config.max_targets:
            return
