"""The notebooks: stripped, the same on every machine, and run from first to last cell against a real bundle."""

import copy
import os
import re
from pathlib import Path

import pytest

from tests.test_architecture import HOSTS, SYSTEM_FOLDERS

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(rf"(?<![\w.:/])/(?!(?:{SYSTEM_FOLDERS})\b)(?:[\w.-]+/)+[\w.-]*")


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def leftovers(notebook):
    """What running a notebook, or another machine, left in it."""
    found = [f"metadata {name}" for name in notebook.metadata if name not in ("kernelspec", "language_info")]
    found += [f"language_info {name}" for name in notebook.metadata.get("language_info", {}) if name != "name"]
    for place, cell in enumerate(notebook.cells):
        found += [f"cell {place}: {name}" for name in ("outputs", "execution_count", "metadata") if cell.get(name)]
        hosts = set(re.findall(r"https?://([\w.-]+)", cell.source)) - HOSTS
        found += [f"cell {place}: {text}" for text in [*sorted(hosts), *ABSOLUTE.findall(cell.source)]]
    return found


def test_there_is_the_quickstart():
    assert "quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_stripped_and_names_no_machine(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert leftovers(notebook) == []
    assert notebook.metadata.kernelspec.name == "python3", "any environment's own interpreter"
    for cell in code(notebook):
        compile(cell.source, path.name, "exec")


def test_what_a_run_leaves_is_found():
    notebook = copy.deepcopy(read(ROOT / "notebooks" / "quickstart.ipynb"))
    cell = code(notebook)[0]
    place = notebook.cells.index(cell)
    cell.execution_count, cell.outputs = 3, [nbformat.v4.new_output("stream", text="hello")]
    cell.metadata["collapsed"] = True
    folder = "/".join(["", "home", "me", "bundle"])
    cell.source += f'\nBUNDLE = "{folder}"  # {"https:"}//{"example"}.com/a'
    notebook.metadata.language_info["version"] = "3.11"
    notebook.metadata["widgets"] = {"state": {}}
    where = f"cell {place}: "
    assert leftovers(notebook) == [
        "metadata widgets",
        "language_info version",
        where + "outputs",
        where + "execution_count",
        where + "metadata",
        where + "example.com",
        where + folder,
    ]


def test_it_opens_what_the_quickstart_leaves():
    paths = code(read(ROOT / "notebooks" / "quickstart.ipynb"))[0].source
    assert 'os.environ.get("AVREC_BUNDLE", "../runs/quickstart/bundle")' in paths
    assert "bundle_dir=runs/quickstart/bundle" in (ROOT / "Makefile").read_text()
    assert 'os.environ.get("AVREC_MEDIA", "../data/sample")' in paths
    assert "media_root: data/sample " in (ROOT / "conf" / "data" / "sample.yaml").read_text()


@pytest.fixture(scope="module")
def executed(quickstart, tmp_path_factory):
    """The notebook after a run in an empty folder."""
    client = pytest.importorskip("nbclient")
    pytest.importorskip("matplotlib")
    notebook = read(ROOT / "notebooks" / "quickstart.ipynb")
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("elsewhere"))}}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AVREC_BUNDLE": str(quickstart.bundle),
        "AVREC_MEDIA": str(quickstart.media),
        "AVREC_USER": "user00004",
    }
    client.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute(env=environment)
    return notebook


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def shown(cell):
    """How many pictures and sounds a cell shows."""
    data = [output.data for output in cell.outputs if output.output_type == "display_data"]
    sounds = [found["text/html"] for found in data if "<audio" in found.get("text/html", "")]
    assert all("data:audio/wav;base64," in sound for sound in sounds), "the sound itself, not a link to it"
    return sum("image/png" in found for found in data), len(sounds)


def cell_with(notebook, text):
    [found] = [cell for cell in code(notebook) if text in cell.source]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_cell_runs_and_one_sees_and_hears(executed, quickstart):
    from avrec.bundle.reader import Bundle
    from avrec.bundle.recommender import Recommender

    cells = code(executed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {(output.output_type, output.get("name", "")) for cell in cells for output in cell.outputs}
    assert kinds == {("stream", "stdout"), ("display_data", "")}, "neither warnings nor errors"

    bundle = Bundle.open(quickstart.bundle)
    opened = printed(cell_with(executed, "Bundle.open"))
    assert f"40 users, 24 items, {(bundle.evidence == 0).sum()} of them cold" in opened
    assert (bundle.evidence == 0).any() and "PyTorch in this process: False" in opened

    history = bundle.history.user_counts[bundle.users.index(["user00004"])[0]]
    assert f"user00004 watched {history} films" in printed(cell_with(executed, "watched ="))
    for text, least in (
        ("watched =", 4),
        ("recommender.for_users([USER], K)", 4),
        ("allowed=is_cold", 1),
        ("near =", 3),
    ):
        cell = cell_with(executed, text)
        pictures, sounds = shown(cell)
        lacking = printed(cell).count("(no_stream)")
        assert pictures + sounds + lacking >= 2 * least and min(pictures, sounds) >= least - lacking, text

    [new] = Recommender(bundle).for_users(["user00004"], 24)
    assert sum(bundle.evidence[bundle.items.index(new.item_ids)] == 0) > 0, "a cold item is left to recommend"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_upload_is_embedded_and_finds_its_audience(executed):
    assert shown(cell_with(executed, "barh")) == (1, 0)
    cell = cell_with(executed, "TemporaryDirectory()")
    assert shown(cell) == (1, 1)
    text = printed(cell)
    assert "problems: []" in text
    shares = [float(share) for share in re.findall(r"'(?:audio|video)': ([\d.]+)", text)]
    assert len(shares) == 2 and sum(shares) == pytest.approx(1, abs=0.011) and min(shares) > 0
    audience = printed(cell_with(executed, "own_score ="))
    places = [int(place) for place in re.findall(r"^user\d{5}: place (\d+)$", audience, re.MULTILINE)]
    assert len(places) == 5 and places == sorted(places) and 1 <= places[0]
    in_ten, users = map(int, re.search(r"first 10 of (\d+) of (\d+) users", audience).groups())
    assert users == 40 and in_ten >= sum(place <= 10 for place in places)
