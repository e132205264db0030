"""Parts of a bundle that it may have beside its tables and graphs: which files belong together, and what tells them."""

from collections.abc import Collection

from avrec.retrieval.storage import CELLS, CENTRES, INDEX, ITEM_MAP, ITEM_MEAN, QUERY_MAP

TOWERS = ("user_tower", "item_tower")
USER_TOWER, ITEM_TOWER = TOWERS
INDEX_FOLDER = "index"
SEARCH_INDEX = f"{INDEX_FOLDER}/{INDEX}"
RECALL_REPORT = "recall_report.json"
INDEX_CELLS = tuple(f"{INDEX_FOLDER}/{name}" for name in (CELLS, CENTRES, ITEM_MEAN, ITEM_MAP, QUERY_MAP))
VECTORS = "vectors.parquet"
HISTORY = "history.json"
LICENCES = "licences.json"
REQUESTS, RESPONSES = "examples/requests.json", "examples/responses.json"
PREPROCESSING = "preprocessing/{}/preprocessor_config.json"  # of each modality that comes as raw media
PROGRAMS = {tower: f"{tower}.pt2" for tower in TOWERS}
TRITON_FOLDER = "triton"
TRITON_CONFIGS = {tower: f"{TRITON_FOLDER}/{tower}/config.pbtxt" for tower in TOWERS}
TRITON_MODELS = {tower: f"{TRITON_FOLDER}/{tower}/1/model.onnx" for tower in TOWERS}
SMALLER = {kind: f"{ITEM_TOWER}_{kind}" for kind in ("int8", "fp16")}
SMALLER_REPORT = "smaller.json"


def files_of_parts(listed: Collection[str], media: Collection[str]) -> set[str]:
    """Every file of each part of which the manifest lists the first one.

    Args:
        listed: the names in the manifest.
        media: the modalities that come as raw media.
    """
    groups: list[tuple[str, ...]] = [
        (SEARCH_INDEX, RECALL_REPORT),
        INDEX_CELLS,
        (VECTORS,),
        (HISTORY,),
        (LICENCES,),
        (REQUESTS, RESPONSES),
        *((PREPROCESSING.format(name),) for name in media),
        tuple(PROGRAMS.values()),
        (*TRITON_CONFIGS.values(), *TRITON_MODELS.values()),
        *((f"{name}.onnx", SMALLER_REPORT) for name in SMALLER.values()),
    ]
    return {name for group in groups if group[0] in listed for name in group}
