"""A simulated catalogue: features that hide audio and visual classes, and users who follow ears, eyes or need both."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.order import generator
from avrec.data.sources.base import RawData, event_table

# U users, N items, C classes of one sense, F feature dimension
START_SEC = 1_700_000_000
DAY_SEC = 86_400
NUM_DAYS = 360
NUM_STEPS = 60
FRESH_DAYS = 20.0
HIDDEN_DIM = 4
FEATURE_DIMS = {"audio": 64, "visual": 96, "text": 32}
FOLLOWS = np.array(["ears", "eyes", "both"])
EVENTS = np.array(["view", "like", "share"])


@dataclass(frozen=True)
class SimulatedSource:
    """Draws a world of users and items and lets it run for 360 days; every number is a function of the arguments.

    Every item has an audio and, independently, a visual class. A third of the users each follow the sound, the picture, or
    want both at once; a smaller part of taste shows in no feature, only in who likes what. Items are released over time, so the last part of the log meets items that no earlier part knows;
    tastes alone decide about those, hence only content can find them. Popularity is skewed; some users join late; some
    items lack a modality.

    Attributes:
        num_users: users.
        num_items: items.
        num_classes: audio classes, and as many visual ones.
        views_per_user: mean views of a user; likes and shares come on top.
        missing_share: share of items that lack the sound, and likewise the picture (never both); twice as many lack text.
        seed: of everything.
    """

    num_users: int = 1500
    num_items: int = 600
    num_classes: int = 8
    views_per_user: float = 24.0
    missing_share: float = 0.06
    seed: int = 0

    def read(self) -> RawData:
        """Simulate.

        Item and user tables hold the truth in fields whose names begin with `true_`: for tests, never for models.
        """
        world = self._world
        item_ids = pa.array([f"item{index:05d}" for index in range(self.num_items)], pa.large_string())
        user_ids = pa.array([f"user{index:05d}" for index in range(self.num_users)], pa.large_string())
        user, item, event, time = self._log()
        return RawData(
            name="simulated",
            interactions=event_table(
                {
                    "user_id": user_ids.take(pa.array(user)),
                    "item_id": item_ids.take(pa.array(item)),
                    "event": pa.array(EVENTS[event]),
                    "timestamp": pa.array(time),
                }
            ),
            items=pa.table(
                {
                    "item_id": item_ids,
                    "released": pa.array(world.release_sec),
                    "true_audio_class": pa.array(world.audio.item_class),
                    "true_visual_class": pa.array(world.visual.item_class),
                }
            ),
            users=pa.table({"user_id": user_ids, "true_follows": pa.array(FOLLOWS[world.follows])}),
            features={
                modality: (item_ids.filter(pa.array(present)), values[present])
                for modality, (values, present) in self._features().items()
            },
            field_kinds=dict.fromkeys(("true_audio_class", "true_visual_class", "true_follows"), "ignore"),
            origin={"generator": "avrec.data.sources.simulated", "seed": self.seed},
        )

    def oracle(self) -> Float32:
        """(U, N) true affinity without popularity and freshness: no model can know more about a cold item."""
        return self._world.affinity.astype(np.float32)

    @cached_property
    def _world(self) -> "_World":
        return _World.drawn(self.num_users, self.num_items, self.num_classes, self.seed)

    def _features(self) -> dict[str, tuple[Float32, Bool]]:
        """Modality -> noisy, bent mixtures of the item's latent factors, and which items have it."""
        world = self._world
        draw = generator(self.seed, 0, "simulated/features")
        lottery = draw.random(self.num_items)
        present = {
            "audio": lottery >= self.missing_share,
            "visual": (lottery < self.missing_share) | (lottery >= 2 * self.missing_share),
            "text": draw.random(self.num_items) >= 2 * self.missing_share,
        }
        latent = {"audio": world.audio.item_latent, "visual": world.visual.item_latent}
        latent["text"] = np.hstack([latent["audio"], latent["visual"]])
        noise = {"audio": 0.5, "visual": 0.5, "text": 1.5}
        scale = {"audio": 0.4, "visual": 3.0, "text": 1.0}
        return {
            modality: (_mixture(latent[modality], dim, noise[modality], scale[modality], draw), present[modality])
            for modality, dim in FEATURE_DIMS.items()
        }

    def _log(self) -> tuple[Int64, Int64, Int64, Int64]:
        """User, item, event and time of each event: views, and minutes later some likes and shares."""
        world = self._world
        draw = generator(self.seed, 0, "simulated/log")
        user, item, time = self._views(draw)
        pleasure = world.affinity[user, item]
        columns = [(user, item, np.zeros(len(user), np.int64), time)]
        for code, (threshold, delay_sec) in enumerate(((5.5, 300), (8.0, 900)), start=1):
            happens = draw.random(len(user)) < 1.0 / (1.0 + np.exp(threshold - pleasure))
            delay = draw.integers(1, delay_sec, len(user))
            columns.append((user[happens], item[happens], np.full(happens.sum(), code), (time + delay)[happens]))
        user, item, event, time = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        return user, item, event, time

    def _views(self, draw: np.random.Generator) -> tuple[Int64, Int64, Int64]:
        """Views step by step: each user who is there takes distinct unseen released items by Gumbel top-k."""
        world = self._world
        step_sec = NUM_DAYS * DAY_SEC // NUM_STEPS
        seen = np.zeros((self.num_users, self.num_items), np.bool_)
        rate = world.activity * self.views_per_user / NUM_STEPS
        chosen = []
        for step in range(NUM_STEPS):
            now = START_SEC + step * step_sec
            there = world.join_sec <= now
            left = NUM_STEPS - np.maximum(0, world.join_sec - START_SEC) / step_sec
            wanted = np.where(there, draw.poisson(rate * NUM_STEPS / np.maximum(left, 6)), 0)
            users = np.flatnonzero(wanted)
            age_days = (now - world.release_sec) / DAY_SEC
            appeal = world.popularity + 2.0 * np.exp(-np.maximum(age_days, 0) / FRESH_DAYS)
            score = world.affinity[users] + appeal + _gumbel(draw, (len(users), self.num_items))
            score[:, age_days < 0] = -np.inf
            score[seen[users]] = -np.inf
            row, item = _best(score, np.minimum(wanted[users], 12))
            user = users[row]
            seen[user, item] = True
            chosen.append((user, item, now + draw.integers(0, step_sec, len(user))))
        user, item, time = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
        return user, item, time


@dataclass(frozen=True)
class _Sense:
    """One sense: classes, each item's latent factors around its class, each user's taste for them."""

    item_class: Int64
    item_latent: Float64
    liking: Float64

    @classmethod
    def drawn(cls, num_users: int, num_items: int, num_classes: int, draw: np.random.Generator) -> "_Sense":
        centres = np.linalg.qr(draw.standard_normal((num_classes, num_classes)))[0] * 2.0
        item_class = draw.integers(0, num_classes, num_items)
        item_latent = centres[item_class] + 0.5 * draw.standard_normal((num_items, num_classes))
        first, second = draw.integers(0, num_classes, (2, num_users))
        taste = centres[first] + 0.7 * centres[second] + 0.3 * draw.standard_normal((num_users, num_classes))
        return cls(item_class, item_latent, taste @ item_latent.T)


@dataclass(frozen=True)
class _World:
    """Everything that is true of the users and items."""

    audio: _Sense
    visual: _Sense
    follows: Int64
    affinity: Float64
    popularity: Float64
    activity: Float64
    release_sec: Int64
    join_sec: Int64

    @classmethod
    def drawn(cls, num_users: int, num_items: int, num_classes: int, seed: int) -> "_World":
        """Senses, tastes, popularity and times of one world; each has its own stream of random numbers."""
        audio = _Sense.drawn(num_users, num_items, num_classes, generator(seed, 0, "simulated/audio"))
        visual = _Sense.drawn(num_users, num_items, num_classes, generator(seed, 0, "simulated/visual"))
        draw = generator(seed, 0, "simulated/world")
        follows = draw.integers(0, len(FOLLOWS), num_users)
        both = -np.logaddexp(-audio.liking, -visual.liking)  # a smooth minimum: one sense alone does not please
        likings = np.stack([audio.liking, visual.liking, both])
        unseen = draw.standard_normal((num_users, HIDDEN_DIM)) @ draw.standard_normal((HIDDEN_DIM, num_items))
        affinity = likings[follows, np.arange(num_users)] + 0.5 * unseen
        span = NUM_DAYS * DAY_SEC
        release = np.where(draw.random(num_items) < 0.5, 0, draw.integers(0, span, num_items))
        late = draw.random(num_users) < 0.025
        join = np.where(late, draw.integers(span * 8 // 10, span * 97 // 100, num_users), 0)
        spread = draw.random(num_users) < 0.3
        join = np.where(spread & ~late, draw.integers(0, span // 2, num_users), join)
        return cls(
            audio=audio,
            visual=visual,
            follows=follows,
            affinity=affinity,
            popularity=draw.gumbel(0.0, 0.7, num_items),
            activity=draw.lognormal(-0.3, 0.75, num_users),
            release_sec=START_SEC + release,
            join_sec=START_SEC + join,
        )


def _mixture(latent: Float64, dim: int, noise: float, scale: float, draw: np.random.Generator) -> Float32:
    """(N, F): a linear and a bent reading of the factors, mixed, shifted, noisy, in the modality's own scale."""
    width = latent.shape[1]
    linear = latent @ draw.standard_normal((width, dim)) / np.sqrt(width)
    bent = np.tanh(latent @ draw.standard_normal((width, dim)))
    values = linear + bent + draw.standard_normal(dim) + noise * draw.standard_normal(linear.shape)
    return np.asarray(scale * values, np.float32)


def _gumbel(draw: np.random.Generator, shape: tuple[int, int]) -> Float64:
    """Gumbel noise; in float64, since the last bit of a logarithm differs between machines and must not decide a choice."""
    return -np.log(draw.standard_exponential(shape) + 1e-300)


def _best(score: Float64, wanted: Int64) -> tuple[Int64, Int64]:
    """Row and column of the `wanted[r]` largest finite scores of each row r."""
    most = min(int(wanted.max(initial=1)), score.shape[1])
    top = np.argpartition(-score, most - 1, axis=1)[:, :most]
    value = np.take_along_axis(score, top, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    top, value = np.take_along_axis(top, order, axis=1), np.take_along_axis(value, order, axis=1)
    take = (np.arange(most) < wanted[:, None]) & np.isfinite(value)
    row, rank = np.nonzero(take)
    return row.astype(np.int64), top[row, rank].astype(np.int64)
