"""The header and the password that an agent accepts, by its version and identity.

Table of who accepts what: ob/agent/api/common/middleware.go and ob/agent/secure/auth.go, 4.5.0.0.
"""

import re
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from obscale.agent.error_codes import WITH_AGENT_PASSWORD, WITH_ROOT_PASSWORD
from obscale.agent.models import AgentInfo, Identity

HEADER: Final = "X-OCS-Header"
"""Carries the root@sys password, 4.2.3.0 and later."""
AGENT_HEADER: Final = "X-OCS-Agent-Header"
"""Carries the agent's own password, 4.2.6.0 and later."""
V1_HEADER: Final = "X-OCS-Auth"
"""4.2.2.x; later servers ignore it."""
FIRST_V2_VERSION: Final = (4, 2, 3, 0)
"""First published server; it knows v2 only. Source: oceanbase/obshell, commit 424f28a."""
V1: Final = "v1"
V2: Final = "v2"

_NO_PASSWORD: Final = SecretStr("")
_ON_ITS_WAY: Final = frozenset({Identity.SINGLE, Identity.SCALING_OUT, Identity.CLUSTER_AGENT})
"""What an agent is before, while and after it joins: for these its own password was named."""


@dataclass(frozen=True)
class Credentials:
    """The passwords one client was given; None where there is none, or where it is kept back."""

    root_password: SecretStr | None = None
    agent_password: SecretStr | None = None


@dataclass(frozen=True)
class AuthChoice:
    """How one agent is asked: which header, which password."""

    header: str
    password: SecretStr

    @property
    def is_v1(self) -> bool:
        """Whether the old header is used and bodies stay plain."""
        return self.header == V1_HEADER


def choose_auth(
    info: AgentInfo, credentials: Credentials, refused_code: str = ""
) -> AuthChoice | None:
    """Choose header and password for one agent.

    The agent's own password is taken only where the agent has one and is SINGLE, or where no root
    password was given. A SINGLE agent without own password accepts anything, so it is told nothing.
    What the agent says of itself never makes more of the credentials than they hold.

    Args:
        info: `/info` of the agent.
        credentials: What we have.
        refused_code: Code of the refusal that made us choose again; an agent that says which
            password it wants is believed.

    Returns:
        The choice; None: it wants the root password, and none was given.

    Raises:
        ValueError: The agent knows neither v1 nor v2.
    """
    root, agent = credentials.root_password, credentials.agent_password
    is_single = info.identity is Identity.SINGLE
    if root is None and info.identity not in _ON_ITS_WAY:
        return None
    if read_auth_mode(info) == V1:
        return _header(V1_HEADER, _NO_PASSWORD if is_single else root)
    if refused_code == WITH_AGENT_PASSWORD and agent is not None:
        return AuthChoice(AGENT_HEADER, agent)
    if refused_code == WITH_ROOT_PASSWORD:
        return _header(HEADER, root)
    if info.security and agent is not None and (is_single or root is None):
        return AuthChoice(AGENT_HEADER, agent)
    return _header(HEADER, _NO_PASSWORD if is_single else root)


def _header(name: str, password: SecretStr | None) -> AuthChoice | None:
    return None if password is None else AuthChoice(name, password)


def read_auth_mode(info: AgentInfo) -> str:
    """Say whether the agent wants v1 or v2.

    Args:
        info: `/info`; `supportedAuth` is absent up to 4.2.4.0, where the version decides.

    Returns:
        `v1` or `v2`.

    Raises:
        ValueError: It offers something else only.
    """
    offered = info.supported_auth
    if offered:
        for mode in (V2, V1):
            if mode in offered:
                return mode
        raise ValueError(f"offers the authentication {', '.join(offered)} only, not {V2} or {V1}")
    version = parse_version(info.version)
    return V1 if version and version < FIRST_V2_VERSION else V2


def parse_version(text: str) -> tuple[int, ...]:
    """Read the numbers before the release: `4.5.0.0-12026050815` is (4, 5, 0, 0), no version ()."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
