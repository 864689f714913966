"""Keeps the proxies of the environment away from talk that does not leave this machine.

httpx and websockets ask the environment for proxies, and know no loopback by themselves: a proxy
would be asked for a server only this machine can reach. And httpx makes a transport of each proxy
whether it is used or not, so that one it cannot use breaks every client.
"""

import os
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from obscale.errors import PrefectUnreachableError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
EVERY_HOST: Final = "*"
HTTP_SCHEMES: Final = ("http", "https", "all")
"""Whose proxies httpx makes a transport of. Source: httpx 0.28, get_environment_proxies."""
EVENT_SCHEMES: Final = {
    "http": ("ws", "socks", "https", "http"),
    "https": ("wss", "socks", "https"),
}
"""Where websockets looks for one, by the scheme of the API. Source: websockets 16, get_proxy."""
_SOCKS_HINT: Final = "`pip install socksio 'python-socks[asyncio]'` beside obscale"


def keep_loopback_direct(api_url: str | None) -> None:
    """Have no proxy of the environment catch talk with this machine's own Prefect.

    Changes NO_PROXY alone. A Prefect elsewhere may need the proxy, and keeps it.

    Args:
        api_url: Of the configured Prefect; None: our own server, on loopback.

    Raises:
        PrefectUnreachableError: The way to the API leads through a proxy that cannot be used.
    """
    if not getproxies():
        return
    api = httpx.URL(api_url or "http://127.0.0.1")
    _bypass([*LOOPBACK, *([api.host] if is_of_this_machine(api.host) else [])])
    if not _can_be_used():
        if not _passed_by(api):
            raise _unusable()
        # Nothing of them is needed, and nobody here could have used them.
        _write(EVERY_HOST)
    elif not _passed_by(api) and (error := _unusable_for_events(api)):
        raise error


def is_of_this_machine(host: str) -> bool:
    """Whether a host of a URL is this machine itself, by its name alone."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    # A server's address is copied from what it binds to: 0.0.0.0 reaches this machine.
    return address.is_loopback or address.is_unspecified


def _bypass(hosts: list[str]) -> None:
    """Add hosts to those no proxy is asked for."""
    known = [host.strip() for host in getproxies().get("no", "").split(",") if host.strip()]
    if known != [EVERY_HOST]:
        _write(",".join(dict.fromkeys([*known, *hosts])))


def _write(hosts: str) -> None:
    # Whoever reads only one of the two shall read the same.
    os.environ.update(NO_PROXY=hosts, no_proxy=hosts)


def _passed_by(api: httpx.URL) -> bool:
    """Whether the environment says that no proxy is asked for this host."""
    port = api.port or {"http": 80, "https": 443}.get(api.scheme, 80)
    return bool(proxy_bypass(f"{api.host}:{port}"))


def _can_be_used() -> bool:
    """Whether httpx can make a client of what the environment says."""
    try:
        httpx.Client(verify=False).close()  # noqa: S501 - asks nobody
    except (ImportError, ValueError, httpx.InvalidURL):
        return False
    return True


def _unusable() -> PrefectUnreachableError:
    """Name the variable of which httpx can make nothing."""
    proxies = getproxies()
    for scheme in HTTP_SCHEMES:
        if not (value := proxies.get(scheme)):
            continue
        try:
            proxy = httpx.Proxy(value if "://" in value else f"http://{value}")
            httpx.HTTPTransport(verify=False, proxy=proxy).close()
        except ImportError:
            return _refuse(scheme, "a SOCKS proxy needs the package socksio", _SOCKS_HINT)
        except (ValueError, httpx.InvalidURL):
            return _refuse(scheme, "it is not http://, https:// or socks5:// and a host", "")
    return _refuse("no", "it names no hosts that can be read", "")


def _unusable_for_events(api: httpx.URL) -> PrefectUnreachableError | None:
    """Say why Prefect's event stream could not pass, although its other questions can."""
    proxies = getproxies()
    for scheme in EVENT_SCHEMES.get(api.scheme, ()):
        if not (value := proxies.get(scheme)):
            continue
        if "://" not in value:
            return _refuse(scheme, "Prefect's event stream needs http:// before its host", "")
        is_socks = scheme == "socks" or value.lower().startswith("socks")
        if is_socks and find_spec("python_socks") is None:
            why = "Prefect's event stream needs the package python-socks for a SOCKS proxy"
            return _refuse(scheme, why, _SOCKS_HINT)
        return None
    return None


def _refuse(scheme: str, why: str, more: str) -> PrefectUnreachableError:
    """Name the variable; never its value, in which a password may stand."""
    if scheme == "no":  # in both cases by now, whoever wrote it
        return PrefectUnreachableError(
            f"NO_PROXY cannot be used: {why}; nothing was sent", "correct NO_PROXY"
        )
    lower = f"{scheme}_proxy"
    name = lower if lower in os.environ else lower.upper()
    return PrefectUnreachableError(
        f"the proxy to Prefect's API, of {name}, cannot be used: {why}; nothing was sent",
        " or ".join(filter(None, (f"correct {name}", more, "name the API's host in NO_PROXY"))),
    )
