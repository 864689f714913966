"""What is said where a replacement ends between its halves, and both ways from there."""

import shlex

from obscale.errors import HalfReplacedError, ObscaleError
from obscale.request.file_name import command_name
from obscale.request.replacement import Replacement


def half_replaced(order: Replacement, error: ObscaleError) -> HalfReplacedError:
    """Give the error of a replacement whose new node is verified, and whose old one did not leave.

    Args:
        order: What is asked for.
        error: What has kept it from leaving.
    """
    cluster = command_name(order.cluster)

    def remove(target: str) -> str:
        return shlex.join(["obscale", "remove", cluster, target, "--zone", order.zone])

    why = error.message.rstrip(".")
    hints = (
        error.hint,
        f"running the same replacement again goes on with it, or {remove(order.target)}",
        f"to take the new node back: {remove(order.joining)}",
    )
    return HalfReplacedError(
        f"{order.joining} is verified in {order.zone}, a healthy node more than before, and "
        f"{order.target} is still there: {why}",
        "; ".join(filter(None, hints)),
        error.choices,
    )
