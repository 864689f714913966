"""The values in which a member of the cluster differs from what the request asks for.

Judged as the verification judges it (`obscale.verify.proofs`), before anything waits for it.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server
from obscale.preflight.facts import Facts, TargetProgress
from obscale.preflight.parameters import setting_statement, values_unlike
from obscale.preflight.sizing import directories_of
from obscale.reading import Unread


class Difference(BaseModel):
    """One value of a member that is not as it is asked for."""

    model_config = ConfigDict(frozen=True)

    key: str
    """As in obConfigs."""
    asked: str
    there: str
    hinders: bool
    """Whether verification refuses it; a path may differ through links, for a person to see."""
    statement: str = ""
    """What root@sys may run to set it; empty: it cannot be set on a member."""

    def __str__(self) -> str:
        return f"{self.key}: {self.asked} asked, {self.there} there"


def differences_of(facts: Facts) -> tuple[Difference, ...]:
    """Give them by key; none of a node that is no member, and of what could not be read."""
    if facts.progress() is not TargetProgress.MEMBER:
        return ()
    server = _server_of(facts)
    found = [*_settings(facts)]
    if server is not None:
        found += [*_port(facts, server), *_directories(facts, server)]
    return tuple(sorted(found, key=lambda difference: difference.key))


def _server_of(facts: Facts) -> Server | None:
    """Give the server of the cluster that has the address asked for."""
    return next(
        (
            server
            for _, server in facts.cluster.servers()
            if (server.ip, server.svr_port) == (facts.node.agentInfo.ip, facts.rpc_port)
        ),
        None,
    )


def _settings(facts: Facts) -> Iterator[Difference]:
    parameters = facts.cluster.parameters
    if isinstance(parameters, Unread):
        return
    for key, there in values_unlike(facts.node, parameters):
        yield Difference(
            key=key,
            asked=facts.configs[key],
            there=there,
            hinders=True,
            statement=setting_statement(facts.node, parameters, key),
        )


def _port(facts: Facts, server: Server) -> Iterator[Difference]:
    asked, there = facts.mysql_port, server.sql_port
    if there and asked is not None and asked != there:
        yield Difference(key="mysql_port", asked=str(asked), there=str(there), hinders=True)


def _directories(facts: Facts, server: Server) -> Iterator[Difference]:
    """Those that are asked for; obshell tells the log pool's own directory as redo_dir."""
    wanted = directories_of(facts.configs, None)
    for key, path, there in (
        ("data_dir", wanted.data, server.data_dir),
        ("redo_dir", wanted.clog, server.redo_dir),
    ):
        asked = facts.configs.get(key)
        if asked and path and there and path.rstrip("/") != there.rstrip("/"):
            shown = there.removesuffix("/clog") if key == "redo_dir" else there
            yield Difference(key=key, asked=asked, there=shown, hinders=False)
