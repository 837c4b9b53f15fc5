"""No key is without effect: what a stage does not read is refused there, and all mistakes are named at once."""

from types import SimpleNamespace

import pytest
from PIL import Image

from ptft.checkpoint import load
from ptft.config import documented, mistakes, reads
from ptft.config.compose import GROUPS, compose, flat_keys
from ptft.config.resolve import resolve
from ptft.errors import ConfigError
from tests.conftest import SMALL, refused


@pytest.mark.parametrize(
    ("stage", "typed", "others"),
    [
        ("evaluate", "optimizer.lr=99", "compare, finetune, pretrain or tune"),
        ("evaluate", "optimizer=sgd", "compare, finetune, pretrain or tune"),
        ("evaluate", "train.epochs=3", "compare, finetune, pretrain or tune"),
        ("evaluate", "finetune.head=keep", "compare, finetune, pretrain or tune"),
        ("evaluate", "input=x", "embed, explain or predict"),
        ("evaluate", "logger=tensorboard", "compare, finetune, pretrain or tune"),
        ("predict", "dataset.limit=9", "compare, evaluate, explain, finetune, inspect, pretrain, tune or zero_shot"),
        ("predict", "dataset=digits", "compare, evaluate, explain, finetune, inspect, pretrain, tune or zero_shot"),
        ("predict", "split=val", "evaluate"),
        ("pretrain", "split=val", "evaluate"),
        ("pretrain", "generate.length=9", "predict"),
        ("finetune", "compare.seeds=2", "compare"),
        ("evaluate", "dataset.views.flip=true", "compare, finetune, inspect, pretrain or tune"),
        ("evaluate", "objective.mixup=0.2", "compare, finetune, pretrain or tune"),
        ("predict", "objective.label_smoothing=0.1", "compare, finetune, pretrain or tune"),
        ("predict", "train.workers=2", "compare, evaluate, explain, finetune, pretrain or tune"),
    ],
)
def test_what_a_stage_does_not_read_is_refused_there(ptft, pretrained, stage, typed, others):
    key = typed.split("=")[0]
    given = [f"ckpt={pretrained}", *(["input=x"] if stage == "predict" else [])]
    refused(ptft(f"stage={stage}", *given, typed), 2, f"{key}: for stage={others}, not for stage={stage}")


@pytest.mark.parametrize("stage", documented.options("stage"))
def test_what_is_declared_exists(stage):
    cfg = compose([f"stage={stage}"])
    trainings = [
        compose(["stage=pretrain", f"objective={name}"]) for name in ("classify", "multilabel", "ctc", "hubert")
    ]
    listed = {key.removeprefix("-") for key in reads.listed(stage)}
    assert listed <= {*flat_keys(cfg), *(key for training in trainings for key in flat_keys(training)), *GROUPS}
    assert all(stage in reads.stages_of(key) for key in reads.own_keys(stage))


@pytest.mark.parametrize("typed", ["+train.step=3", "+optimzer.lr=3", "+seeds=2", "++finetune.lora.rnk=2"])
def test_an_added_key_that_nobody_reads_does_not_exist(ptft, typed):
    refused(ptft("stage=pretrain", typed), 2, f"{typed.lstrip('+').split('=')[0]}: there is no such key; did you mean")


@pytest.mark.parametrize("stage", ["compare", "pretrain"])
def test_a_key_that_no_stage_has_does_not_exist_whatever_group_it_is_in(ptft, pretrained, stage):
    given = (f"ckpt={pretrained}",) if stage == "compare" else ()
    refused(ptft(f"stage={stage}", *given, "compare.nonsense=1"), 2, "compare.nonsense: there is no such key")


def test_keys_of_a_class_and_of_free_nodes_may_be_added(ptft):
    added = ["+optimizer.amsgrad=true", "+compare.arms.more=[finetune.train=norm]"]
    config = resolve(["stage=pretrain", added[0]]).config
    assert config.optimizer.amsgrad is True
    refused(ptft("stage=pretrain", *SMALL, "+optimizer.amsgrat=true", "dry_run=true"), 2, "amsgrat", "amsgrad")
    config = resolve(["stage=pretrain", "+train.monitor.metric=val/loss", "+train.monitor.mode=min"]).config
    assert config.train.monitor.mode == "min"


@pytest.mark.parametrize("key", ["limit=9", "fraction=0.5", "per_class=2"])
def test_a_part_of_the_training_split_is_refused_where_another_is_measured(ptft, pretrained, key):
    typed = ("stage=evaluate", f"ckpt={pretrained}", f"dataset.{key}")
    for split in ([], ["split=test"], ["split=val"]):
        refused(ptft(*typed, *split), 2, f"dataset.{key.split('=')[0]}: chooses a part of the training split")
    if key == "limit=9":
        done = ptft("--json", *typed, "split=train")
        assert (done.code, '"samples": 9,' in done.out) == (0, True)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("finetune.head=keep", "ckpt=null"),
        ("finetune.weights=fresh", "ckpt=null"),
        ("finetune.probe=steps", "finetune.train=head"),
        ("finetune.lora.alpha=8", "finetune.lora.rank=null"),
    ],
)
def test_what_another_key_leaves_without_effect_is_refused_in_a_pretraining_and_said_in_a_finetune(ptft, typed, why):
    refused(ptft("stage=pretrain", typed), 2, f"{typed}: without effect, as", why)
    job = resolve(["stage=finetune", "ckpt=null", typed])
    assert [note for note in job.notes if note.startswith(f"{typed} is without effect") and why in note]


@pytest.mark.parametrize(
    "typed",
    [
        ("objective.class_weights=balanced", "dataset.sampler=balanced"),
        ("objective=multilabel", "objective.positive_weights=balanced", "dataset.sampler=balanced"),
        ("objective.class_weights=balanced", "train.replay=outputs/run"),
    ],
)
def test_what_is_rare_is_made_up_for_once(ptft, typed):
    refused(ptft("stage=pretrain", *typed), 2, f"{typed[-2]} and {typed[-1]}: ")
    resolve(["stage=pretrain", *typed[:-1]])
    resolve(["stage=pretrain", *typed[:-2], typed[-1]])


def test_what_counts_is_not_said_to_be_without_effect(pretrained):
    for typed in (["finetune.head=keep"], ["finetune.lora.rank=4", "finetune.lora.alpha=8"], ["finetune.head=new"]):
        notes = resolve(["stage=finetune", f"ckpt={pretrained}", *typed]).notes
        assert not [note for note in notes if "without effect" in note]
    assert resolve(["stage=pretrain", f"ckpt={pretrained}", "finetune.head=keep"]).config.finetune.head == "keep"
    resolve(["stage=pretrain", "finetune.head=new", "finetune.probe=auto"])


def test_a_rate_is_not_used_by_a_head_that_is_fitted(ptft, pretrained):
    typed = ("stage=finetune", f"ckpt={pretrained}", "finetune.train=head", "optimizer.lr=1", "dry_run=true")
    said = "optimizer.lr does not count, as the head is fitted"
    assert said in ptft(*typed, "finetune.probe=exact").out
    assert said not in ptft(*typed, "finetune.probe=steps").out


def test_a_classifier_writes_no_texts(ptft, pretrained, tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "one.png")
    typed = ("stage=predict", f"ckpt={pretrained}", "input=one.png")
    refused(ptft(*typed, "generate.length=5"), 2, "generate.length: objective=classify writes no texts on")


def test_all_that_a_continued_run_can_not_take_is_named_at_once(ptft, pretrained):
    typed = ("optimzer.lr=3", "train.step=9", "seed=7", "optimizer.lr=3")
    named = (
        "did you mean optimizer.lr?",
        "did you mean train.steps?",
        "seed: the run has 0",
        "optimizer.lr: the run has",
    )
    refused(ptft(f"resume={pretrained}", *typed), 2, *named)


def test_a_stage_of_ones_own_reads_everything(ptft, tmp_path):
    (tmp_path / "conf" / "stage").mkdir(parents=True)
    (tmp_path / "conf" / "stage" / "mine.yaml").write_text(
        "# @package _global_\nstage:\n  _target_: ptft.stages.train.run\nckpt: null\n"
    )
    assert resolve(["stage=mine", "optimizer.lr=3", "+own.key=2"]).config.own.key == 2


def test_a_stage_based_on_another_reads_what_that_does(tmp_path):
    (tmp_path / "conf" / "stage").mkdir(parents=True)
    (tmp_path / "conf" / "stage" / "mine.yaml").write_text("# @package _global_\ndefaults: [evaluate, _self_]\n")
    assert reads.listed("mine") == reads.listed("evaluate")


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("stage=pretrain optimzer.lr=3 seed=x train.epochs=0", ["optimizer.lr?", "seed=x", "train.epochs=0"]),
        ("stage=pretrain modle=a dataset=mnis seed=x", ["modle", "dataset=mnis", "seed=x"]),
        ("stage=finetune seed=x", ["seed=x", "starts from a checkpoint"]),
        ("stage=evaluate ckpt=nowhere optimizer.lr=3 device=tpu", ["nowhere", "optimizer.lr", "device=tpu"]),
        (
            "stage=predict ckpt=CKPT model.wdth=3 dataset.limit=3 seed=x",
            ["model.width?", "dataset.limit", "seed=x"],
        ),
        ("stage=pretrain dataset=image_folder seed=x", ["dataset.root: dataset=image_folder needs it", "seed=x"]),
        ("stage=pretrain a=[ b={ ", ["a=[", "b={"]),
    ],
)
def test_all_mistakes_are_named_at_once(ptft, pretrained, tmp_path, typed, named):
    refused(ptft(*typed.replace("CKPT", str(pretrained)).split()), 2, *named)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_not_the_checkpoints_is_refused(monkeypatch):
    config = {"model": {"_target_": "x", "name": "bert"}, "names": {"model": "huggingface"}}
    public = SimpleNamespace(config=config, path="huggingface:bert", spec=None, weights={})
    monkeypatch.setattr(load, "open_checkpoint", lambda *_: public)
    with pytest.raises(ConfigError, match=r"model\.name=x: ckpt=huggingface:bert says which network it is of, bert"):
        resolve(["stage=finetune", "ckpt=huggingface:bert", "model.name=x"])


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("train.batch_size=-1", "train.batch_size=auto"),
        ("device=0", "device=cuda:0"),
        ("device=0,1", "-m device=cuda:0,cuda:1"),
        ("device=cuda:0,cuda:1", "-m device=cuda:0,cuda:1"),
        ("early_stopping=5", "type train.patience"),
        ("train.lr=1", "type optimizer.lr"),
        ("trainer.devices=2", "device=cuda:0"),
        ("trainer.max_epochs=3", "type train.epochs"),
        ("lr=3", "optimizer.lr"),
        ("precision=16-mixed", "precision=fp16"),
        ("version", "ptft --version"),
        ("-V", "type --version"),
    ],
)
def test_what_other_programs_call_so_is_answered_with_ptfts_own(ptft, typed, remedy):
    refused(ptft("stage=pretrain", typed), 2, typed.split("=")[0], remedy)


@pytest.mark.parametrize(
    ("dataset", "typed", "own"),
    [
        ("grammar", "dataset.limit=5", "dataset.sentences"),
        ("grammar", "max_samples=5", "dataset.sentences"),
        ("text", "dataset.per_class=5", "dataset.fraction"),
    ],
)
def test_a_key_that_the_dataset_has_not_is_not_proposed(ptft, dataset, typed, own):
    done = ptft("stage=pretrain", f"dataset={dataset}", typed, "dry_run=true")
    refused(done, 2, f"{typed.split('=')[0]}: there is no such key; running text has", f"type {own}")
    assert "type dataset.limit" not in done.text


def test_the_keys_that_are_proposed_exist():
    known = {*documented.keys(), *GROUPS, "ckpt", "hydra.run.dir"}
    assert {here.split("=")[0] for here in mistakes.KEYS} <= known | {"quiet"}


def experiment(tmp_path, text):
    (tmp_path / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    return ["stage=pretrain", "experiment=mine"]


def test_a_key_that_is_none_in_a_file_of_ones_own_is_refused_as_a_typed_one_is(ptft, tmp_path):
    wrong = "# @package _global_\nseeed: 3\ntrain: {stepz: 9, every: {evalute: 1}}\nfinetune: {lora: {rnk: 4}}\n"
    said = ["mean seed?", "mean train.steps?", "mean train.every.evaluate?", "mean finetune.lora.rank?"]
    refused(ptft(*experiment(tmp_path, wrong), "dry_run=true"), 2, *said)
    refused(
        ptft(*experiment(tmp_path, "train: {steps: 9}\n")), 2, "experiment: its keys (train)", "# @package _global_"
    )


def test_a_name_of_ones_own_that_others_refer_to_is_free(tmp_path):
    text = "# @package _global_\nsize: 12\ntrain: {steps: '${size}', monitor: {metric: val/loss, mode: min}}\n"
    assert resolve(experiment(tmp_path, text)).config.train.steps == 12


def test_a_stage_of_ones_own_may_read_keys_of_its_own(tmp_path):
    (tmp_path / "conf" / "stage").mkdir(parents=True)
    own = "# @package _global_\ndefaults: [pretrain, _self_]\ntrain:\n  mine: 3\n"
    (tmp_path / "conf" / "stage" / "mystage.yaml").write_text(own)
    assert resolve(["stage=mystage"]).config.train.mine == 3
