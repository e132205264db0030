"""`/interests`, `/fields`, `/profile`: what somebody without a history may tell, so that a page can offer it; and what a known user is about."""

import asyncio
import math
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from avrec.bundle.newcomer_tables import NewcomerTables
from avrec.serving.desk import Desk
from avrec.serving.messages import MAX_ID_CHARS
from avrec.serving.refusals import REFUSALS, RefusedError, printable

router = APIRouter(tags=["newcomers"], responses=REFUSALS)
MAX_LISTED = 1000


class Interest(BaseModel):
    """A tag that a newcomer may state."""

    name: str
    num_items: int = Field(description="Items that carry it.")
    weight_in_users: float = Field(description="How much of the users' histories it makes up, in whole users.")


class Interests(BaseModel):
    """Tags, those of most items first."""

    interests: list[Interest]
    total: int = Field(description="How many there are that begin alike.")
    bundle: str


class Share(BaseModel):
    """A tag and how much of a history it makes up."""

    name: str
    share: float


class Profile(BaseModel):
    """What a known user's history is about, the largest share first; empty where its items have no tags."""

    user: str
    interests: list[Share]
    bundle: str


class Group(BaseModel):
    """Users who share a value: a name, or a band of numbers from `low` up to, not including, `high`."""

    value: str | None
    low: float | None
    high: float | None
    num_users: int


class KnownField(BaseModel):
    """A field of which a newcomer may tell his value."""

    name: str
    takes_numbers: bool
    groups: list[Group]


class KnownFields(BaseModel):
    """The fields that the bundle knows its users by; empty where it knows none."""

    fields: list[KnownField]
    bundle: str


@router.get("/interests")
async def interests(
    request: Request,
    prefix: Annotated[str, Query(max_length=MAX_ID_CHARS)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 200,
) -> Interests:
    """Tags to choose from that begin with `prefix`; those that nobody's history carries are not among them."""
    served = Desk.at(request).served
    return await asyncio.to_thread(_interests, served.bundle.newcomers, prefix, limit, served.version)


@router.get("/profile")
async def profile(
    request: Request,
    user: Annotated[str, Query(min_length=1, max_length=MAX_ID_CHARS)],
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 10,
) -> Profile:
    """The tags of what a known user consumed."""
    served = Desk.at(request).served
    user_idx = served.users.get(user)
    if user_idx is None:
        raise RefusedError(404, "user: not in this bundle; /users lists those that are.")
    history = served.bundle.history
    consumed = history.item_idx[history.indptr[user_idx] : history.indptr[user_idx + 1]]
    found = await asyncio.to_thread(served.bundle.newcomers.profile, consumed)
    shares = [Share(name=printable(name), share=share) for name, share in found.items()]
    return Profile(user=printable(user), interests=shares[:limit], bundle=served.version)


@router.get("/fields")
async def fields(request: Request) -> KnownFields:
    """Side fields with the values, or the bands of numbers, that the bundle tells apart."""
    served = Desk.at(request).served
    tables = served.bundle.newcomers
    return KnownFields(fields=[_field(tables, name) for name in tables.groups.names], bundle=served.version)


def _interests(tables: NewcomerTables, prefix: str, limit: int, version: str) -> Interests:
    names, sizes = tables.tag_names, tables.newcomers.tag_size
    places = [place for place in tables.offered_tags.tolist() if names[place].startswith(prefix)]
    shown = [
        Interest(
            name=printable(names[place]), num_items=int(tables.tag_items[place]), weight_in_users=float(sizes[place])
        )
        for place in places[:limit]
    ]
    return Interests(interests=shown, total=len(places), bundle=version)


def _field(tables: NewcomerTables, name: str) -> KnownField:
    groups = tables.groups
    listed = [
        Group(
            value=None if groups.value[group] is None else printable(str(groups.value[group])),
            low=_finite(groups.low[group]),
            high=_finite(groups.high[group]),
            num_users=int(tables.newcomers.group_size[group]),
        )
        for group in range(len(groups))
        if groups.field[group] == name
    ]
    return KnownField(name=printable(name), takes_numbers=groups.takes_numbers(name), groups=listed)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
