import json
from pathlib import Path

import pytest

from avrec.pipelines.export import _tell


def test_what_an_export_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    report = {"kind": "ivf", "reason": "5.0 times the throughput", "recall": {"recall@100": 0.97}}
    (tmp_path / "recall_report.json").write_text(json.dumps(report))
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "large.npy").write_bytes(bytes(3 * 2**20))
    _tell(tmp_path)
    said = capsys.readouterr().out
    assert "search: ivf (5.0 times the throughput), recall@100 0.9700" in said and "(3.0 MiB)" in said
    assert "item_tower" not in said
    costs = {"recall@20": 0.25, "recall_loss": 0.0042, "centred_cosine": 0.9987, "bytes": 2**20, "cpu_ms": 1.5}
    whole = {"recall@20": 0.2511, "bytes": 4 * 2**20, "cpu_ms": 3.25}
    (tmp_path / "smaller.json").write_text(json.dumps({"item_tower": whole, "towers": {"int8": costs}}))
    _tell(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "item_tower_int8" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "item_tower_int8",
        "0.2500",
        "0.42%",
        "0.9987",
        "1.0",
        "1.50",
    ]
