"""Tests of addresses: every form is read, every mistake named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obscale.agent.address import AgentAddress
from obscale.errors import SpecError


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
        ("https://[FD00:0:0::0001]:1", ("fd00::1", 1, "https"), "[fd00::1]:1", None),
    ],
    ids=["ip", "port", "https", "slash", "ipv6", "ipv6-default", "ipv6-bare", "ipv6-long"],
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
