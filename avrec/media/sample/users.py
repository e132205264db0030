"""`Audience`: simulated users who follow their ears, their eyes, or need both, and what they saw, liked and shared.

Nothing was tuned on a model. A user's wishes run out, so he waits for releases: that alone sends the end of the log to items
that its beginning does not know.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.errors import ConfigError
from avrec.core.order import generator
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.pictures import PICTURES
from avrec.media.sample.sounds import SOUNDS

# U users, N items, C classes of one sense, E events
FOLLOWS = ("ears", "eyes", "both")
EVENTS = ("view", "like", "share")
TOPICS = ("animals", "city", "dance", "food", "games", "garden", "history", "sea", "space", "sports", "travel", "work")
MAX_USERS = 100_000

START_SEC = 1_700_000_000
SPAN_SEC = 180 * 86_400
NUM_STEPS = 60
WISHES_PER_USER = 45.0  # some find nothing left, so there are fewer views
NOISE_SHARE = 0.18  # of the wishes, that any item fulfils
STRENGTH = 3.0  # of the first choice against the noise of a choice
SECOND_CHOICE = 0.6
NUM_WANTED_TOGETHER = 3  # classes of sound, and of picture, that a user who needs both accepts
APPEAL = 0.25  # spread of what makes an item popular with everybody
OLD_SHARE = 0.33  # of the items, released before the log begins
NUM_FRIENDS = 4
HINT_SHARE = 0.2  # of the items, whose first tag depends on the sound


@dataclass(frozen=True)
class Log:
    """What users did.

    Attributes:
        user: (E,) which user.
        item: (E,) which item.
        event: (E,) index into `EVENTS`.
        time_sec: (E,) seconds since 1970.
    """

    user: Int64
    item: Int64
    event: Int64
    time_sec: Int64


@dataclass(frozen=True)
class Audience:
    """The users of a catalogue, all of them functions of its seed.

    Attributes:
        catalogue: the items.
        num_users: users.

    Raises:
        ConfigError: the number of users is out of range.
    """

    catalogue: Catalogue
    num_users: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_users <= MAX_USERS:
            raise ConfigError(f"num_users is {self.num_users}; expected 1 to {MAX_USERS}.")

    @property
    def user_ids(self) -> list[str]:
        """The name of each user."""
        return [f"user{index:05d}" for index in range(self.num_users)]

    @property
    def follows(self) -> Int64:
        """(U,) index into `FOLLOWS`."""
        return np.arange(self.num_users) % len(FOLLOWS)

    @cached_property
    def liking(self) -> Float64:
        """(U, N) from 0 to 1: two classes of the one sense, or whatever is in a set of classes of both senses at once."""
        catalogue, draw = self.catalogue, self._draw("taste")
        sound, sound_set = _tastes(self.num_users, len(SOUNDS), draw)
        picture, picture_set = _tastes(self.num_users, len(PICTURES), draw)
        ears = sound[:, catalogue.sound_class] * catalogue.has_sound
        eyes = picture[:, catalogue.picture_class] * catalogue.has_picture
        heard = sound_set[:, catalogue.sound_class] * catalogue.has_sound
        both = heard * picture_set[:, catalogue.picture_class] * catalogue.has_picture
        return np.stack([ears, eyes, both])[self.follows, np.arange(self.num_users)]

    @cached_property
    def utility(self) -> Float64:
        """(U, N) the truth: liking, and what an item has for everybody. Nobody can rank better who knows no future."""
        return STRENGTH * self.liking + self._appeal

    @cached_property
    def release_sec(self) -> Int64:
        """(N,) when each item comes out, a little more often towards the end."""
        draw = self._draw("releases")
        share = np.where(
            draw.random(self.catalogue.num_items) < OLD_SHARE, 0.0, draw.random(self.catalogue.num_items) ** 0.75
        )
        return START_SEC + (SPAN_SEC * share).astype(np.int64)

    @cached_property
    def friends(self) -> Int64:
        """(pairs, 2) users who are friends, each pair in both directions: mostly users who like the same things."""
        taste = self.liking - self.liking.mean(axis=1, keepdims=True)
        taste /= np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1e-12)
        near = np.round(8.0 * (taste @ taste.T), 6)  # the last bit of a product differs between machines
        near += _gumbel(self._draw("friends"), near.shape)
        np.fill_diagonal(near, -np.inf)
        chosen = np.argsort(-near, axis=1, kind="stable")[:, : min(NUM_FRIENDS, self.num_users - 1)]
        pairs = np.stack([np.repeat(np.arange(self.num_users), chosen.shape[1]), chosen.ravel()], axis=1)
        return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)

    @cached_property
    def tags(self) -> list[list[str]]:
        """Two topics of each item; hardly a hint, so that sound and picture matter."""
        draw, num_items = self._draw("tags"), self.catalogue.num_items
        topics = np.argsort(draw.random((num_items, len(TOPICS))), axis=1)[:, :2]
        hinted = draw.random(num_items) < HINT_SHARE
        topics[hinted, 0] = self.catalogue.sound_class[hinted]
        return [[TOPICS[topic] for topic in dict.fromkeys(pair)] for pair in topics.tolist()]

    @cached_property
    def log(self) -> Log:
        """Views, each item at most once a user, and minutes later some likes and shares, mostly of what is truly liked."""
        draw = self._draw("reactions")
        user, item, time = self._views()
        parts = [(user, item, np.zeros_like(user), time)]
        for code, (indifferent, delighted) in enumerate(((0.04, 0.5), (0.01, 0.2)), start=1):
            happens = draw.random(len(user)) < indifferent + (delighted - indifferent) * self.liking[user, item]
            delay = draw.integers(60, 1200, len(user))
            parts.append((user[happens], item[happens], np.full(happens.sum(), code), (time + delay)[happens]))
        return Log(*(np.concatenate(columns).astype(np.int64) for columns in zip(*parts, strict=True)))

    @cached_property
    def _appeal(self) -> Float64:
        return APPEAL * self._draw("appeal").standard_normal(self.catalogue.num_items)

    def _draw(self, what: str) -> np.random.Generator:
        return generator(self.catalogue.seed, 0, f"sample/{what}")

    def _views(self) -> tuple[Int64, Int64, Int64]:
        """User, item and time of each view, step by step of the period."""
        draw = self._draw("views")
        seen = np.zeros((self.num_users, self.catalogue.num_items), np.bool_)
        rate = draw.lognormal(-0.08, 0.4, self.num_users) * WISHES_PER_USER / NUM_STEPS
        step_sec = SPAN_SEC // NUM_STEPS
        parts = []
        for now in START_SEC + step_sec * np.arange(NUM_STEPS):
            wishes = draw.poisson(rate)
            for already in range(int(wishes.max())):
                user, item = self._wish(np.flatnonzero(wishes > already), self.release_sec <= now, seen, draw)
                seen[user, item] = True
                parts.append((user, item, now + draw.integers(0, step_sec, len(user))))
        user, item, time = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return user, item, time

    def _wish(self, users: Int64, released: Bool, seen: Bool, draw: np.random.Generator) -> tuple[Int64, Int64]:
        """Which item each of some users views next; a user who finds none he wishes is left out."""
        is_noise = draw.random(len(users))[:, None] < NOISE_SHARE
        value = np.where(is_noise, self._appeal, self.utility[users]) + _gumbel(draw, (len(users), len(released)))
        value[~released | seen[users] | ~(is_noise | (self.liking[users] > 0))] = -np.inf
        item = value.argmax(axis=1)
        found = np.isfinite(value.max(axis=1))
        return users[found], item[found]


def _tastes(num_users: int, num_classes: int, draw: np.random.Generator) -> tuple[Float64, Float64]:
    """(U, C) each: a taste with a first and a second choice, and a set of classes that are equally welcome."""
    rank = np.argsort(draw.random((num_users, num_classes)), axis=1)
    taste = np.array([1.0, SECOND_CHOICE] + [0.0] * (num_classes - 2))[rank]
    welcome = np.argsort(draw.random((num_users, num_classes)), axis=1) < NUM_WANTED_TOGETHER
    return taste, welcome.astype(np.float64)


def _gumbel(draw: np.random.Generator, shape: tuple[int, int]) -> Float64:
    return -np.log(draw.standard_exponential(shape) + 1e-300)
