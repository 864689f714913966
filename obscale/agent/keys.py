"""Holds the public key that an agent serves to the key it is known by.

`GET /secret` is not authenticated: whoever stands between can serve a key of its own, and read what
is sealed with it. Agents change their key only when they are installed anew, or once at their
upgrade to 4.4.2.0 (oceanbase/obshell, commit 319e3e6): a change nobody announced is a reason to
stop.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from obscale.errors import AgentProtocolError, UntrustedKeyError

STEP: Final = "verify its public key"

Unlisted = Literal["refuse", "remember", "accept"]
"""What becomes of agents no key is known of: `remember` holds them to the first key they show."""


def fingerprint(key: RSAPublicKey) -> str:
    """Give a key's short name: `SHA256:` and the Base64 of its PKCS#1 DER's hash, unpadded."""
    der = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"


class KnownKeys:
    """Fingerprints by agent, shared by all clients of a connection.

    Args:
        pinned: `ip:port`, IPv6 in brackets, to fingerprint.
        unlisted: What becomes of agents that are not in it.
        announce: The command that announces a new key, for errors.
    """

    def __init__(self, pinned: Mapping[str, str], unlisted: Unlisted, announce: str = "") -> None:
        self.pinned = dict(pinned)
        self.unlisted = unlisted
        self._announce = announce
        self.learned: dict[str, str] = {}
        """What was added: first keys where the unlisted are remembered, and those of who joined."""
        self.joined: set[str] = set()
        """Agents the cluster lists as members, whose first key counts."""

    def admit(self, agent: str) -> None:
        """Hold an agent to the first key it shows from now on: the cluster lists it as a member.

        Args:
            agent: `ip:port`; one whose key is known stays held to that.
        """
        self.joined.add(agent)

    def for_newcomer(self) -> "KnownKeys":
        """The same for an agent that is yet to join: a host installed anew has a new key."""
        return KnownKeys(self.pinned, "accept", self._announce)

    def check(self, agent: str, key: RSAPublicKey) -> None:
        """Compare the key an agent serves with what is known of it.

        Args:
            agent: `ip:port`.
            key: As served now.

        Raises:
            UntrustedKeyError: It is another than the known one.
            AgentProtocolError: None is known, and such agents are refused; others may be asked.
        """
        served = fingerprint(key)
        known = self.pinned.get(agent) or self.learned.get(agent)
        if known == served:
            return
        if known is not None:
            raise UntrustedKeyError(
                f"its key changed unannounced: known is {known}, it serves {served}",
                agent,
                STEP,
                "find out whether it was installed anew or upgraded; if so "
                f"{self._announce or 'announce the new key'}, if not somebody stands between",
            )
        if self.unlisted == "refuse" and agent not in self.joined:
            raise AgentProtocolError(
                f"its key {served} is not among the pinned ones",
                agent,
                STEP,
                self._announce or "pin it",
            )
        if self.unlisted == "remember" or agent in self.joined:
            self.learned[agent] = served
