"""`python -m obscale.deployments.trigger REQUEST.json`: start a run over the API, await its end.

An example to copy: it needs httpx and nothing of obscale. Further arguments are FLOW/DEPLOYMENT and
a ticket. The idempotency key is made of request and ticket, so that the same one sent twice, by a
portal that retries for instance, is one run; another ticket makes another run. trigger.sh makes the
same key, however the file is laid out.

Exit: 0 completed, 1 ended otherwise, 2 not accepted, 3 no answer, or the password is refused.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx

FURTHER: Final = ("scale-out/scale-out-workers", "")
"""Deployment and ticket where none is named."""
LOOK_AGAIN_SECONDS: Final = 2.0
BUSY_LOOKS: Final = 10
LONGEST_SECONDS: Final = 4 * 3600
LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
REFUSES: Final = {401, 403}
RENAMED: Final = {"patience": "time_limits"}
"""Parameters of earlier versions, by what they are called now."""
ENDED: Final = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


def main() -> None:
    """Send the parameters in a JSON file to a deployment, and wait."""
    match sys.argv[1:]:
        case [path, *further] if len(further) <= len(FURTHER):
            deployment, ticket = (*further, *FURTHER[len(further) :])
        case _:
            words = "REQUEST.json [FLOW/DEPLOYMENT [TICKET]]"
            _end(2, f"usage: python -m obscale.deployments.trigger {words}")
    try:
        parameters = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _end(2, f"{path}: {error}")
    if not isinstance(parameters, dict):
        _end(2, f"{path}: holds no parameters by name")
    try:
        with _api() as api:
            run = start(api, deployment, parameters, ticket)
            page = f"{str(api.base_url).removesuffix('api/')}runs/flow-run/{run['id']}"
            print(f"run {page}", flush=True)  # noqa: T201 - a program's answer
            ended = wait(api, run["id"])
    except httpx.TransportError as error:
        _end(3, f"Prefect's API does not answer: {error}")
    except httpx.HTTPStatusError as error:
        if error.response.status_code in REFUSES:
            told = f"refuses these credentials (status {error.response.status_code})"
            _end(3, f"Prefect's API {told}: set PREFECT_API_AUTH_STRING to the server's own")
        _end(2, f"status {error.response.status_code}: {error.response.text}")
    print(f"{ended['name']}: {ended.get('message') or ''}")  # noqa: T201
    sys.exit(0 if ended["type"] == "COMPLETED" else 1)


def start(
    api: httpx.Client, deployment: str, parameters: dict[str, Any], ticket: str
) -> dict[str, Any]:
    """Create the run, or get the one that the same request has created already."""
    found = _ask(api, "GET", f"/deployments/name/{deployment}")
    # Prefect itself lets unknown keys pass, and the run then crashes without a word on them.
    if unknown := sorted(set(parameters) - set(found["parameter_openapi_schema"]["properties"])):
        _end(2, f"{deployment} takes no parameter {', '.join(map(_with_new_name, unknown))}")
    body = {
        "parameters": parameters,
        "idempotency_key": key_of(deployment, parameters, ticket),
    }
    return _ask(api, "POST", f"/deployments/{found['id']}/create_flow_run", json=body)


def key_of(deployment: str, parameters: dict[str, Any], ticket: str) -> str:
    """Give the idempotency key, the same as jq in trigger.sh makes."""
    whole = [deployment, ticket, _plain(parameters)]
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Write 30.0 as 30: programs that lay out JSON anew do either."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _with_new_name(parameter: str) -> str:
    new = RENAMED.get(parameter)
    return f"{parameter}: it is called {new} now" if new else parameter


def wait(api: httpx.Client, run_id: str) -> dict[str, Any]:
    """Look until the run has ended; give its last state."""
    give_up = time.monotonic() + LONGEST_SECONDS
    while True:
        state: dict[str, Any] = _ask(api, "GET", f"/flow_runs/{run_id}")["state"]
        if state["type"] in ENDED:
            return state
        if time.monotonic() > give_up:
            _end(1, f"run {run_id} has not ended within {LONGEST_SECONDS} s; it goes on")
        time.sleep(LOOK_AGAIN_SECONDS)  # noqa: TID251 - an example to copy, without obscale's clock


def _ask(api: httpx.Client, method: str, path: str, **body: Any) -> dict[str, Any]:
    """Ask once more where the server is busy; with the idempotency key a POST is safe to repeat."""
    answer = api.request(method, path, **body)
    for _ in range(BUSY_LOOKS):
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(LOOK_AGAIN_SECONDS)  # noqa: TID251 - an example to copy, without obscale's clock
        answer = api.request(method, path, **body)
    data: dict[str, Any] = answer.raise_for_status().json()
    return data


def _api() -> httpx.Client:
    secret = os.environ.get("PREFECT_API_AUTH_STRING")
    user, _, password = (secret or "").partition(":")
    url = httpx.URL(os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api"))
    try:
        return httpx.Client(
            base_url=url,
            auth=(user, password) if secret else None,
            timeout=30,
            # A proxy cannot reach a server of this machine.
            trust_env=url.host not in LOOPBACK,
        )
    except (ImportError, ValueError):
        _end(3, "correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY: httpx cannot use it")


def _end(code: int, words: str) -> NoReturn:
    print(f"trigger: {words}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
