"""Example requests of a bundle: real users and the histories of others, as strangers."""

from pathlib import Path
from typing import Any

import numpy as np

from avrec.bundle.examples import ask
from avrec.bundle.parts import REQUESTS, RESPONSES
from avrec.bundle.recommender import Recommender
from avrec.core.files import write_json
from avrec.export.sample import spread

NUM_USERS, NUM_HISTORIES = 3, 3
MAX_HISTORY = 20
K = 10


def write_examples(recommender: Recommender, folder: Path) -> None:
    """Write at most 3 requests for known users, 3 for histories, and what the bundle answers to each."""
    requests = example_requests(recommender)
    (folder / REQUESTS).parent.mkdir(exist_ok=True)
    write_json(folder / REQUESTS, requests)
    write_json(folder / RESPONSES, [ask(recommender, request) for request in requests])


def example_requests(recommender: Recommender) -> list[dict[str, Any]]:
    """Bodies of the server's `POST /recommend`."""
    bundle = recommender.bundle
    with_events = np.flatnonzero(bundle.history.user_counts)
    chosen = with_events[spread(len(with_events), NUM_USERS + NUM_HISTORIES)] if len(with_events) else with_events
    requests: list[dict[str, Any]] = [{"user": name, "k": K} for name in bundle.users.ids(chosen[::2])]
    for user in chosen[1::2]:
        stop = int(bundle.history.indptr[user + 1])
        start = max(int(bundle.history.indptr[user]), stop - MAX_HISTORY)
        requests.append({"history": bundle.items.ids(bundle.history.item_idx[start:stop]), "k": K})
    return requests
