"""Tests of the client on real sockets: TLS, IPv6, silence, broken connections.

Each over both transports there are.
"""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from shutil import copyfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts, Tls
from obscale.agent.models import Operator
from obscale.errors import (
    AgentProtocolError,
    AgentUnreachableError,
    OutcomeUnknownError,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "data" / "obshell-vectors.json").read_text(encoding="utf-8")
)
KEY = VECTORS["keys"]["1024"]["public_key_as_served_by_secret__pkcs1_der_b64"]
INFO = {"ip": "127.0.0.1", "port": 2886, "identity": "SINGLE", "version": "4.5.0.0-1"}
BRIEF = Timeouts(connect_seconds=2.0, read_seconds=2.0)


def issue(name, key, *, issuer=None, issuer_key=None, ip=None):
    """One certificate; without an issuer it signs itself and may sign others."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if ip:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ip))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key or key, SHA256())


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA, a server for 127.0.0.1 and a client, as PEM files by name."""
    folder = tmp_path_factory.mktemp("pki")
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server", "client")}
    ca = issue("test ca", keys["ca"])
    signed = {"issuer": ca, "issuer_key": keys["ca"]}
    certs = {
        "ca": ca,
        "server": issue("agent", keys["server"], ip="127.0.0.1", **signed),
        "client": issue("client", keys["client"], **signed),
    }
    paths = {}
    for name, cert in certs.items():
        key = keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths[name] = folder / f"{name}.pem"
        paths[name].write_bytes(cert.public_bytes(Encoding.PEM) + key)
    return {name: str(path) for name, path in paths.items()}


def server_context(pki, *, wants_client=False):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # As obshell, which is written in Go and wants no Authority Key Identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(pki["server"])
    if wants_client:
        context.load_verify_locations(pki["ca"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def answer_info(reader, writer):
    """Speak just enough HTTP for `/info`, `/secret` and `/time`; a POST is hung up on."""
    first = await reader.readexactly(1)
    if not first.isalpha():
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        return
    while head := (first + await reader.readuntil(b"\r\n\r\n")).decode():
        first = b""
        if head.startswith("POST"):
            break
        target = head.split(" ")[1]
        now = datetime.now(UTC).isoformat()
        data = now if target.endswith("/time") else INFO | {"public_key": KEY}
        body = json.dumps({"successful": True, "status": 200, "traceId": "", "data": data})
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
    writer.close()


async def say_nothing(reader, _writer):
    """Read whatever comes and never answer."""
    await reader.read()


async def hang_up(_reader, _writer):
    """Close at once."""


@asynccontextmanager
async def listening(handler, *, host="127.0.0.1", scheme="http", context=None):
    """Serve on a free port; gives the address to ask. Ends all conversations at the end."""
    talks = set()

    async def handle(reader, writer):
        talks.add(asyncio.current_task())
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=context)
    try:
        yield AgentAddress(host, server.sockets[0].getsockname()[1], scheme)
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def test_ipv6_agent_is_asked(over):
    """An agent on ::1 is reached, and named with brackets."""
    async with listening(answer_info, host="::1") as address, over(AgentClient, address) as client:
        info = await client.read_info()

    assert info.identity == "SINGLE"
    assert str(address).startswith("[::1]:")


async def test_proxies_of_the_environment_are_ignored(monkeypatch, over):
    """A proxy variable does not divert a request that carries a password."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async with listening(answer_info) as address, over(AgentClient, address) as client:
        info = await client.read_info()

    assert info.version == "4.5.0.0-1"


async def test_nobody_listening_is_unreachable(over):
    """A refused connection is transient and says what to check."""
    async with listening(answer_info) as address:
        pass

    async with over(AgentClient, address, timeouts=BRIEF) as client:
        with pytest.raises(AgentUnreachableError, match="check that obshell runs there") as caught:
            await client.operate_dag("17", Operator.RETRY)

    assert caught.value.transient
    assert caught.value.agent == str(address)


@pytest.mark.parametrize("handler", [say_nothing, hang_up], ids=["silence", "hang-up"])
async def test_agent_that_does_not_answer_a_read_is_unreachable(handler, over):
    """Silence and a closed connection are both no answer."""
    limits = Timeouts(connect_seconds=2.0, read_seconds=0.2)

    async with listening(handler) as address, over(AgentClient, address, timeouts=limits) as client:
        with pytest.raises(AgentUnreachableError, match=r"no answer within|the connection broke"):
            await client.read_info()


async def test_connection_closed_after_a_write_is_an_unknown_outcome(over):
    """The request went out, the agent hung up: nobody knows what was done."""
    async with (
        listening(answer_info) as address,
        over(AgentClient, address, timeouts=BRIEF) as client,
    ):
        with pytest.raises(OutcomeUnknownError, match="the connection broke") as caught:
            await client.operate_dag("17", Operator.ROLLBACK)

    assert caught.value.header_expires_at > datetime.now(UTC)


async def test_tls_agent_with_its_ca_is_trusted(pki, over):
    """With the CA that signed the agent's certificate, https works for a bare IP."""
    context = server_context(pki)

    async with (
        listening(answer_info, scheme="https", context=context) as address,
        over(AgentClient, address, tls=Tls(ca_file=pki["ca"])) as client,
    ):
        info = await client.read_info()

    assert info.identity == "SINGLE"


async def test_tls_agent_without_its_ca_is_not_trusted(pki, over):
    """An unknown CA is named with what to do, and is no passing trouble."""
    context = server_context(pki)

    async with (
        listening(answer_info, scheme="https", context=context) as address,
        over(AgentClient, address) as client,
    ):
        with pytest.raises(AgentProtocolError, match="certificate is not trusted") as caught:
            await client.read_info()

    assert "give the CA file" in caught.value.hint
    assert caught.value.transient is False


async def test_a_ca_file_written_anew_is_read_again(pki, tmp_path, over):
    """A program that runs for weeks trusts what stands in the file now, not what once did."""
    context = server_context(pki)
    ca_file = tmp_path / "ca.pem"
    copyfile(pki["client"], ca_file)
    tls = Tls(ca_file=str(ca_file))

    async with listening(answer_info, scheme="https", context=context) as address:
        async with over(AgentClient, address, tls=tls) as client:
            with pytest.raises(AgentProtocolError, match="certificate is not trusted"):
                await client.read_info()
        copyfile(pki["ca"], ca_file)
        async with over(AgentClient, address, tls=tls) as client:
            assert (await client.read_info()).identity == "SINGLE"


async def test_tls_agent_is_asked_unverified_where_wanted(pki, over):
    """`verify=False` takes any certificate."""
    context = server_context(pki)

    async with (
        listening(answer_info, scheme="https", context=context) as address,
        over(AgentClient, address, tls=Tls(verify=False)) as client,
    ):
        assert (await client.read_info()).identity == "SINGLE"


async def test_mutual_tls_shows_our_certificate(pki, over):
    """An agent that asks for a client certificate gets the one given."""
    context = server_context(pki, wants_client=True)
    tls = Tls(ca_file=pki["ca"], client_cert=pki["client"])

    async with (
        listening(answer_info, scheme="https", context=context) as address,
        over(AgentClient, address, tls=tls) as client,
    ):
        assert (await client.read_info()).identity == "SINGLE"


async def test_missing_client_certificate_is_named(pki, over):
    """Without it the handshake fails, and the error says that a certificate may be wanted."""
    context = server_context(pki, wants_client=True)
    # With TLS 1.3 the refusal races the closing of the connection; with 1.2 it always arrives.
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with (
        listening(answer_info, scheme="https", context=context) as address,
        over(AgentClient, address, tls=Tls(ca_file=pki["ca"])) as client,
    ):
        with pytest.raises((AgentProtocolError, AgentUnreachableError)) as caught:
            await client.read_info()

    assert "client certificate" in caught.value.hint


async def test_tls_spoken_to_a_plain_port_is_named(over):
    """Saying https to an http agent leads to the right spelling of the address."""
    async with listening(answer_info) as address:
        spoken = AgentAddress(address.ip, address.port, "https")
        async with over(AgentClient, spoken, timeouts=BRIEF) as client:
            with pytest.raises(AgentProtocolError) as caught:
                await client.read_info()

    assert f"speaks plain HTTP, not TLS: write http://{address}" in str(caught.value)


async def test_plain_http_spoken_to_a_tls_port_leads_to_https(pki, over):
    """Saying http to an https agent ends in a hint at https."""
    context = server_context(pki)

    async with (
        listening(answer_info, context=context) as address,
        over(AgentClient, address, timeouts=BRIEF) as client,
    ):
        with pytest.raises(AgentUnreachableError) as caught:
            await client.read_info()

    assert "https://" in caught.value.hint
