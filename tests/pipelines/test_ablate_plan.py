"""Which variants a study trains on which data, what they are called, and why others are left out."""

import json

import pytest
from omegaconf import OmegaConf

from avrec import __version__
from avrec.build.compose import ConfigPlace, compose
from avrec.build.help import group_options
from avrec.build.paths import conf_dir
from avrec.core.errors import ConfigError
from avrec.pipelines.ablate_plan import Line, every_run, make_plan, slug
from avrec.pipelines.ablate_templates import NEEDS, Template, World, expanded
from avrec.pipelines.claims import check_claim, claimed, differences

OPTIONS = {name: tuple(found) for name, found in group_options(conf_dir()).items() if "/" not in name}
STAGES = {"{id_stage}": ("joint",), "{other_stage}": ("top",)}
DATA = ("data=prepared", "data.path=somewhere")


def world(*modalities, has=(), finished=None, stages=STAGES):
    present = {*has, *(["modalities", "features"] if modalities else [])}
    return World(
        modalities, frozenset(modalities if finished is None else finished), frozenset(present), stages, OPTIONS
    )


THREE = world("audio", "text", "visual")


def default_study(mine=None, names=None, where=THREE, study="all", line=()):
    studies = OmegaConf.load(conf_dir() / "ablation" / "default.yaml")
    studies.mine = mine or {}
    config = OmegaConf.create({"ablation": studies, "variants": names, "study": study})
    return make_plan(Line(ConfigPlace("train"), (*line, *DATA)), config, where)


def words_of(plan):
    return {one.name: list(one.words) for one in plan.variants}


def reasons(plan):
    return {one.name: one.reason for one in plan.left_out}


def filled(where, study, **entries):
    return {
        one.name: found if isinstance(found, str) else list(found.words)
        for one, found in expanded(study, entries, where)
    }


def test_a_template_of_modalities_becomes_one_variant_each():
    entries = {"without-{modality}": ["modalities={others}"], "only-{modality}": ["modalities=[{modality}]"]}
    assert filled(THREE, "m", **entries) == {
        "without-audio": ["modalities=['text','visual']"],
        "without-text": ["modalities=['audio','visual']"],
        "without-visual": ["modalities=['audio','text']"],
        "only-audio": ["modalities=['audio']"],
        "only-text": ["modalities=['text']"],
        "only-visual": ["modalities=['visual']"],
    }
    alone = filled(world("audio"), "m", **entries)
    assert alone["without-audio"] == "the model has no other modality; see 'ids-alone'."
    nothing = filled(world(), "m", **entries)
    assert nothing == {name: "the model uses no modality." for name in entries}


def test_a_template_of_a_group_becomes_one_variant_an_option():
    found = filled(THREE, "f", **{"fusion:{fusion}": ["fusion={fusion}", "id_dim=8"]})
    assert set(found) == {f"fusion:{option}" for option in OPTIONS["fusion"]}
    assert found["fusion:latent"] == ["fusion=latent", "id_dim=8"]


def test_a_word_about_stages_is_repeated_for_each():
    two = world("audio", stages={"{id_stage}": ("ids", "both"), "{other_stage}": ()})
    entries = {
        "bare": {
            "needs": "modalities",
            "words": ["modalities=[]", "stages.{id_stage}.weights.content=0", "~stages.{other_stage}"],
        }
    }
    assert filled(two, "m", **entries)["bare"] == [
        "modalities=[]", "stages.ids.weights.content=0", "stages.both.weights.content=0",
    ]  # fmt: skip
    assert filled(THREE, "m", **entries)["bare"][1:] == ["stages.joint.weights.content=0", "~stages.top"]
    assert filled(world(), "m", **entries)["bare"] == "the model uses no modality."


@pytest.mark.parametrize("need", NEEDS)
def test_what_the_data_set_lacks_is_named(need):
    entries = {"one": {"needs": need, "words": ["id_dim=8"]}}
    assert filled(world(has=[need]), "s", **entries)["one"] == ["id_dim=8"]
    assert filled(world(), "s", **entries)["one"] == f"{NEEDS[need]}."


def test_noise_is_drawn_for_vectors_alone():
    mixed = world("audio", "tags", finished=["audio"])
    entries = {"random": ["control=random"], "permuted": ["control=permuted"]}
    assert filled(mixed, "c", **entries) == {
        "random": "tags is not made of finished vectors, which alone can be drawn anew.",
        "permuted": ["control=permuted"],
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("id_dim=8", "ablation.s: 'x': 'id_dim=8' is not a list of words such as"),
        ([1], r"ablation.s: 'x': \[1\] is not a list of words"),
        ({"needs": "social"}, r"ablation.s: 'x' has the keys \['needs'\]; expected words, and perhaps needs"),
        ({"needs": "frends", "words": []}, "ablation.s: 'x': needs 'frends', which is none of modalities,"),
        ({"words": [], "word": []}, r"has the keys \['word', 'words'\]"),
    ],
)
def test_an_entry_that_is_written_wrongly(entry, message):
    with pytest.raises(ConfigError, match=message):
        Template.of("s", "x", entry)


NAMES = ["start:random", "start:look_up", "without-audio", "ids-alone", "content-permuted", "without-gate"]


def test_variants_of_the_default_studies():
    plan = default_study(names=NAMES)
    assert words_of(plan) == {
        "start:look_up": ["start=look_up", "user_table.enabled=true"],
        "without-audio": ["modalities=['text','visual']"],
        "ids-alone": [
            "modalities=[]", "stages.joint.weights.content=0", "stages.joint.weights.joint=0",
            "stages.joint.weights.alignment=0", "~stages.top",
        ],
        "content-permuted": [],
        "without-gate": ["++grid.kappas=[0.0]"],
    }  # fmt: skip
    assert reasons(plan) == {"start:random": "it is what 'reference' is already."}
    assert [one.name for one in plan.variants if one.after_stages] == ["without-gate"]
    assert [one.control for one in plan.variants if one.control] == ["permuted"]
    assert plan.reference.settings["start"]["_target_"].endswith("RandomStart")
    assert "seed" not in plan.reference.settings
    runs = [(variant.name, seed) for variant, seed in every_run(plan, [4, 2])]
    assert [name for name, seed in runs if seed == 4] == ["reference", *words_of(plan)]
    assert [seed for name, seed in runs if name == "reference"] == [4, 2]
    assert [seed for _, seed in runs] == [4] * 6 + [2] * 6


def test_two_variants_that_are_the_same_are_trained_once():
    plan = default_study(names=["without-audio", "only-text"], where=world("audio", "text"))
    assert list(words_of(plan)) == ["without-audio"]
    assert reasons(plan) == {"only-text": "it is what 'without-audio' is already."}


def test_repeating_the_reference_on_purpose():
    plan = default_study({"again": [], "wide": ["id_dim=128"]}, study="mine")
    assert words_of(plan) == {"again": [], "wide": ["id_dim=128"]}
    assert not plan.variants[0].after_stages


def test_what_an_experiment_set_for_another_option_is_taken_away():
    line = ["+experiment=short_video_tiktok"]
    names = ["fusion:attention", "fusion:weighted_sum", "with-joint-loss", "without-content-loss"]
    stages = {"{id_stage}": ("ids",), "{other_stage}": ()}
    plan = default_study(names=names, line=line, where=world("visual", "audio", stages=stages))
    found = {one.name: one for one in plan.variants}
    assert found["fusion:attention"].words == ("fusion=attention", "~fusion.weights")
    assert found["fusion:attention"].note == "without fusion.weights, which the reference sets and this does not know"
    assert (found["fusion:weighted_sum"].words, found["fusion:weighted_sum"].note) == (("fusion=weighted_sum",), "")
    assert found["with-joint-loss"].words == ("stages.ids.weights.joint=0.5",)
    assert reasons(plan) == {"without-content-loss": "it is what 'reference' is already."}


def test_words_that_do_not_compose_leave_a_variant_out_with_the_reason():
    mine = {"key": ["stages.joint.max_epoch=2"], "argument": ["++grid.kapas=[1.0]"]}
    plan = default_study(mine, study="mine")
    assert plan.variants == ()
    assert "stages.joint.max_epoch: no such key; did you mean 'stages.joint.max_epochs'?" in reasons(plan)["key"]
    assert "has no argument 'kapas'; did you mean 'kappas'?" in reasons(plan)["argument"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"study": "starts"}, "study: 'starts': no such study; did you mean 'start'?"),
        (
            {"names": ["without-adio"], "study": ["modalities"]},
            "variants: 'without-adio': no such variant; did you mean 'without-audio'?",
        ),
        (
            {"mine": {"x": ["control=shuffled"]}, "study": "mine"},
            "ablation.mine: control=shuffled: is none of permuted, random",
        ),
        (
            {"mine": {"Reference": ["id_dim=8"]}, "study": "mine"},
            "'Reference' and 'reference' would share the folder reference. Rename one of them.",
        ),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigError) as caught:
        default_study(**options)
    assert message in str(caught.value)


def test_a_folder_depends_on_the_name_alone_and_no_two_names_share_one():
    names = ["only Ton/Bild", "only Ton.Bild", "ä", "ö", "x" * 70, "x" * 71, "../up", ".", "a"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(text and "/" not in text and not text.startswith(".") and len(text) <= 70 for text in slugs)


def test_settings_are_compared_without_seed_and_folder(tmp_path):
    one, other = (
        claimed(compose("train", words))
        for words in (["seed=1", "run_dir=a"], ["seed=2", "run_dir=b", "num_threads=2"])
    )
    assert one == other
    third = claimed(compose("train", ["id_dim=32"]))
    assert differences(one, third) == ["id_dim"]
    check_claim(tmp_path, one)  # nobody's yet
    claim = {"code_version": __version__, "data_hash": "old", "config": {"id_dim": 64, "seed": 9, "a": {"b": 1}}}
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    check_claim(tmp_path, {"id_dim": 64, "a": {"b": 1}})
    check_claim(tmp_path, {"id_dim": 64, "a": {"b": 1}}, "old")
    with pytest.raises(ConfigError, match=r"holds a run with another data_hash[.]"):
        check_claim(tmp_path, {"id_dim": 64, "a": {"b": 1}}, "new")
    with pytest.raises(ConfigError, match=r"holds a run with another a.b, id_dim. Choose another run_dir"):
        check_claim(tmp_path, {"id_dim": 32, "a": {"b": 2}})


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["simulated", "quickstart", "movies_ml100k"])
def test_every_variant_of_the_default_file_fits_or_says_why(experiment):
    modalities = () if experiment == "movies_ml100k" else ("audio", "visual")
    stages = {"{id_stage}": ("ids",), "{other_stage}": ()} if experiment == "movies_ml100k" else STAGES
    plan = default_study(line=[f"+experiment={experiment}"], where=world(*modalities, stages=stages))
    left_out = {name: reason for name, reason in reasons(plan).items() if "already" not in reason}
    allowed = set(NEEDS.values())
    assert all(reason.rstrip(".") in allowed for reason in left_out.values()), left_out
    assert len(plan.variants) >= (8 if experiment == "movies_ml100k" else 20)
