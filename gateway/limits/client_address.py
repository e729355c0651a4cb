"""The address of a client that may connect through proxies."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
_HOST_BITS: Final = 64  # a site gets at least a /64 (RFC 6177)


def parse_networks(words: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks such as ``10.0.0.0/8`` or ``::1``.

    Raises:
        ValueError: a word is not a network; the message does not quote it.
    """
    try:
        return tuple(ip_network(word) for word in words)
    except ValueError:
        raise ValueError(
            "must be addresses or networks as in 10.0.0.0/8, separated by commas"
        ) from None


def find_client(
    peer: str | None, forwarded: Sequence[str], trusted: Collection[Network]
) -> str | None:
    """Return the client's address as limits count it (for IPv6 its /64), or None if unknown.

    *forwarded* is used only if the peer is a trusted proxy. The client is the last address in
    it that is not a trusted proxy: a client can write anything before that. If no proxies are
    configured, a private peer may be one, so it is not counted.
    """
    if not forwarded:
        return _find_direct_client(peer, tuple(trusted))
    return _find(peer, forwarded, trusted)


@lru_cache(maxsize=1024)
def _find_direct_client(peer: str | None, trusted: tuple[Network, ...]) -> str | None:
    return _find(peer, (), trusted)


def _find(
    peer: str | None, forwarded: Sequence[str], trusted: Collection[Network]
) -> str | None:
    address = _parse(peer or "")
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while address is not None and _is_in(address, trusted):
        address = _parse(hops.pop()) if hops else None
    if address is None or (not trusted and not address.is_global):
        return None
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _HOST_BITS), strict=False))
    return str(address)


def _is_in(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=1024)  # most clients come through a few proxies
def _parse(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # some proxies add the port
        text = text.partition(":")[0]
    try:
        # a zone names our own interface, not the client's
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
