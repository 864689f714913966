"""The answers about removing observers and zones, as far as there is nothing to remove.

Removing a member is not simulated: it is answered as by an agent that has no such endpoint.
Source: ob/agent/api/obcluster_handler.go, ob/agent/executor/ob/{scale_in,delete_zone}.go, 4.5.0.0.
"""

from typing import Any

from obscale.sandbox.errors import Refusal
from obscale.sandbox.request import NO_CONTENT, Call, require

AGENT_INFO = "agent_info"


def scale_in(call: Call) -> Any:
    """`POST /ob/scale_in` and `DELETE /observer`: nothing to do for who is no member."""
    info = call.json_body().get(AGENT_INFO)
    named = info if isinstance(info, dict) else {}
    ip, port = named.get("ip", ""), named.get("port", 0)
    require("ClusterScaleInParam", {"AgentInfo.Ip": ip, "AgentInfo.Port": port})
    agent = call.agent
    if agent.is_self(ip, port):
        if call.member_of() is None:
            return NO_CONTENT
        raise Refusal(400, "OB.Server.DeleteSelf", "Cannot delete the current server")
    if any(each.is_self(ip, port) for each in call.own_cluster().agents):
        raise _not_simulated()
    return NO_CONTENT


def delete_zone(call: Call) -> Any:
    """`DELETE /zone/{name}`: nothing to do where there is none of that name."""
    if call.own_cluster().zone(call.names["name"]) is not None:
        raise _not_simulated()
    return NO_CONTENT


def _not_simulated() -> Refusal:
    return Refusal(404, "Common.NotFound", "Element not found: 404 not found")
