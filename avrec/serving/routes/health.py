"""`/health/live`, `/health/ready`, `/metrics`."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from avrec.serving.desk import Desk
from avrec.serving.messages import Health
from avrec.serving.metrics import CONTENT_TYPE
from avrec.serving.refusals import REFUSALS

router = APIRouter(tags=["state"], responses=REFUSALS)


@router.get("/health/live")
async def live() -> Health:
    """Whether the process answers."""
    return Health(status="live")


@router.get("/health/ready", responses={503: {"model": Health}})
async def ready(request: Request, response: Response) -> Health:
    """Whether a bundle is open and the thread that ranks is alive; 503 if not."""
    desk = Desk.at(request)
    response.status_code = 200 if desk.batcher.alive else 503
    return Health(status="ready" if desk.batcher.alive else "not ready", bundle=desk.served.version)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}}
)
async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    desk = Desk.at(request)
    return Response(desk.metrics.text(desk.served, desk.batcher.num_waiting), media_type=CONTENT_TYPE)
