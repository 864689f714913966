"""Gives the messages that tell a person of a run: for Slack, DingTalk, Feishu and e-mail.

One text for all of them: what happened, what to do next, where. Prefect's own blocks send it; the
address, which is as good as a password, stands encrypted in one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from prefect.automations import AutomationCore, EventTrigger
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.events.actions import SendNotification
from prefect.types import SecretDict
from pydantic import SecretStr

SUBJECT: Final = (
    "obscale: {{ event.payload.target }} of {{ event.payload.cluster }}: "
    '{{ {"held": "held, its DAG failed", "asking": "waits for an answer"}'
    '.get(event.event.split(".")[-1], "failed") }}'
)
"""Begins with the word `obscale`, by which a robot that wants a keyword knows it."""
BODY: Final = """\
{% set told = event.payload %}{% set what = event.event.split(".")[-1] -%}
{% if what == "asking" -%}
Paused until somebody answers: {{ told.waits_for }}, {{ (told.choices or []) | join(" or ") }}.
Next: Resume, on the page of the run.
{%- elif what == "held" and told.cause -%}
DAG {{ told.dag }} failed at stage {{ told.stage }} of {{ told.of }}: {{ told.title }} \
[{{ told.cause }}].
It keeps the cluster's lock until it is retried to its end, or rolled back.
Next: {{ told.next }}
{%- else -%}
{{ (told.error or told.error_kind or "it did not end well").split(". Next: ")[0] }}
Next: {{ told.next or "see the report of the run" }}
{%- endif %}
{% if told.deployment %}In Prefect: {{ told.deployment }} {{ told.form or "" }}
{% endif -%}
Cluster {{ told.cluster }}, node {{ told.target }}, zone {{ told.zone }}\
{% if told.dag %}, DAG {{ told.dag }}{% endif %}
Run: {{ flow_run | ui_url }}"""
TAGS_SHOWN_ONLY: Final = '{{% filter replace("<", "‹") | replace(">", "›") %}}{}{{% endfilter %}}'
"""Anywhere in a text, Slack reads `<!channel>` and Feishu `<at user_id="all">` as a call to all."""
MAIL_SCHEMES: Final = frozenset({"mailto", "mailtos"})


@dataclass(frozen=True)
class Channel:
    """One way to reach a person.

    Args:
        title: As people call it.
        block: Makes the block that sends, of an address.
        form: What its address looks like.
    """

    title: str
    block: Callable[[str], NotificationBlock]
    form: str


def _posting(name: str, body: Mapping[str, Any]) -> Callable[[str], NotificationBlock]:
    """Give what makes a block that POSTs JSON; texts are put into it as values, never as JSON."""

    def made(address: str) -> NotificationBlock:
        return CustomWebhookNotificationBlock(
            name=name,
            # As a secret value: the field itself is shown to whoever reads blocks.
            url="{{address}}",
            secrets=SecretDict({"address": address}),
            json_data=dict(body),
            headers=None,
            cookies=None,
        )

    return made


def _mailing(address: str) -> NotificationBlock:
    """Give a block that sends mail: Prefect's Slack block hands any address on to Apprise.

    Prefect itself has a block for one mail service only, and none for SMTP.
    """
    as_text = "" if "format" in parse_qs(urlsplit(address).query) else "format=text"
    between = "&" if urlsplit(address).query else "?"
    return SlackWebhook(url=SecretStr(address + (between + as_text if as_text else "")))


_TEXT: Final = "{{subject}}\n{{body}}"
CHANNELS: Final = {
    "slack": Channel(
        "Slack",
        _posting("slack", {"text": _TEXT}),
        "https://hooks.slack.com/services/…",
    ),
    "dingtalk": Channel(
        "DingTalk",
        _posting("dingtalk", {"msgtype": "text", "text": {"content": _TEXT}}),
        "https://oapi.dingtalk.com/robot/send?access_token=…",
    ),
    "feishu": Channel(
        "Feishu",
        _posting("feishu", {"msg_type": "text", "content": {"text": _TEXT}}),
        "https://open.feishu.cn/open-apis/bot/v2/hook/…",
    ),
    "email": Channel(
        "e-mail",
        _mailing,
        "mailtos://USER:PASSWORD@smtp.example.org?from=…&to=…",
    ),
}
"""By the name of their option. Sources: api.slack.com/messaging/webhooks,
open.dingtalk.com/document/robots/custom-robot-access,
open.feishu.cn/document/client-docs/bot-v3/add-custom-bot."""


def block_name(channel: str) -> str:
    """Name the block of a channel, e.g. `obscale-slack`."""
    return f"obscale-{channel}"


def fault_of(channel: str, address: str) -> str:
    """Say what is wrong with an address, without it; empty where nothing is."""
    parts = urlsplit(address)
    wanted = MAIL_SCHEMES if channel == "email" else {"http", "https"}
    if parts.scheme not in wanted or not parts.hostname:
        return f"--{channel}: is no address of the kind {CHANNELS[channel].form}"
    return ""


def tell(channel: str, block: UUID, trigger: EventTrigger) -> AutomationCore:
    """Give the automation that tells a person over a channel.

    Args:
        channel: Its name.
        block: That sends.
        trigger: What is told of.
    """
    title = CHANNELS[channel].title
    return AutomationCore(
        name=f"obscale: tell by {title} when a run needs a person",
        description=f"Sends verdict, next step, cluster, node, DAG and links by {title}.",
        trigger=trigger,
        actions=[
            SendNotification(
                block_document_id=block,
                subject=TAGS_SHOWN_ONLY.format(SUBJECT),
                body=TAGS_SHOWN_ONLY.format(BODY),
            )
        ],
    )
