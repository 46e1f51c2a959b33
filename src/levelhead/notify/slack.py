"""POSTs notices as Slack, Mattermost and those like them want them: blocks, and plain text where those do not show."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import httpx

from levelhead.notify.base import Notice
from levelhead.notify.webhook import post

# Slack's bounds, in characters after escaping.
_HEADER, _SECTION, _FIELD, _TEXT = 150, 3000, 2000, 3000
_MOST_FIELDS = 10

Block = dict[str, object]


@dataclass(frozen=True, slots=True)
class Slack:
    """Sends to an incoming webhook; its `url` is a secret."""

    name: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)

    async def send(self, notice: Notice) -> None:
        """Sends it; NotifyError says why not, without the url."""
        await post(self.http, self.name, self.url, self.headers, body(notice))


def body(notice: Notice) -> bytes:
    """The message as JSON: `text` is what notifications show, `blocks` what the channel does."""
    head = f"{notice.incident} {notice.kind}, {notice.pool}: {notice.title}"
    blocks: list[Block] = [
        {"type": "header", "text": _plain(head, _HEADER)},
        {"type": "section", "text": _plain(f"{notice.phase}: {notice.text}", _SECTION)},
    ]
    if notice.figures:
        shown = [_plain(f"{label}: {value}", _FIELD) for label, value in notice.figures[:_MOST_FIELDS]]
        blocks.append({"type": "section", "fields": shown})
    if notice.url:
        link = {"type": "mrkdwn", "text": f"<{_escaped(notice.url, _SECTION)}|{_escaped(notice.incident, _FIELD)}>"}
        blocks.append({"type": "context", "elements": [link]})
    text = _escaped(f"{head}\n{notice.phase}: {notice.text}", _TEXT)
    return json.dumps({"text": text, "blocks": blocks}).encode()


def _plain(text: str, most: int) -> Block:
    """Text that Slack does not format: what a server is called must not become bold."""
    return {"type": "plain_text", "text": _escaped(text, most), "emoji": False}


def _escaped(text: str, most: int) -> str:
    """Slack's three control characters as entities, cut between characters so that the result fits."""
    safe = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    parts = [safe.get(character, character) for character in text]
    if sum(map(len, parts)) <= most:
        return "".join(parts)
    kept, length = [], 0
    for part in parts:
        length += len(part)
        if length > most - 3:
            break
        kept.append(part)
    return "".join(kept) + "..."
