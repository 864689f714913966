"""Tests of addresses: every form is read, every mistake named."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.agent.address import AgentAddress
from obscale.errors import SpecError
from obscale.request.models import AgentInfoSpec

SOURCES = Path(__file__).parents[2] / "obscale"
BY_HAND = {
    "agent/wire.py": "the one place of the client and of all that is told",
    "sandbox/ids.py": "the one place of the sandbox, which shares nothing with the client",
    "sandbox/cluster.py": "OceanBase itself writes an IPv6 address there without brackets",
    "use/placement.py": "OceanBase writes it so, without brackets",
    "verify/proofs/balanced.py": "reads what OceanBase has written so",
    "cli/proxies.py": "for Python's own proxy_bypass, which takes host:port",
    "cli/own_server.py": "of a server of its own, always on 127.0.0.1",
}
"""Files that may join address and port, and why."""


@pytest.mark.parametrize(
    ("text", "address", "shown", "url"),
    [
        ("10.0.0.1", ("10.0.0.1", 2886, "http"), "10.0.0.1:2886", "http://10.0.0.1:2886"),
        (" 10.0.0.1:12886 ", ("10.0.0.1", 12886, "http"), "10.0.0.1:12886", None),
        ("https://10.0.0.1:2886", ("10.0.0.1", 2886, "https"), None, "https://10.0.0.1:2886"),
        ("HTTP://10.0.0.1/", ("10.0.0.1", 2886, "http"), None, "http://10.0.0.1:2886"),
        ("[fd00::1]:2886", ("fd00::1", 2886, "http"), "[fd00::1]:2886", "http://[fd00::1]:2886"),
        ("[::1]", ("::1", 2886, "http"), "[::1]:2886", "http://[::1]:2886"),
        ("fd00::1", ("fd00::1", 2886, "http"), "[fd00::1]:2886", None),
        ("fd00::2886", ("fd00::2886", 2886, "http"), "[fd00::2886]:2886", None),
        ("fd00:1:2:3:4:5:6:2886", ("fd00:1:2:3:4:5:6:2886", 2886, "http"), None, None),
        ("https://[FD00:0:0::0001]:1", ("fd00::1", 1, "https"), "[fd00::1]:1", None),
    ],
    ids=[
        *("ip", "port", "https", "slash", "ipv6", "ipv6-default", "ipv6-bare", "ipv6-no-port"),
        *("ipv6-whole", "ipv6-long"),
    ],
)
def test_address_is_read(text, address, shown, url):
    """Each usual spelling gives IP, port and scheme, and is written back in one form."""
    parsed = AgentAddress.parse(text)

    assert (parsed.ip, parsed.port, parsed.scheme) == address
    assert shown in {None, str(parsed)}
    assert url in {None, parsed.base_url}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("node1.example.com:2886", "'node1.example.com' is not an IP address"),
        ("localhost", "not an IP address"),
        ("", "not an IP address"),
        ("10.0.0.256", "not an IP address"),
        ("010.0.0.1", "not an IP address"),
        ("10.0.0.1:", "port must be a number from 1 to 65535"),
        ("10.0.0.1:0", "port must be"),
        ("10.0.0.1:65536", "port must be"),
        ("10.0.0.1:agent", "port must be"),
        ("10.0.0.1:٣", "port must be"),
        ("10.0.0.1:2886/api/v1", "is not an agent address"),
        ("ftp://10.0.0.1", "speak http or https, not ftp"),
        ("[10.0.0.1]:2886", "brackets belong around an IPv6 address"),
        ("fe80::1%eth0", "is not an agent address"),
        ("[fe80::1%eth0]:2886", "not an IP address"),
        ("fd00:5::1:2886", "write [fd00:5::1]:2886, or [fd00:5::1:2886]:2886 if all of it is the"),
        ("https://fd00:5::1:2886", "write [fd00:5::1]:2886"),
        ("fd00:5::1:12886", "write [fd00:5::1]:12886"),
        ("fd00:1:2:3:4:5:6:7:2886", "write [fd00:1:2:3:4:5:6:7]:2886"),
        ("x" * 500, "…"),
    ],
    ids=lambda value: value[:24] or "empty",
)
def test_mistake_is_named_in_one_line(text, reason):
    """Bad input is a SpecError of one line that says what is wrong."""
    with pytest.raises(SpecError) as caught:
        AgentAddress.parse(text)

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_password_in_an_address_is_not_repeated():
    """Credentials written into the address are refused without being shown."""
    with pytest.raises(SpecError, match="no user or password") as caught:
        AgentAddress.parse("http://root:canary@10.0.0.1:2886")

    assert "canary" not in repr(caught.value)


@given(ip=st.ip_addresses().filter(lambda ip: "%" not in str(ip)), port=st.integers(1, 65535))
def test_what_is_written_is_read_back(ip, port):
    """Every address survives being written and read."""
    address = AgentAddress(str(ip), port)

    assert AgentAddress.parse(str(address)) == address
    assert AgentAddress.parse(address.base_url) == address


def joined_by_hand(tree):
    """Give the lines where an f-string puts a colon between an address and a port."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for one, colon, other in zip(node.values, node.values[1:], node.values[2:], strict=False):
            if (
                isinstance(colon, ast.Constant)
                and colon.value == ":"
                and "port" in ast.unparse(other).lower()
                and {"ip", "host", "address"} & set(re.findall(r"[a-z]+", ast.unparse(one).lower()))
            ):
                found.append(node.lineno)
    return found


def test_address_and_port_are_joined_in_one_place():
    """Else an IPv6 address is told without brackets somewhere."""
    sources = [path for path in SOURCES.rglob("*.py") if path.name != "trigger.py"]
    found = {
        str(path.relative_to(SOURCES)): lines
        for path in sources
        if (lines := joined_by_hand(ast.parse(path.read_text(encoding="utf-8"))))
    }

    assert found.keys() == BY_HAND.keys(), found


def test_whoever_joins_them_by_hand_is_found():
    """Else the test above proves nothing."""
    text = "a = f'at {server.ip}:{server.svr_port}'\nb = f'{host}:{port}'\nc = f'{title}:{line}'"

    assert joined_by_hand(ast.parse(text)) == [1, 2]


def test_a_port_behind_the_address_of_a_node_is_refused():
    """Where the port is not said apart; where it is, all of it is the address."""
    with pytest.raises(ValueError, match="write ip: fd00:5::1 and port: 2886") as caught:
        AgentInfoSpec(ip="fd00:5::1:2886")
    told = AgentInfoSpec(ip="fd00:5::1:2886", port=2886)

    assert "all of it is the address" in str(caught.value)
    assert told.ip == "fd00:5::1:2886"
