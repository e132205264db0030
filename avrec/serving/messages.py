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

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
Weight = Annotated[float, Field(gt=0, le=MAX_WEIGHT, allow_inf_nan=False)]
AgeDays = Annotated[float, Field(ge=0, le=MAX_AGE_DAYS, allow_inf_nan=False)]
Ids = Annotated[list[Id], Field(max_length=MAX_FILTER_IDS)]
BudgetMs = Annotated[float, Field(gt=0, le=MAX_BUDGET_MS, allow_inf_nan=False)]
AnsweredBy = Literal["known user", "history", "item", "upload", "popularity"]
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


class RecommendRequest(Wish):
    """A known user, a history, or both; with neither, or for an unknown user without one, popular items come."""

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
    exclude_seen: bool = Field(default=True, description="Do not show what the user's history holds.")

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        for name, values in (("weights", self.weights), ("ages_days", self.ages_days)):
            if values is not None and len(values) != len(self.history or ()):
                raise ValueError(f"{name} has {len(values)} entries; history has {len(self.history or ())}")
        return self


class BatchRequest(Asked):
    """Several questions at once; each is answered as if it came alone."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_BATCH)


class SimilarRequest(Wish):
    """More like this item, which is not in the list itself."""

    item: Id


class SwapRequest(Asked):
    """Another bundle to serve from."""

    bundle_dir: str = Field(min_length=1, max_length=4096, description="A folder below the server's `bundle_root`.")


class RankedItem(BaseModel):
    """An item of a list."""

    item: str
    score: float


class Answer(BaseModel):
    """A list, best first.

    `answered_by` says from what: `known user` from the bundle's own tables; `history` from the given events; `item` or
    `upload` by likeness to it; `popularity` by the number of training events, for whom the model knows nothing of in the asked
    mode, or where `degraded` says why the model did not answer: `time` (the budget was over), `load` (too many were
    waiting), `fault` (the model failed). Scores of different ways do not compare.
    """

    items: list[RankedItem]
    answered_by: AnsweredBy
    degraded: Degraded | None = None
    mode: Mode
    unknown_items: list[str] = Field(
        description="Items of the request that this bundle does not know, without repetition."
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
    """Every answer with a status of 400 or more."""

    error: str
