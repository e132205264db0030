import json

from avrec.export.licences import licences
from tests.export.media_world import MediaWorld


def test_every_encoder_and_the_data_are_named(media_world: MediaWorld) -> None:
    encoders = {name: media_world.model.item_tower.encoders[name] for name in ("audio", "video")}
    told = licences(encoders, {"audio": "MIT, as the package x says"}, "movielens", None)
    assert told["data"]["licence"].startswith("GroupLens MovieLens: research use")
    assert [one["licence"] for one in told["encoders"]] == ["MIT, as the package x says", "not stated by its source"]
    assert told["encoders"][0] == {
        "modality": "audio",
        "encoder": "WhisperEncoder",
        "weights": "nowhere",
        "revision": "r",
        "licence": "MIT, as the package x says",
    }
    assert licences({}, {}, "movielens", "ours alone")["data"] == {"name": "movielens", "licence": "ours alone"}
    assert licences({}, {}, "tables", None)["data"]["licence"] == "not stated by its source"


def test_the_bundle_and_its_card_say_so(media_world: MediaWorld) -> None:
    told = json.loads((media_world.folder / "licences.json").read_text())
    assert told["data"] == {"name": "tiny <world>", "licence": "not stated by its source"}
    card = (media_world.folder / "card.md").read_text()
    assert "## Licences\nData: not stated by its source.\naudio: nowhere, not stated by its source.\nvideo:" in card
