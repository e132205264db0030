"""`avrec report` on a trained run, and without the packages of its extra."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from avrec.build.launch import launch
from avrec.build.model import ModelFile
from avrec.core.errors import ArtefactError, MissingExtraError
from avrec.pipelines import report
from tests.pipelines.world import write_tables
from tests.report.page_world import make_subject

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ["avrec", "report"]
SMALL = [
    "id_dim=16",
    "encoder.feature.dim=16",
    "fusion.num_heads=2",
    "stages.joint.max_epochs=2",
    "sampler.batch_size=128",
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# A page around the report measures it from outside, since nothing may run inside.
FRAME = """<!doctype html><iframe id="f" src="report.html" style="width:{width}px;height:3000px;border:0"></iframe><pre id="out"></pre>
<script>
onload = () => {{
  const page = document.getElementById("f").contentDocument, root = page.documentElement;
  const broken = [...page.images].filter(image => !image.complete || !image.naturalWidth).length;
  document.getElementById("out").textContent = JSON.stringify({{
    width: root.scrollWidth, height: root.scrollHeight, images: page.images.length, broken,
    scripts: page.scripts.length, wide: [...page.querySelectorAll("h2")].filter(one => one.getBoundingClientRect().right > {width}).length
  }}) + "END";
}};
</script>"""


def test_without_the_extra_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    subject = make_subject(tmp_path)
    found = ModelFile(subject.scorer.model, {}, "abc", 7, "0.1", {}, [])
    monkeypatch.setattr(report, "load", lambda *words: found)

    def refuse(module, extra):
        raise MissingExtraError(f"{module} is not here")

    monkeypatch.setattr(report, "require", refuse)
    assert report.write_report(tmp_path, tmp_path / "model.pt", subject.dataset, tmp_path, None) is None
    out = capsys.readouterr().out
    assert (
        "report: left out, since the extra 'report' is not installed. Get it with: pip install 'avrec[report]'" in out
    )
    assert (tmp_path / "model_card.md").is_file() and not (tmp_path / "report.html").exists()


def test_a_run_is_written_with_its_page_and_card(tmp_path, monkeypatch, capsys):
    subject = make_subject(tmp_path)
    found = ModelFile(subject.scorer.model, {}, "abc", 7, "0.1", {}, [])
    monkeypatch.setattr(report, "load", lambda *words: found)
    page = report.write_report(tmp_path, tmp_path / "model.pt", subject.dataset, tmp_path, None)
    assert page == tmp_path / "report.html" and page.stat().st_size > 100_000
    assert f"report: {page}" in capsys.readouterr().out


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"model.pt: no such file. Give run_dir=FOLDER"):
        launch("report", [f"run_dir={tmp_path}"], PROGRAM)
    with pytest.raises(ArtefactError, match="no such file"):
        launch("report", [f"run_dir={tmp_path / 'misspelt'}"], PROGRAM)
    assert list(tmp_path.parent.iterdir()) and not (tmp_path / "misspelt").exists(), "no empty folder is left"


def test_the_verb_reaches_the_extra_only_once_it_has_asked_for_it():
    """What is imported at the head of a module, followed through the package: torchmetrics too loads matplotlib, if it is there."""
    waiting, seen, outside = ["avrec.pipelines.report"], set(), set()
    while waiting:
        name = waiting.pop()
        path = ROOT / (name.replace(".", "/") + ".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            waiting += [name for name in names if name.startswith("avrec.")]
            outside |= {name.split(".")[0] for name in names}
    assert {"avrec.report.card", "avrec.report.page_run"} <= seen and "avrec.report.page" not in seen
    assert "torch" in outside and not outside & set(report.PACKAGES)


@pytest.mark.slow
def test_a_trained_run_looks_right_in_a_browser(tmp_path):
    run = tmp_path / "run"
    tables = write_tables(tmp_path / "tables")
    small = [*SMALL, "baseline=[popularity,ease]", f"data_dir={tmp_path / 'prepared'}", "trainer.log_every_n_steps=1"]
    small += ["rerank=prices"]
    launch("train", [f"run_dir={run}", *tables, *small], ["avrec", "train"])
    before = sorted(path.name for path in (run / ".hydra").iterdir())
    overrides = (run / ".hydra" / "overrides.yaml").read_bytes()
    launch("report", [f"run_dir={run}"], PROGRAM)
    assert sorted(path.name for path in (run / ".hydra").iterdir()) == before
    assert (run / ".hydra" / "overrides.yaml").read_bytes() == overrides
    text = (run / "report.html").read_text()
    assert "MMR, lambda 0.5" in text and "Left out: nothing was re-ranked" not in text
    assert "clip-09 [/live]" in text or "Clip 9" in text
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"NO BROWSER: none of {', '.join(BROWSERS)} is installed, so nobody looked at the page")
    for width in (1280, 390):
        found = measured(browser, run, width)
        assert found["width"] <= width and found["wide"] == 0, "nothing but tables may be wider than the screen"
        assert found["images"] >= 8 and found["broken"] == 0 and found["scripts"] == 0
        assert found["height"] > 3000


def measured(browser: str, folder: Path, width: int) -> dict[str, int]:
    """What a browser says of the page at a width."""
    (folder / "frame.html").write_text(FRAME.format(width=width))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--hide-scrollbars"]
    address = (folder / "frame.html").as_uri()
    answer = subprocess.run(
        [
            browser,
            *options,
            "--virtual-time-budget=4000",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "END" in answer.stdout, answer.stderr[-2000:]
    found: dict[str, int] = json.loads(answer.stdout.split('id="out">')[1].split("END")[0])
    return found
