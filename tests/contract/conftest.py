"""The worlds, and the tiny second client, that the contract tests share.

The client here seals requests by itself, from the protocol: neither side of the product helps it.
"""

import base64
import json
import secrets
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import load_der_public_key

from obscale.sandbox import (
    ManualClock,
    ScaledClock,
    World,
    default_config,
    in_process,
    serve,
)
from tests.contract.trust_scenes import OWN, ROOT, Scene

ROOT_PASSWORD = "sandbox-root"
TARGET = "127.0.1.4:2886"
ENTRY = "127.0.1.1:2886"
SIZES = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
LIFETIME_SECONDS = 60


class Asker:
    """Asks agents of one world, in process, with requests it seals itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.http = httpx.AsyncClient(transport=in_process(world), trust_env=False)

    async def __call__(
        self,
        method,
        target,
        body=None,
        *,
        agent=ENTRY,
        password=ROOT_PASSWORD,
        header="X-OCS-Header",
        headers=None,
        **changes,
    ):
        """Send one sealed request; `changes` replace fields of the header's plaintext."""
        keys = secrets.token_bytes(32)
        fields = {
            "auth": password,
            "ts": str(int(self.world.clock.wall_at(self.world.clock.now())) + LIFETIME_SECONDS),
            "uri": target,
            "keys": base64.b64encode(keys).decode(),
        } | changes
        content = b"" if body is None else seal(json.dumps(body).encode(), keys)
        sealed = await self.sealed(agent, json.dumps(fields))
        return await self.raw(
            method, target, agent=agent, headers={header: sealed} | (headers or {}), content=content
        )

    async def sealed(self, agent, plaintext):
        """RSA blocks of 53 bytes under the agent's key, as the official SDK makes them."""
        answer = await self.raw("GET", "/api/v1/secret", agent=agent)
        key = load_der_public_key(base64.b64decode(answer.json()["data"]["public_key"]))
        text = plaintext.encode()
        chunks = [text[start : start + 53] for start in range(0, len(text), 53)]
        return base64.b64encode(b"".join(key.encrypt(c, PKCS1v15()) for c in chunks)).decode()

    async def raw(self, method, target, *, agent=ENTRY, headers=None, content=b""):
        """Send bytes as they are, without any sealing."""
        return await self.http.request(
            method, f"http://{agent}{target}", headers=headers, content=content
        )

    async def data(self, target, **options):
        """`data` of a GET that must succeed."""
        answer = await self("GET", target, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def scale_out(self, *, target=TARGET, zone="zone2", configs=SIZES, **options):
        """POST the documented sample request."""
        ip, _, port = target.rpartition(":")
        body = {
            "agentInfo": {"ip": ip, "port": int(port)},
            "zone": zone,
            "obConfigs": dict(configs),
            "targetAgentPassword": options.pop("target_password", ""),
        }
        return await self("POST", "/api/v1/ob/scale_out", body, **options)

    async def operate(self, dag_id, operator, **options):
        """POST an operator for a DAG."""
        body = {"operator": operator}
        return await self("POST", f"/api/v1/task/dag/{dag_id}", body, **options)


def seal(plain: bytes, keys: bytes) -> bytes:
    """AES-128-CBC with PKCS#7 padding, Base64."""
    pad = 16 - len(plain) % 16
    encryptor = Cipher(AES(keys[:16]), CBC(keys[16:])).encryptor()
    return base64.b64encode(encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize())


@pytest.fixture
def build_world():
    """Builds a world on a manual clock from changes to the default description.

    `cluster` changes the one cluster, `spare` the first spare; anything else the world.
    """

    def build(*, cluster=None, spare=None, epoch=None, **changes):
        content = default_config().model_dump()
        content["clusters"][0].update(cluster or {})
        content["spares"][0].update(spare or {})
        content |= changes
        clock = ManualClock() if epoch is None else ManualClock(epoch_seconds=epoch)
        return World(type(default_config()).model_validate(content), clock=clock)

    return build


@pytest.fixture
def world(build_world):
    """The default world: one cluster of three zones, three spares, time stands still."""
    return build_world()


@pytest.fixture
def asker():
    """Makes an `Asker` for a world."""
    return Asker


@pytest.fixture
def ask(world):
    """Asks agents of the default world."""
    return Asker(world)


@pytest.fixture(scope="session")
def vectors():
    """Test-only keys, sealed headers and bodies, ids and hashes."""
    path = Path(__file__).resolve().parents[1] / "data" / "obshell-vectors.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
async def scene(monkeypatch):
    """A served cluster of three with three spares, on ports of the system's choice."""
    plain = default_config()
    clusters = tuple(c.model_copy(update={"root_password": ROOT}) for c in plain.clusters)
    world = World(
        plain.model_copy(update={"clusters": clusters, "port": 0}), clock=ScaledClock(speed=40)
    )
    monkeypatch.setenv("ROOT_8D41", ROOT)
    monkeypatch.setenv("OWN_61F0", OWN)
    async with serve(world) as door:
        yield Scene(world, door.ready)
