"""The configuration: every experiment composes, and mistakes are named before any work."""

import copy
import inspect
import re
from functools import cache
from itertools import product

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from btrnn.data.captions.coco import CaptionedImages
from btrnn.data.mnist import MNIST
from btrnn.data.video.dataset import VideoClips
from btrnn.engine.config import ConfigError, check_targets, read_config, refuse_other_run, register, science
from btrnn.engine.overrides import check_overrides, checked_command, first_job, first_of_each, group_choices
from btrnn.engine.renamed import RENAMED
from btrnn.engine.run import train
from btrnn.engine.weights import read_weights
from btrnn.storage.stand_ins import STAND_INS

from .conftest import ROOT
from .processes import run_script

CONFIGS = ROOT / "configs"


@cache
def composed_once(*overrides):
    register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


def composed(*overrides):
    """Compose, a quarter of a second the first time; what is returned may be changed."""
    return copy.deepcopy(composed_once(*overrides))


def names(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@cache
def member(group, name):
    """Return a member of a group, without composing all the others."""
    path = CONFIGS / group / f"{name}.yaml"
    config = OmegaConf.load(path)
    bases = [base.removesuffix("@_here_") for base in config.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*(member(path.parent, base) for base in bases), config)


def in_turn(choices, turn):
    turn %= len(choices)
    return choices[turn:] + choices[:turn]


def test_jobs_of_a_cluster_have_a_gpu_and_go_on_when_their_time_is_over():
    words = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=long",
        "experiment=ucf11",
        "model=lstm",
        "seed=0",
    ]
    done = run_script(ROOT / "experiments" / "train.py", *words, "--cfg", "hydra", "--package", "hydra.launcher")
    assert done.returncode == 0, done.stderr
    assert "UserWarning" not in done.stderr
    launcher = OmegaConf.create(done.stdout)
    asked = ("gpus_per_node", "mem_gb", "timeout_min", "max_num_timeout", "partition")
    assert [launcher[name] for name in asked] == [1, 16, 240, 20, "long"]


def fits_the_code(config):
    check_targets(config)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_choice_fits_the_code(experiment):
    """Composed with one model and scale, each in its turn; the others are put in their places, in less time."""
    models, scales = (in_turn(names(group), names("experiment").index(experiment)) for group in ("model", "scale"))
    config = composed(f"experiment={experiment}", f"scale={scales[0]}", f"model={models[0]}")
    fits_the_code(config)
    for group, name in (("model", models[0]), ("scale", scales[0])):
        assert config[group] == member(group, name)  # so are the others, then
    OmegaConf.set_struct(config, value=False)
    for model, scale in zip(models, scales * len(models), strict=False):
        config.model, config.scale = member("model", model), member("scale", scale)
        assert {scale, model} <= set(config.tags)
        assert config.name.startswith(config.model.label)
        check_targets(config.model)
        for part in (config.model, config.task, config.cell, config.data, config.trainer):
            OmegaConf.to_container(part, resolve=True, throw_on_missing=True)
    for scale in names("scale"):
        config.scale = member("scale", scale)
        for config.model.name in names("model"):
            assert isinstance(config.task.learning_rate, float)


def test_paper_scale_has_the_papers_values():
    config = composed("scale=paper")
    assert (config.trainer.max_epochs, config.data.num_clips, config.data.batch_size) == (500, 1600, 16)
    assert (config.task.learning_rate, config.task.learning_rate_decay) == (1e-4, 1.6667e-4)
    assert (config.data.num_frames, config.data.scaling, config.data.protocol) == (6, "raw", "paper")
    assert config.cell.init == "paper"
    assert composed("scale=paper", "data.scaling=normalized").cell.init == "default"
    assert composed("model=lstm").model.layer.input_dropout == 0.25
    assert "input_dropout" not in composed("model=bt_lstm").model.layer


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (["scale=smoke"], (1e-3, 1e-3, 1e-3)),
        (["scale=default"], (3e-3, 1e-3, 1e-3)),
        (["scale=extended", "data.scaling=normalized"], (3e-5, 1e-3, 1e-3)),
        (["scale=extended", "experiment=draw"], (4e-3, 8e-3, 8e-3)),
        (["scale=default", "experiment=draw_attention"], (8e-3, 8e-3, 8e-3)),
        (["scale=default", "experiment=draw_mnist"], (3e-3, 3e-3, 3e-3)),
        (["scale=default", "experiment=draw_mnist", "data=mnist_5k"], (4e-3, 8e-3, 8e-3)),
        (["scale=default", "experiment=captioning"], (1e-3, 2e-3, 2e-3)),
        (["scale=paper", "experiment=captioning"], (1e-3, 1e-3, 1e-3)),
        (["scale=default", "experiment=captioning", "data=flickr8k"], (1e-3, 3e-3, 3e-3)),
        (["scale=extended", "experiment=captioning_flickr8k"], (1e-3, 3e-3, 3e-3)),
        (["scale=smoke", "experiment=captioning_flickr8k"], (2e-3, 2e-3, 2e-3)),
    ],
)
def test_rates_are_those_of_the_scale_and_the_model(words, rates):
    found = (composed(*words, f"model={model}").task.learning_rate for model in ("lstm", "tt_lstm", "bt_lstm"))
    assert tuple(found) == rates


def test_a_model_that_no_search_was_for_has_the_rate_of_any():
    config = composed("scale=default", "model=lstm", "model.name=another")
    assert config.task.learning_rate == config.rates.default.any == 1e-3


@pytest.mark.parametrize("experiment", ["ucf11", "draw", "captioning"])
def test_scaled_rates_reach_the_task_and_stand_in_the_name(experiment):
    one, each = (composed(f"experiment={experiment}", f"optimizer.scaled={scaled}") for scaled in ("false", "true"))
    assert (one.task.scaled, each.task.scaled) == (False, True)
    assert each.name == f"{one.name}-scaled"
    assert one.run_dir == composed(f"experiment={experiment}").run_dir


def test_a_run_from_before_there_were_scaled_rates_is_known_again(tmp_path):
    config = composed("model=lstm")
    older = OmegaConf.to_container(config, resolve=True)
    del older["optimizer"], older["task"]["scaled"]
    OmegaConf.save(older, tmp_path / "config.yaml")
    refuse_other_run(config, tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"task\.scaled: False there, True now"):
        refuse_other_run(composed("model=lstm", "optimizer.scaled=true"), tmp_path / "config.yaml")


def test_names_tell_apart_all_that_is_swept():
    choices = []
    for model, scale in product(("lstm", "tt_lstm", "bt_lstm"), ("smoke", "default", "paper")):
        config = composed(f"model={model}", f"scale={scale}")
        for config.data.protocol, config.data.scaling in product(("paper", "grouped"), ("raw", "normalized")):
            choices.append(config.run_dir)
    assert len(set(choices)) == 36
    ranks = {composed("model=bt_lstm", f"model.layer.tucker_rank={rank}").run_dir for rank in (1, 2, 4)}
    assert len(ranks) == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sede=1", "Did you mean 'seed'"),
        ("trainer.max_epoch=1", "Did you mean 'max_epochs'"),
        ("task.network.num_class=3", "num_classes"),
        ("data.batchsize=3", "Did you mean 'batch_size'"),
        ("nothing.like.this=1", "there is no key"),
    ],
)
def test_misspelt_override_says_which_keys_there_are(override, message):
    with pytest.raises(ConfigError, match=message):
        check_overrides([override], composed())


@pytest.mark.parametrize("word", ["model=0", "model=1.5", "model={a: 1}", "model=null", "~model=1e400"])
def test_what_is_no_name_chooses_no_member_of_a_group(word):
    with pytest.raises(ConfigError, match=r"there is no model=.*; known are .*bt_lstm"):
        first_job([word], CONFIGS, "train")


def test_right_overrides_pass():
    words = [
        "seed=1",
        "trainer.max_epochs=1",
        "model=lstm",
        "+trainer.max_time=1",
        "-m",
        "hydra/launcher=joblib",
    ]
    check_overrides(words, composed())
    check_overrides(["model.layer.tucker_rank=1,2", "data.scaling=raw,normalized", "hydra.mode=RUN"], composed())


def test_added_key_that_the_code_does_not_take_is_named():
    config = composed("model=bt_lstm", "+model.layer.tuker_rank=3")
    with pytest.raises(ConfigError, match=r"model\.layer has the key 'tuker_rank'.*Did you mean 'tucker_rank'"):
        check_targets(config)


@pytest.mark.parametrize("experiment", ["ucf11", "draw", "captioning"])
def test_a_task_and_its_data_have_no_default_of_their_own_beside_that_of_the_configuration(experiment):
    config = composed(f"experiment={experiment}", "model=lstm")
    for node in (config.task, config.data):
        for name, parameter in inspect.signature(get_class(node["_target_"])).parameters.items():
            if parameter.default is not parameter.empty and not OmegaConf.is_interpolation(node, name):
                assert node[name] == parameter.default, name


@pytest.mark.parametrize(
    "override", ["trainer.max_epochs=many", "data.batch_size=1.5", "data.num_frames=null", "task.learning_rate=high"]
)
def test_a_value_of_a_wrong_type_is_named(override):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{key}=.*takes"):
        check_targets(composed("model=lstm", override))


@pytest.mark.parametrize("override", ["data.num_clips=null", "cell.forget_bias=null", "trainer.gradient_clip_val=5"])
def test_values_that_may_be_null_or_whole_fit(override):
    check_targets(composed("model=lstm", override))


@pytest.mark.parametrize(
    "word",
    [
        *("results_dir=runs/o(1)", "results_dir=runs/a#b", "results_dir=runs/a=b", "name=été", "results_dir=~/x"),
        *("modes.input=[4,4", "results_dir='x", "seed=0,"),
    ],
)
def test_what_hydra_cannot_read_comes_with_the_quotes_that_it_needs(word):
    key, _, value = word.partition("=")
    with pytest.raises(ConfigError, match=re.escape(f"""'{key}="{value}"'""")):
        first_job([word], CONFIGS, "train")


@pytest.mark.parametrize(
    "word",
    [
        *("results_dir=", "data_dir=", "run_dir=", "name=", "name=a/b", "name=..", 'results_dir="~/x"', "seed=-1"),
        *("seed=abc", "seed=1.5", "seed=null", "name=${nope}", "experiment=", "experiment=nope", "model=rnn"),
        *("scale=", "seed=-1,0", "results_dir=${results_dir}", "task.learning_rate=-1"),
    ],
)
def test_a_command_line_that_makes_no_sensible_run_is_refused_before_anything_is_made(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        first_job(["model=lstm", word], CONFIGS, "train")
    assert not list(tmp_path.iterdir())


def test_a_word_without_a_value_is_named():
    with pytest.raises(ConfigError, match="'seed'"):
        first_job(["model=lstm", "seed"], CONFIGS, "train")


@pytest.mark.parametrize("name", ["train", "recovery"])
def test_quoted_places_and_sweeps_compose(name):
    place = "runs/o(1) a#b=c é"
    assert first_job([f'results_dir="{place}"', "seed=3,4"], CONFIGS, name).results_dir == place


@pytest.mark.parametrize("target", ["btrnn.NoSuchLSTM", "../.."])
def test_unknown_target_is_named(target):
    config = composed(f"model.layer._target_={target}")
    with pytest.raises(ConfigError, match=rf"model\.layer\._target_ '{re.escape(target)}' cannot be imported"):
        check_targets(config)


def test_captioning_s_names_tell_apart_the_ranks():
    ranks = [
        composed("experiment=captioning_ranks", f"model={model}", f"ranks.{name}={rank}").run_dir
        for model, name in (("bt_lstm", "tucker"), ("bt_lstm", "num_blocks"), ("tt_lstm", "tensor_train"))
        for rank in (1, 4)
    ]
    assert len(set(ranks)) == 6


def test_science_leaves_out_where_a_run_happens(tmp_path):
    here = composed("model=lstm", "results_dir=a", "trainer.accelerator=cpu", "logger=none")
    there = composed("model=lstm", "results_dir=b", "trainer.accelerator=gpu")
    assert science(here) == science(there)
    OmegaConf.save(here, tmp_path / "config.yaml", resolve=True)
    refuse_other_run(there, tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"task\.classifier_l2: 0\.01 there, 0\.5 now"):
        refuse_other_run(composed("model=lstm", "task.classifier_l2=0.5"), tmp_path / "config.yaml")


@pytest.mark.parametrize("words", [["model=lstm", "ranks.tucker=1"], ["model=tt_lstm", "ranks.num_blocks=3"]])
def test_what_a_model_does_not_look_up_is_no_science(words):
    assert science(composed(*words)) == science(composed(words[0]))
    used = ["model=bt_lstm", words[1]]
    assert science(composed(*used)) != science(composed(used[0]))


@pytest.mark.parametrize("experiment", ["ucf11", "captioning"])
def test_a_run_whose_data_had_an_earlier_name_is_known_again(tmp_path, experiment):
    config = composed(f"experiment={experiment}", "model=lstm")
    older = OmegaConf.to_container(config, resolve=True)
    (old,) = (old for old, new in RENAMED.items() if new == older["data"]["_target_"])
    older["data"]["_target_"] = old
    OmegaConf.save(older, tmp_path / "config.yaml")
    refuse_other_run(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml").data == config.data


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "weights").glob("*.safetensors")), ids=lambda path: path.stem
)
def test_what_was_published_by_older_code_is_the_run_that_it_is_today(path, tmp_path):
    saved = read_weights(path).config
    OmegaConf.save(saved, tmp_path / "config.yaml")
    words = [
        f"model={saved.model.name}",
        f"data={saved.data.source}",
        f"scale={saved.scale.name}",
        f"seed={saved.seed}",
    ]
    refuse_other_run(composed("experiment=draw", *words), tmp_path / "config.yaml")


@pytest.mark.parametrize("words", [["experiment=draw_mnist", "data=mnist_5k"], ["experiment=weizmann", "data=motions"]])
def test_a_stand_in_is_refused_where_its_rows_would_stand_among_those_of_real_data(words):
    with pytest.raises(ConfigError, match=words[1]):
        first_job(words, CONFIGS, "train")
    assert first_job(["experiment=draw", "data=mnist_5k"], CONFIGS, "train").experiment == "draw_mnist_5k"


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("cell={recurrent_dropout: 0.0}", ",cell={recurrent_dropout: 0.0}"),
        ("rates={smoke: {any: 0.5}}", ",rates={smoke: {any: 0.5}}"),
        ("data={passes: 2}", ",data={passes: 2}"),
        ("modes={input: [8, 20, 20, 18], hidden: [4, 4, 4, 4]}", ""),  # whose order the model's label has
        ("modes={input: [20, 8, 20, 18], hidden: [4, 4, 4, 4]}", ",modes=20x8x20x18-4x4x4x4"),
        ("modes={hidden: [4, 2, 8, 4]}", ",modes=8x20x20x18-4x2x8x4"),
        ("logger={project: mine}", ""),
    ],
)
def test_a_runs_name_says_what_a_mapping_changes(word, part, monkeypatch):
    register()
    job = HydraConfig.instance()
    monkeypatch.setattr(job, "cfg", job.cfg)  # to be put back
    found = []
    for words in ([], [word]):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", ["experiment=ucf11", "scale=smoke", *words], return_hydra_config=True)
        job.set_config(config)
        found.append(str(config.name))
    assert found[1] == found[0] + part


@pytest.mark.parametrize(("experiment", "part"), [("ucf101_groups", ",data=weizmann"), ("ucf11", "")])
def test_a_runs_name_says_the_data_where_its_experiments_does_not(experiment, part, monkeypatch):
    register()
    job = HydraConfig.instance()
    monkeypatch.setattr(job, "cfg", job.cfg)
    found = []
    for words in ([], ["data=weizmann"]):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", [f"experiment={experiment}", "scale=smoke", *words], return_hydra_config=True)
        job.set_config(config)
        found.append((str(config.experiment), str(config.name)))
    assert found[1][1].replace(part, "") == found[0][1]
    assert found[0] != found[1]


def test_the_names_of_published_shapes_say_their_order_alone(monkeypatch):
    register()
    job = HydraConfig.instance()
    monkeypatch.setattr(job, "cfg", job.cfg)
    words = ["experiment=ucf11", "scale=smoke", "modes={input: [57600], hidden: [256]}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", words, return_hydra_config=True)
    job.set_config(config)
    assert ",modes=57600-256" in config.name
    found = set()
    for path in (ROOT / "results").glob("*.csv"):
        table = pd.read_csv(path, low_memory=False)
        if "hidden_modes" in table:
            found |= {*table[["in_modes", "hidden_modes"]].dropna().itertuples(index=False, name=None)}
    assert ("4x2x5x8x6x5x3x2", "4x4x2x4x2") in found
    for config.modes.input, config.modes.hidden in ([modes.split("x") for modes in shape] for shape in found):
        assert ",modes=" not in config.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_epohs=3"], "Did you mean 'max_epochs'"),
        (["model=rnn"], "bt_lstm"),
        (["--help"], "experiment"),
    ],
)
def test_command_line(words, message):
    outcome = run_script(ROOT / "experiments" / "train.py", *words)
    assert message in outcome.stdout + outcome.stderr
    assert (outcome.returncode == 0) == (words == ["--help"])
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("experiment", "files", "stand_in"),
    [
        ("ucf11", "UCF11_updated_mpg", "motions"),
        ("draw_attention", "MNIST/raw", "mnist_5k"),
        ("captioning", "coco/annotations", "scenes"),
    ],
)
def test_a_stand_in_takes_the_place_of_missing_data_and_the_names_tell(experiment, files, stand_in, tmp_path):
    words = [f"experiment={experiment}", f"data_dir={tmp_path}", "model=lstm,tt_lstm"]
    absent = checked_command(words, CONFIGS, "train")
    (tmp_path / files).mkdir(parents=True)
    there = checked_command(words, CONFIGS, "train")
    assert (absent.words, there.words) == ([*words, f"data={stand_in}"], words)
    assert absent.config.data.source == stand_in
    assert (absent.config.experiment, there.config.experiment) == (f"{experiment}_{stand_in}", experiment)
    assert absent.config.run_dir != there.config.run_dir
    if experiment != "draw_attention":  # whose data are in one folder
        assert absent.config.data.root == f"{tmp_path}/{stand_in}"
        assert absent.config.data.cache_dir != there.config.data.cache_dir
    asked = checked_command([*words, f"data={stand_in}"], CONFIGS, "train")
    assert asked.config == absent.config


@pytest.mark.parametrize("name", names("data"))
def test_data_say_that_they_are_a_stand_in_where_the_tables_take_them_for_one(name):
    experiments = {MNIST: "draw", CaptionedImages: "captioning", VideoClips: "ucf11"}
    experiment = experiments[get_class(member("data", name).data._target_)]
    config = composed(f"experiment={experiment}", f"data={name}", "model=lstm")
    facts = instantiate(config.data).facts()
    assert facts["stand_in"] == (facts["source"] in STAND_INS) == config.experiment.endswith(STAND_INS)


def test_data_that_are_asked_for_are_taken_though_they_are_not_there(tmp_path):
    words = ["data=ucf11", f"data_dir={tmp_path}", "model=lstm"]
    assert checked_command(words, CONFIGS, "train").words == words


def test_what_leaves_open_which_data_are_meant_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"UCF11_updated_mpg is not there.*data="):
        checked_command(["experiment=ucf11,draw", f"data_dir={tmp_path}"], CONFIGS, "train")
    with pytest.raises(ConfigError, match="say data=fashion_mnist"):
        check_overrides(["data.source=fashion_mnist"], composed())


def test_a_misspelt_value_that_another_follows_from_says_which_there_are():
    with pytest.raises(ConfigError, match=r"Did you mean 'normalized'.*: normalized, raw"):
        first_job(["data.scaling=normalised"], CONFIGS, "train")


def test_a_sweeps_first_job():
    words = ["-m", "model=tt_lstm,lstm", "seed=0,1", "modes.input=[320,180]", "model.layer.tt_rank=2"]
    first = first_of_each(words)
    assert first == ["model=tt_lstm", "seed=0", "modes.input=[320,180]", "model.layer.tt_rank=2"]
    assert group_choices(first, CONFIGS) == ["model=tt_lstm"]
    check_overrides(words, composed(*group_choices(first, CONFIGS)))


SECRET = "5ec2e7c0de"


@pytest.mark.parametrize(
    "word",
    [
        f"+logger.settings={{api_key: {SECRET}}}",
        f"+logger.settings={{api_key: {SECRET}!(}}",  # which Hydra cannot read, and would repeat
        f"+logger.settings={{mode: a}},{{headers: [{{Authorization-Token: {SECRET}}}]}}",  # of the second job alone
        f"+logger.api_key={SECRET}",
        f"logger.password={SECRET}",  # no such key
        f"hydra.job.env_set={{WANDB_API_KEY: {SECRET}}}",  # in multirun.yaml, were it written
    ],
)
def test_a_secret_on_the_command_line_is_refused_before_anything_is_written(tmp_path, word):
    words = [f"results_dir={tmp_path}", f"data_dir={tmp_path}", "--multirun", word]
    done = run_script(ROOT / "experiments" / "train.py", *words)
    assert done.returncode == 1
    assert "named like a secret" in done.stderr
    assert "WANDB_API_KEY or by `wandb login`" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_file_of_the_configuration_is_refused_before_anything_is_written(tmp_path):
    config = composed(f"results_dir={tmp_path}", f"data_dir={tmp_path}")
    OmegaConf.update(config, "trainer.plugins", [{"deep": {"accessToken": SECRET}}], force_add=True)
    with pytest.raises(ConfigError, match=r"trainer\.plugins\[0\]\.deep\.accessToken is named like") as told:
        train(config)
    assert SECRET not in str(told.value)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "configs" / "logger").mkdir(parents=True)
    (tmp_path / "configs" / "logger" / "mine.yaml").write_text(f"settings: {{api_key: {SECRET}}}")
    words = [f"hydra.searchpath=[file://{tmp_path / 'configs'}]", "logger=mine"]
    with pytest.raises(ConfigError, match=r"logger\.settings\.api_key is named like a secret"):
        first_job(words, CONFIGS, "train")
