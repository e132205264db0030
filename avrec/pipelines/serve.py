"""`avrec serve`: a bundle's answers over HTTP, without PyTorch."""

import os
from pathlib import Path

from omegaconf import DictConfig

from avrec.core.errors import require
from avrec.serving.settings import ServerSettings

KEY_VARIABLE = "AVREC_API_KEY"


def run(config: DictConfig) -> None:
    """Serve `config.bundle_dir` until SIGTERM.

    The key comes from the environment variable AVREC_API_KEY alone: a command line shows in the list of processes.
    """
    settings = ServerSettings(
        bundle_dir=Path(config.bundle_dir),
        host=str(config.host),
        port=int(config.port),
        api_key=os.environ.get(KEY_VARIABLE) or None,
        hosts=tuple(str(name).lower() for name in config.hosts),
        bundle_root=None if config.bundle_root is None else Path(config.bundle_root),
        media_root=None if config.media_root is None else Path(config.media_root),
        budget_ms=float(config.budget_ms),
        max_body_bytes=int(config.max_body_bytes),
        max_tensor_bytes=int(config.max_tensor_bytes),
        max_upload_bytes=int(config.max_upload_bytes),
        max_uploads=int(config.max_uploads),
    )
    for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "onnxruntime"):
        require(module, "serve")
    from avrec.serving.run import serve

    serve(settings)
