"""What the server takes and gives, as pydantic models: they check every field and write the OpenAPI description."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from avrec.serving.spaces import Mode

MAX_ID_CHARS = 512
MAX_K = 1000
MAX_HISTORY = 2000
MAX_FILTER_IDS = 10_000
MAX_BATCH = 256
MAX_BUDGET_MS = 60_000.0
MAX_WEIGHT = 1e6
MAX_AGE_DAYS = 1e5
MAX_INTERESTS = 100
MAX_FRIENDS = 50
MAX_FIELDS = 32

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
Weight = Annotated[float, Field(gt=0, le=MAX_WEIGHT, allow_inf_nan=False)]
AgeDays = Annotated[float, Field(ge=0, le=MAX_AGE_DAYS, allow_inf_nan=False)]
Ids = Annotated[list[Id], Field(max_length=MAX_FILTER_IDS)]
BudgetMs = Annotated[float, Field(gt=0, le=MAX_BUDGET_MS, allow_inf_nan=False)]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
FieldValue = Annotated[str, StringConstraints(max_length=MAX_ID_CHARS)] | Annotated[float, Field(allow_inf_nan=False)]
AnsweredBy = Literal["known user", "history", "interests", "friends", "fields", "item", "upload", "popularity"]
Degraded = Literal["time", "load", "fault"]


class Asked(BaseModel):
    """The base of what the server takes: a field that is unknown or of another type is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Wish(Asked):
    """What every question for a list may say."""

    k: int = Field(default=10, ge=1, le=MAX_K, description="Length of the list; fewer come where fewer may be shown.")
    mode: Mode = Field(
        default="hybrid",
        description="hybrid: the model's own score. content: by sound, picture and text alone, over items that have any. "
        "collaborative: by who liked what alone, over items with training events.",
    )
    exclude: Ids = Field(default_factory=list, description="Items not to show.")
    only: Ids | None = Field(default=None, description="Show nothing but these items.")
    budget_ms: BudgetMs | None = Field(
        default=None, description="Time for the answer; when it is over, popular items come at once, marked `degraded`."
    )
    explain: bool = Field(default=False, description="Say of each item why: the parts that its score is the sum of.")


class RecommendRequest(Wish):
    """A known user, a history, or both; who has no history is answered from interests, friends, fields, or popularity.

    The first of these that the request tells and the bundle understands is used; interests count beside a history too, the
    less the longer it is. What the bundle does not know is named in the answer.
    """

    user: Id | None = Field(
        default=None, description="An id of the bundle's. With a history, that one replaces the stored one."
    )
    history: list[Id] | None = Field(
        default=None,
        max_length=MAX_HISTORY,
        description="Items, oldest first. Unknown ones are left out and named in the answer.",
    )
    weights: list[Weight] | None = Field(
        default=None, max_length=MAX_HISTORY, description="Strength of each event, 1 if not said."
    )
    ages_days: list[AgeDays] | None = Field(
        default=None, max_length=MAX_HISTORY, description="Age of each event, 0 if not said."
    )
    interests: list[Id] | None = Field(
        default=None, max_length=MAX_INTERESTS, description="Tags; /interests lists them."
    )
    interest_weights: list[Weight] | None = Field(
        default=None,
        max_length=MAX_INTERESTS,
        description="How much each interest counts beside the others, 1 if not said.",
    )
    friends: list[Id] | None = Field(default=None, max_length=MAX_FRIENDS, description="Ids of users of the bundle's.")
    fields: Annotated[dict[FieldName, FieldValue], Field(max_length=MAX_FIELDS)] | None = Field(
        default=None, description="Such as an age or a country; /fields lists them."
    )
    exclude_seen: bool = Field(default=True, description="Do not show what the user's history holds.")

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        for name, values, owner, owned in (
            ("weights", self.weights, "history", self.history),
            ("ages_days", self.ages_days, "history", self.history),
            ("interest_weights", self.interest_weights, "interests", self.interests),
        ):
            if values is not None and len(values) != len(owned or ()):
                raise ValueError(f"{name} has {len(values)} entries; {owner} has {len(owned or ())}")
        return self


class BatchRequest(Asked):
    """Several questions at once; each is answered as if it came alone."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_BATCH)


class SimilarRequest(Wish):
    """More like this item, which is not in the list itself."""

    item: Id
    by: Id | None = Field(
        default=None,
        description="Which likeness counts, instead of `mode`: content, taste, time (when people use them), sound, picture, or "
        "the name of a modality; what this bundle can is named where another is asked for.",
    )

    @model_validator(mode="after")
    def _explicable(self) -> Self:
        if self.by is not None and self.explain:
            raise ValueError("explain takes the score of a mode apart; leave out by")
        return self


class SwapRequest(Asked):
    """Another bundle to serve from."""

    bundle_dir: str = Field(min_length=1, max_length=4096, description="A folder below the server's `bundle_root`.")


class Why(BaseModel):
    """The parts of a score, which is `taste + popularity + content` up to the rounding of single precision.

    They are the inner products of the segments that users' and items' vectors consist of, as far as the mode uses them: by
    content there is no taste and no popularity, collaboratively no content.
    """

    taste: float = Field(
        description="By who liked what: of the id segments. An item that nobody has met has in them what its neighbours in "
        "content lend it."
    )
    popularity: float = Field(
        description="What is added for every user alike: the item's bias, or the offset of items that nobody has met."
    )
    content: float = Field(description="By what the item is: of the content segments.")
    modalities: dict[str, float] = Field(
        description="`content`, divided by how much each modality made up of the item's content; empty where the item has none "
        "or the bundle does not say."
    )


class RankedItem(BaseModel):
    """An item of a list."""

    item: str
    score: float
    why: Why | None = Field(
        default=None, description="There where the request says `explain` and the model, not popularity, answered."
    )


class Answer(BaseModel):
    """A list, best first.

    `answered_by` says from what: `known user` from the bundle's own tables; `history` from the given events; `interests`,
    `friends` or `fields` from these, for who has no history; `item` or `upload` by likeness to it; `popularity` by the number of
    training events, for whom the model knows nothing of in the asked mode, or where `degraded` says why the model did not answer: `time` (the budget was over), `load` (too many were
    waiting), `fault` (the model failed). Scores of different ways do not compare.
    """

    items: list[RankedItem]
    answered_by: AnsweredBy
    degraded: Degraded | None = None
    mode: Mode
    by: str | None = Field(
        default=None, description="There where the request says which likeness counts instead of `mode`."
    )
    unknown_items: list[str] = Field(
        description="Items of the request that this bundle does not know, without repetition."
    )
    unknown_interests: list[str] = Field(
        default=[], description="Stated interests that nobody's history carries; there where the request states any."
    )
    unknown_friends: list[str] = Field(
        default=[], description="Friends whom this bundle does not know; there where the request names any."
    )
    unknown_fields: list[str] = Field(
        default=[],
        description="Fields that this bundle does not know, or not with that value; there where the request has any.",
    )
    bundle: str = Field(description="The version of the bundle that answered.")


class BatchAnswer(BaseModel):
    """One answer for each request, in order."""

    answers: list[Answer]


class UploadAnswer(Answer):
    """What resembles an upload, and what was read from it."""

    shares: dict[str, float] = Field(description="How much each modality made up of the upload's vector.")
    problems: list[str] = Field(description="What could not be read; the rest was used.")
    notes: list[str] = Field(description="What a person should know of what was used.")


class Health(BaseModel):
    """The state of the server."""

    status: Literal["live", "ready", "not ready"]
    bundle: str | None = None


class SwapAnswer(BaseModel):
    """Versions and folders before and after a swap."""

    bundle: str
    bundle_dir: str
    previous: str
    previous_dir: str
    seconds: float


class Refusal(BaseModel):
    """Every answer with a status of 400 or more, but for a `Range` of `/media` that cannot be served (plain text)."""

    error: str
