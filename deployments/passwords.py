"""`python -m obscale.deployments.passwords`: refuses to start containers with a default password.

Reads the variables of `.env` that hold a secret. Exit: 0 each is chosen, 2 one is not.
"""

import os
import sys
from typing import Final

VARIABLES: Final = ("POSTGRES_PASSWORD", "AUTH_STRING", "ENCRYPTION_KEY")
UNCHANGED: Final = "change-me"
"""What example.env has in the place of a password."""


def main() -> None:
    """Say one line for each variable that is to be set, and end."""
    wrong = [told for name in VARIABLES if (told := _fault_of(name, os.environ.get(name, "")))]
    for told in wrong:
        print(f"passwords: {told} in .env, beside compose.yaml", file=sys.stderr)  # noqa: T201 - a program's answer
    sys.exit(2 if wrong else 0)


def _fault_of(name: str, value: str) -> str:
    """Say what is to be done about a variable, without its value; empty where nothing is."""
    password = value.partition(":")[2] if name == "AUTH_STRING" else value
    if not password.strip():
        form = "user:password" if name == "AUTH_STRING" else "a secret of your own"
        return f"{name} holds no password: set it to {form}"
    if password.strip() == UNCHANGED:
        return f"{name} is still {UNCHANGED!r}: choose a password of your own and set it"
    return ""


if __name__ == "__main__":
    main()
