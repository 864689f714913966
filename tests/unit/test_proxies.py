"""Which proxies of the environment count for Prefect, and which are refused."""

import http.server
import os
import threading

import httpx
import pytest
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from obscale.cli.proxies import is_of_this_machine, keep_loopback_direct
from obscale.errors import PrefectUnreachableError

DEAD = "http://me:canary-proxy@127.0.0.1:1"
SOCKS = "socks5://me:canary-proxy@127.0.0.1:1"
NONSENSE = "gopher://127.0.0.1:1"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
REMOTE = "http://prefect.example:4200/api"


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers whoever comes."""

    def do_GET(self):
        """Say nothing, successfully."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def port():
    """Where something of ours answers, on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without proxies; as it was, afterwards."""
    for name in (*NAMES, "NO_PROXY"):
        for each in (name, name.lower()):
            # Set, so that what the code under test sets there is taken back too.
            monkeypatch.setenv(each, "")
            monkeypatch.delenv(each)
    return monkeypatch


@pytest.mark.parametrize("value", [DEAD, SOCKS, NONSENSE], ids=["http", "socks", "nonsense"])
@pytest.mark.parametrize("known", [None, "", "corp.example", "[::1]", "*,corp.example"])
@pytest.mark.parametrize("case", [str.upper, str.lower], ids=["upper", "lower"])
def test_no_proxy_catches_loopback(environment, port, value, known, case):
    """Questions and event streams go straight to our own server and to a configured one."""
    for name in NAMES:
        environment.setenv(case(name), value)
    if known is not None:
        environment.setenv(case("NO_PROXY"), known)

    for api in (None, f"http://127.0.0.1:{port}/api", f"http://localhost:{port}/api"):
        keep_loopback_direct(api)

        with httpx.Client(verify=False) as client:
            assert client.get(f"http://127.0.0.1:{port}/health").status_code == 204
        assert get_proxy(parse_uri(f"ws://127.0.0.1:{port}/api/events/in")) is None
        assert get_proxy(parse_uri(f"ws://localhost:{port}/api/events/in")) is None


def test_another_address_of_this_machine_is_not_caught_either(environment):
    """A server may listen at any of 127.0.0.0/8."""
    environment.setenv("HTTP_PROXY", DEAD)

    keep_loopback_direct("http://127.0.0.9:4200/api")

    assert get_proxy(parse_uri("ws://127.0.0.9:4200/api/events/in")) is None


def test_a_prefect_elsewhere_keeps_its_proxy(environment):
    """What NO_PROXY said stands, and only loopback is added."""
    environment.setenv("HTTP_PROXY", DEAD)
    environment.setenv("NO_PROXY", "corp.example")

    keep_loopback_direct(REMOTE)

    assert get_proxy(parse_uri("ws://prefect.example:4200/api/events/in")) == DEAD
    assert get_proxy(parse_uri("ws://corp.example:4200/api/events/in")) is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ALL_PROXY", SOCKS, "socksio"),
        ("all_proxy", SOCKS, "socksio"),
        ("HTTP_PROXY", NONSENSE, "http://, https:// or socks5://"),
        ("HTTP_PROXY", "http://127.0.0.1:not-a-port", "http://, https:// or socks5://"),
        ("HTTP_PROXY", "proxy.example:3128", "event stream"),
        ("HTTPS_PROXY", "socks4://127.0.0.1:1", "http://, https:// or socks5://"),
        ("NO_PROXY", "[::1]", "hosts"),
    ],
)
def test_a_proxy_nobody_can_use_is_refused_by_name(environment, name, value, why):
    """On the way to a Prefect elsewhere: one error that names the variable, not what is in it."""
    environment.setenv(name, value)

    with pytest.raises(PrefectUnreachableError, match="cannot be used") as refused:
        keep_loopback_direct(REMOTE)

    assert f"correct {name}" in str(refused.value)
    assert why in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_prefect_elsewhere_that_needs_no_proxy_is_not_kept_from_by_one(environment):
    """Named in NO_PROXY, it is asked directly, whatever the proxy is."""
    environment.setenv("ALL_PROXY", SOCKS)
    environment.setenv("NO_PROXY", "prefect.example")

    keep_loopback_direct(REMOTE)

    httpx.Client(verify=False).close()


def test_without_proxies_the_environment_stays_as_it_is(environment):
    """Nothing is set where nothing was."""
    before = dict(os.environ)

    keep_loopback_direct(None)

    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("localhost", True),
        ("prefect.localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_hosts_of_this_machine_are_known_by_name(host, expected):
    """Nothing is looked up."""
    assert is_of_this_machine(host) is expected
