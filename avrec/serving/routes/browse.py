"""`/about`, `/users`, `/history`, `/cards`: what a page needs to know beside the lists."""

import asyncio
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from avrec.core.clips import MediaKind
from avrec.serving.desk import Desk
from avrec.serving.messages import MAX_ID_CHARS, Asked, Id
from avrec.serving.player import Player
from avrec.serving.refusals import REFUSALS, RefusedError, printable
from avrec.serving.served import Served
from avrec.serving.spaces import Mode

router = APIRouter(tags=["page"], responses=REFUSALS)
MAX_USERS = 100
MAX_EVENTS = 200
MAX_CARDS = 200
Prefix = Annotated[str, Query(max_length=MAX_ID_CHARS)]
UserId = Annotated[str, Query(min_length=1, max_length=MAX_ID_CHARS)]


class About(BaseModel):
    """What the bundle in force can do."""

    bundle: str
    data_name: str
    num_users: int
    num_items: int
    modalities: list[str]
    modes: list[Mode]
    ways: list[str] = Field(description="What /similar takes for `by`.")
    uploads: list[str] = Field(description="Kinds of media that /upload takes; none where the bundle takes no files.")
    plays: bool = Field(description="Whether items' files can be fetched from /media.")


class ListedUser(BaseModel):
    """A known user."""

    user: str
    num_events: int


class Users(BaseModel):
    """Known users in the order of their ids."""

    users: list[ListedUser]
    more: bool = Field(description="Whether others begin alike.")


class History(BaseModel):
    """The items that a known user met, the latest first."""

    user: str
    items: list[str]
    num_events: int


class CardsRequest(Asked):
    """The items of which cards are wanted."""

    items: list[Id] = Field(min_length=1, max_length=MAX_CARDS)


class Play(BaseModel):
    """A file to play."""

    kind: MediaKind
    type: str
    url: str


class Card(BaseModel):
    """What a page shows of an item."""

    item: str
    title: str | None
    tags: list[str]
    num_trained: int = Field(description="Training events; with none the model knows the item by its content alone.")
    num_users: int = Field(description="Known users who met it, until the bundle was exported.")
    shares: dict[str, float] = Field(description="How much each modality made up of its content; empty if unknown.")
    plays: list[Play]


class Cards(BaseModel):
    """Cards in the order that was asked for; items that the bundle does not know have none."""

    cards: list[Card]
    bundle: str


@router.get("/about")
async def about(request: Request) -> About:
    """The bundle in force, in a few words."""
    desk = Desk.at(request)
    manifest = desk.served.bundle.manifest
    return About(
        bundle=desk.served.version,
        data_name=manifest.data_name,
        num_users=manifest.dims.num_users,
        num_items=manifest.dims.num_items,
        modalities=list(manifest.modalities),
        modes=list(desk.served.modes()),
        ways=list(desk.served.recommender.likeness.names),
        uploads=list(manifest.media),
        plays=desk.player.root is not None and bool(desk.served.display.kinds),
    )


@router.get("/users")
async def users(request: Request, prefix: Prefix = "", limit: Annotated[int, Query(ge=1, le=MAX_USERS)] = 20) -> Users:
    """Known users whose ids begin with `prefix`."""
    served = Desk.at(request).served
    found = await asyncio.to_thread(served.users_with, prefix, limit + 1)
    counts = served.bundle.history.indptr
    listed = [
        ListedUser(user=printable(user), num_events=int(counts[index + 1] - counts[index])) for user, index in found
    ]
    return Users(users=listed[:limit], more=len(listed) > limit)


@router.get("/history")
async def history(request: Request, user: UserId, limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 50) -> History:
    """What a known user met last."""
    served = Desk.at(request).served
    user_idx = served.users.get(user)
    if user_idx is None:
        raise RefusedError(404, "user: not in this bundle; /users lists those that are.")
    start, stop = served.bundle.history.indptr[user_idx : user_idx + 2].tolist()
    latest = served.bundle.history.item_idx[start:stop][::-1][:limit].tolist()
    items = [printable(served.item_ids[index]) for index in latest]
    return History(user=printable(user), items=items, num_events=stop - start)


@router.post("/cards")
async def cards(asked: CardsRequest, request: Request) -> Cards:
    """Titles, tags and players of items."""
    desk = Desk.at(request)
    served = desk.served
    return Cards(cards=await asyncio.to_thread(_cards, served, desk.player, asked.items), bundle=served.version)


def _cards(served: Served, player: Player, item_ids: list[str]) -> list[Card]:
    known = [(item_id, served.items[item_id]) for item_id in dict.fromkeys(item_ids) if item_id in served.items]
    return [_card(served, player, item_id, item_idx) for item_id, item_idx in known]


def _card(served: Served, player: Player, item_id: str, item_idx: int) -> Card:
    modalities, shares = served.bundle.manifest.modalities, served.bundle.shares
    files = player.files(served.display, item_idx)
    return Card(
        item=item_id,
        title=served.display.title(item_idx),
        tags=served.display.tags(item_idx),
        num_trained=int(served.bundle.evidence[item_idx]),
        num_users=int(served.num_met[item_idx]),
        shares={} if shares is None else dict(zip(modalities, shares[item_idx].tolist(), strict=True)),
        plays=[Play(kind=file.kind, type=file.media_type, url=_address(player, item_id, file.kind)) for file in files],
    )


def _address(player: Player, item_id: str, kind: MediaKind) -> str:
    ticket = player.ticket(item_id, kind)
    return "/media?" + urlencode({"item": item_id, "kind": kind} | ({} if ticket is None else {"ticket": ticket}))
