"""The messages of obshell in Chinese, for those who ask for that language alone.

Source: ob/agent/assets/i18n/error/{en,zh}.json, ob/agent/api/common/middleware.go, 4.5.0.0; of the
messages with another message behind them both are translated.
"""

import re
from typing import Final

TRANSLATIONS: Final = (
    (
        "X-OCS-Agent-Header or X-OCS-Header not found in http request header",
        "HTTP 请求头中未找到 X-OCS-Agent-Header 或 X-OCS-Header",
    ),
    *(
        (f"Task not found: {reason}", f"未找到任务：{reason}")
        for reason in (
            "Cluster is not under maintenance",
            "Agent is not under maintenance",
            "dag id not match",
        )
    ),
    ("Task not found: %s", "未找到任务: %s"),
    ("Agent is not holding OceanBase", "agent 未持有 OceanBase 集群连接"),
    ("Observer process does not exist", "observer 进程不存在"),
    ("The current database is useless", "当前 OB 集群不可用"),
    (
        "'%s' is '%s', instead of '%s', does not support this operation",
        "'%s' 身份是 '%s'，而不是 '%s'，不支持此操作",
    ),
    ("Agent identify is unknown: %s", "未知的 agent 身份：%s"),
    ("Bind JSON failed: %s", "绑定 JSON 失败：%s"),
    ("Element not found: %s", "未找到资源：%s"),
    ("Unexpected error: %s", "非预期错误：%s"),
    ("Unauthorized: %s", "认证失败: %s"),
    ("Authentication expired", "认证信息已过期"),
    ("OceanBase password is incorrect", "OceanBase root 密码不正确"),
    ("Agent password is incorrect", "agent 密码不正确"),
    ("URI mismatch", "URI 不匹配"),
    ("Tenant '%s' does not exist.", "租户 '%s' 不存在"),
    ("Unit config '%s' does not exist.", "资源规格 '%s' 不存在"),
    (
        "The port '%s' is invalid, must be in [1024, 65535]",
        "端口 '%s' 无效，必须在 (1024, 65535] 范围内",
    ),
)
"""English and Chinese; what is not here is answered in English."""
TAG: Final = re.compile(r"zh(-\w+)*")


def is_chinese(accepted: str) -> bool:
    """Whether Accept-Language names Chinese and nothing else: obshell does not read lists."""
    return TAG.fullmatch(accepted) is not None


def in_chinese(message: str) -> str:
    """The message in Chinese, or as it is."""
    for english, chinese in TRANSLATIONS:
        pattern = re.escape(english).replace("%s", "(.*)")
        if found := re.fullmatch(pattern, message, re.DOTALL):
            values = tuple(in_chinese(value) for value in found.groups())
            return chinese % values
    return message
