"""`/recommend`, `/recommend/batch`, `/similar`: lists for users, histories and items."""

import asyncio

from fastapi import APIRouter, Request

from avrec.serving.desk import Desk
from avrec.serving.messages import Answer, BatchAnswer, BatchRequest, RecommendRequest, SimilarRequest
from avrec.serving.questions import question_of_item, question_of_user
from avrec.serving.refusals import REFUSALS, RefusedError

router = APIRouter(tags=["lists"], responses=REFUSALS)  # unset is `why` where nobody asked for it


@router.post("/recommend", response_model_exclude_unset=True)
async def recommend(asked: RecommendRequest, request: Request) -> Answer:
    """The best items for a known user or a history; popular items for whom the model does not know."""
    desk = Desk.at(request)
    question = question_of_user(desk.served, asked)
    return await desk.answer(question, asked.budget_ms, request.state.arrived)


@router.post("/recommend/batch", response_model_exclude_unset=True)
async def recommend_batch(asked: BatchRequest, request: Request) -> BatchAnswer:
    """Up to 256 requests at once, all answered from one bundle; if one is refused, all are."""
    desk = Desk.at(request)
    served, questions = desk.served, []
    for number, one in enumerate(asked.requests):
        try:
            questions.append(question_of_user(served, one))
        except RefusedError as error:
            raise RefusedError(error.status, f"requests.{number}.{error.text}") from None
    arrived = request.state.arrived
    answers = [
        desk.answer(question, one.budget_ms, arrived) for question, one in zip(questions, asked.requests, strict=True)
    ]
    return BatchAnswer(answers=await asyncio.gather(*answers))


@router.post("/similar", response_model_exclude_unset=True)
async def similar(asked: SimilarRequest, request: Request) -> Answer:
    """More like this item, by the cosine of its content, of its id vector, or the mean of both; or in the way that `by` names."""
    desk = Desk.at(request)
    if asked.by is None:
        question = question_of_item(desk.served, asked)
    else:  # the first question of a way makes its table, which takes a while
        question = await asyncio.to_thread(question_of_item, desk.served, asked)
    return await desk.answer(question, asked.budget_ms, request.state.arrived)
