"""What a configuration, in a given state, must do to traffic: intended and predicted shares, and what is left.

Arrays have one entry per server, in the order of `pool.servers`; shares sum to 1 where any server can serve, else to 0.

    intended, predicted, noise           shares, and how far off they may be after n requests
    survivors, every_loss                after the loss of a server: shares, keys that move, overload
    kept_s, amplification                how long a failing server keeps its requests; attempts per request
"""

from levelhead.predict.failures import Kept, Trouble, amplification, kept_s
from levelhead.predict.loss import Survivors, every_loss, survivors
from levelhead.predict.shares import (
    adapts,
    by_weight,
    intended,
    intended_weights,
    moves_by_key,
    noise,
    predicted,
    predicted_now,
    shares_by_row,
)

__all__ = [
    "Kept", "Survivors", "Trouble", "adapts", "amplification", "by_weight", "every_loss", "intended",
    "intended_weights", "kept_s", "moves_by_key", "noise", "predicted", "predicted_now", "shares_by_row", "survivors",
]  # fmt: skip
