"""Models of transformers: a tiny random BERT as backbone, its weights and tokenizer by folder, and no network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import transformers

import ptft as package
from ptft.data.text.packed import chat
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError
from ptft.models.hub.huggingface import HuggingFace, public_options, public_weights
from ptft.models.hub.huggingface_text import second
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.masked_lm import MaskedLM
from tests.conftest import refused, summary, transfer

pytestmark = pytest.mark.usefixtures("no_network")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "day", "what", "joy", "dull", "bore", "##s", "made"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What save_pretrained writes of a BERT of two blocks and a tokenizer of a few words."""
    root = tmp_path_factory.mktemp("hub") / "tiny-bert"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(root)
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(root)
    return root


def test_features_are_those_of_transformers_whatever_the_padding(folder):
    weights, spec = public_weights(str(folder))
    model = HuggingFace(spec, **public_options(str(folder))).eval()
    model.load_state_dict({name.removeprefix("backbone."): value for name, value in weights.items()})
    ids = torch.tensor([[2, 5, 6, 3, 7, 3, 0, 0]])
    mask = ids != 0
    own = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = own(ids[:, :6], token_type_ids=torch.tensor([[0, 0, 0, 0, 1, 1]])).last_hidden_state
        tokens = model(ids, mask)
    torch.testing.assert_close(tokens.tokens[:, :6], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.pool(tokens), wanted[:, 0], rtol=1e-4, atol=1e-5)
    assert second(ids, 3).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert spec.shape["length"] == 32
    assert spec.shape["tokenizer"]["kind"] == "wordpiece"


def test_layers_run_from_the_embeddings_to_the_last_block(folder):
    spec = public_weights(str(folder))[1]
    model = HuggingFace(spec, str(folder))
    groups = model.layers()
    assert len(groups) == 3
    found = {id(p) for group in groups for module in group for p in module.parameters()}
    assert found == {id(p) for p in model.parameters()}
    assert model.net.embeddings.word_embeddings in groups[0]


def data(root: Path) -> list[str]:
    root.mkdir()
    for split in ("train", "dev"):
        lines = [f"{'a fine day' if i % 2 else 'what a bore'}\t{'good' if i % 2 else 'bad'}" for i in range(16)]
        (root / f"{split}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    return ["dataset=table", f"dataset.root={root}"]


def test_public_weights_are_finetuned_and_the_checkpoint_needs_the_folder_no_more(folder, ptft, tmp_path):
    moved = tmp_path / "gone"
    moved.mkdir()
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    typed = ("train.epochs=20", "train.batch_size=8", "optimizer.lr=1e-2", "finetune.layer_decay=0.9", "device=cpu")
    done = ptft("stage=finetune", f"ckpt=huggingface:{moved}", *data(tmp_path / "data"), *typed, "hydra.run.dir=run")
    assert done.code == 0, done.text
    found = summary(Path("run"))
    assert found["metrics"]["val"]["accuracy"] == 1
    assert transfer(Path("run"))["reinitialised"]["tensors"].keys() == {"head.weight", "head.bias"}
    for file in moved.iterdir():
        file.unlink()
    Path("new.txt").write_text("a fine day\n")
    done = ptft("stage=predict", "ckpt=run", "input=new.txt", "output=found.csv", "device=cpu")
    assert done.code == 0, done.text
    assert "good" in Path("found.csv").read_text()


def test_a_model_by_folder_has_fresh_weights_and_the_datas_vocabulary(folder, ptft, tmp_path):
    typed = ("model=huggingface", f"model.name={folder}", "dataset.length=32", "dataset.vocabulary=300", "device=cpu")
    done = ptft("stage=pretrain", *data(tmp_path / "data"), *typed, "train.steps=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    content = torch.load("run/checkpoints/last.pt", weights_only=True)
    held = json.loads(content["config"]["model"]["config"])
    assert held["vocab_size"] == content["spec"]["shape"]["tokenizer"]["size"] > len(WORDS)
    refused(ptft("stage=pretrain", *data(tmp_path / "more"), *typed, "dataset.length=64"), 2, "takes 32 tokens at most")


@pytest.mark.parametrize("typed", [["stage=finetune", "ckpt=huggingface:nobody/nothing"],
                                   ["stage=pretrain", "model=huggingface", "model.name=nobody/nothing"]])  # fmt: skip
def test_without_a_network_it_is_said_in_a_line(typed, ptft, tmp_path):
    refused(ptft(*typed, *data(tmp_path / "data"), "device=cpu"), 4, "nobody/nothing", "can't be downloaded")


def test_a_model_that_counts_positions_from_its_padding_takes_as_many_tokens_as_are_left(ptft, folder, tmp_path):
    root = tmp_path / "tiny-roberta"
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(root)
    words = ["[UNK]", "[PAD]", *WORDS[2:]]
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(root)
    assert public_weights(str(root))[1].shape["length"] == 32
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"{'a fine day ' * 30},{'yn'[i % 2]}" for i in range(8)]
    for split in ("train", "val"):
        (data / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    common = ("dataset=table", f"dataset.root={data}", "train.steps=1", "train.batch_size=4", "device=cpu")
    for start in (("stage=finetune", f"ckpt=huggingface:{root}"),
                  ("stage=pretrain", "model=huggingface", f"model.name={root}",
                   f"dataset.tokenizer={root}")):  # fmt: skip
        refused(ptft(*start, *common, "dataset.length=33"), 2, "dataset.length=33", "takes 32 tokens at most")
        done = ptft(*start, *common, "dataset.length=32")
        assert done.code == 0, done.text


@pytest.fixture(scope="module")
def roberta(tmp_path_factory) -> Path:
    """What save_pretrained writes of a RoBERTa, whose padding is the id 1, without a tokenizer."""
    root = tmp_path_factory.mktemp("hub") / "roberta"
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=34, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(root)
    return root


def test_a_real_token_where_a_model_has_its_padding_is_one_like_others(roberta, folder):
    spec = public_weights(str(folder))[1]  # of a tokenizer whose padding is 0, and 1 an unknown word
    model = HuggingFace(spec, str(roberta)).eval()
    again = HuggingFace(spec, str(roberta), **model.settled).eval()
    earlier = HuggingFace(spec, str(roberta), config=json.dumps(model.net.config.to_dict())).eval()
    ids, places = torch.tensor([[2, 1, 5, 6, 0]]), torch.tensor([[2, 3, 4, 5, 1]])
    assert model.net.embeddings.word_embeddings.padding_idx == 0
    for one in (again, earlier):
        one.load_state_dict(model.state_dict())
    with torch.no_grad():
        found, kept, other = (one(ids, ids != 0).tokens[:, :4] for one in (model, again, earlier))
        wanted = model.net(ids, (ids != 0).long(), position_ids=places).last_hidden_state[:, :4]
        as_before = earlier.net(ids, (ids != 0).long()).last_hidden_state[:, :4]
        whole = model(ids[:, :4]).tokens
    assert torch.equal(found, wanted)
    assert torch.equal(found, kept)
    torch.testing.assert_close(whole, found)
    assert torch.equal(other, as_before)  # checkpoints made before go on as they were
    assert (found - other).abs().max() > 0.1
    model(ids, ids != 0).tokens[:, :4].square().sum().backward()
    assert model.token_embedding().weight.grad[1].abs().sum() > 0


def test_public_weights_with_their_own_tokenizer_answer_as_in_transformers_to_the_bit(roberta, folder):
    own = transformers.RobertaModel.from_pretrained(roberta).eval()
    spec = public_weights(str(folder))[1]
    spec = replace(spec, shape={**spec.shape, "tokenizer": {**spec.shape["tokenizer"], "pad": 1}})
    model = HuggingFace(spec, **public_options(str(roberta))).eval()
    model.net.load_state_dict(own.state_dict(), strict=False)
    ids = torch.tensor([[2, 5, 6, 3, 1, 1], [2, 7, 8, 9, 6, 3]])
    with torch.no_grad():
        wanted = own(ids, (ids != 1).long()).last_hidden_state
        assert torch.equal(model(ids, ids != 1).tokens, wanted)


def test_an_exported_model_counts_its_positions_as_the_trained_one(roberta, folder, ptft, tmp_path):
    typed = ("model=huggingface", f"model.name={roberta}", "model.pooling=cls", f"dataset.tokenizer={folder}")
    (tmp_path / "data").mkdir()
    for split in ("train", "val"):
        (tmp_path / "data" / f"{split}.csv").write_text("text,label\na zebra day,y\nno fine joy,n\n" * 4)
    short = ("train.steps=2", "optimizer.lr=0.05", "train.batch_size=4", "device=cpu", "precision=fp32")
    data = ("dataset=table", "dataset.root=data", "dataset.length=32")
    done = ptft("stage=pretrain", *data, *typed, *short, "hydra.run.dir=run")
    assert done.code == 0, done.text
    done = ptft("stage=export", "ckpt=run", "format=huggingface", "output=there")
    assert done.code == 0, done.text
    text = "unknown words and a fine zebra day"
    trained = package.load("run")(text)
    model = transformers.AutoModelForSequenceClassification.from_pretrained("there").eval()
    ids = transformers.AutoTokenizer.from_pretrained("there")([text, "a " * 25], padding=True, return_tensors="pt")
    with torch.no_grad():
        row = model(**ids).logits.softmax(1)[0]
    assert row[model.config.label2id["y"]] == pytest.approx(trained["p_y"], abs=1e-3)


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    """What save_pretrained writes of a causal model whose output is its embedding, and of its tokenizer."""
    root = tmp_path_factory.mktemp("hub") / "tiny-llama"
    inner = Tokenizer.train("bpe", ["what is one and one", "it is two"] * 9, 270)
    library = tokenizers.Tokenizer.from_str(inner.text)
    library.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=library, eos_token="<|im_end|>", pad_token="[PAD]")
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(root)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(fast), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=96, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(root)
    return root


def test_a_public_causal_model_has_the_loss_that_transformers_finds(writer):
    weights, spec = public_weights(str(writer))
    model = HuggingFace(spec, **public_options(str(writer))).eval()
    model.load_state_dict({name.removeprefix("backbone."): value for name, value in weights.items()})
    ids = torch.randint(5, 250, (2, 12))
    theirs = transformers.LlamaForCausalLM.from_pretrained(writer).eval()
    step = CausalLM(model, spec)({"input": ids, "mask": torch.ones_like(ids, dtype=torch.bool)})
    with torch.no_grad():
        wanted = theirs(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(step.total.detach() / step.count, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"objective=masked_lm: needs a model that sees both sides"):
        MaskedLM(model, spec)
    model.net.config.tie_word_embeddings = False
    with pytest.raises(ConfigError, match=r"this llama writes by a head of its own \(tie_word_embeddings=false\)"):
        CausalLM(model, spec)


def test_a_public_model_learns_answers_in_its_own_template(writer, ptft, tmp_path):
    chat.sample(tmp_path / "chats")
    tuned = ["stage=finetune", f"ckpt=huggingface:{writer}", "dataset=chat", "dataset.root=chats"]
    tuned += ["objective=causal_lm", "finetune.lora.rank=2", "train.steps=2", "train.batch_size=4"]
    done = ptft(*tuned, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "the template is the public one" in done.out
    done = ptft("stage=predict", "ckpt=run", "text=what is one and one", "generate.length=3", "hydra.run.dir=p")
    assert done.code == 0, done.text
    refused(ptft(*tuned, "dataset.separate=true"), 2, "dataset.separate=true: HuggingFace lets texts")


def features_of(ptft, ckpt: str, *typed: str) -> torch.Tensor:
    """What `stage=embed` of public weights writes for texts.txt."""
    done = ptft("stage=embed", f"ckpt={ckpt}", "input=texts.txt", "output=out.npz", "overwrite=true", *typed)
    assert done.code == 0, done.text
    assert "fp32" in done.out
    with np.load("out.npz") as file:
        return torch.from_numpy(file["features"])


TEXTS = ["a fine day", "what joys", "dull bores made a fine day"]


@pytest.mark.parametrize(
    ("beside", "pooled"),
    [
        (None, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode_max_tokens": True}, "cls"),
    ],
)
def test_public_weights_embed_texts_as_they_say_without_a_task(folder, beside, pooled, ptft, tmp_path):
    shutil.copytree(folder, "model")
    if beside is not None:
        (tmp_path / "model" / "1_Pooling").mkdir()
        (tmp_path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(beside))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    found = features_of(ptft, "huggingface:model")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = transformers.BertModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    real = tokens["attention_mask"].unsqueeze(-1)
    means = (hidden * real).sum(1) / real.sum(1)
    ends = hidden[torch.arange(3), real.sum((1, 2)) - 1]
    wanted = {"cls": hidden[:, 0], "mean": means, "last": ends}
    torch.testing.assert_close(found, wanted[pooled], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(package.load("huggingface:model").features(TEXTS), found)
    named = ("model=huggingface", "model.pooling=mean")  # whose name is the checkpoint's
    torch.testing.assert_close(features_of(ptft, "huggingface:model", *named), means, rtol=1e-4, atol=1e-5)


def test_public_weights_embed_no_more_tokens_than_they_were_published_for(folder, ptft, tmp_path):
    shutil.copytree(folder, "model")
    (tmp_path / "model" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5}))
    (tmp_path / "texts.txt").write_text("a fine day what joy")
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        wanted = transformers.BertModel.from_pretrained(folder).eval()(ids).last_hidden_state[:, 0]
    torch.testing.assert_close(features_of(ptft, "huggingface:model"), wanted, rtol=1e-4, atol=1e-5)


def test_what_other_public_weights_embedded_is_not_gone_on_with(folder, ptft):
    typed = ("stage=embed", "ckpt=huggingface:model", "text=a fine day", "hydra.run.dir=run")
    shutil.copytree(folder, "model")
    assert ptft(*typed).code == 0
    assert "complete" in ptft("resume=run").out
    other = transformers.BertModel.from_pretrained(folder)
    with torch.no_grad():
        other.embeddings.word_embeddings.weight += 1
    other.save_pretrained("model")
    refused(ptft("resume=run"), 2, "its first answers were made by other weights than ckpt=huggingface:model has now")


def test_what_public_weights_do_behind_their_pooling_is_said(folder, ptft, tmp_path):
    shutil.copytree(folder, "model")
    kinds = ["models.Transformer", "models.Pooling", "models.Dense", "models.Normalize"]
    (tmp_path / "model" / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.{kind}"} for kind in kinds])
    )
    done = ptft("stage=embed", "ckpt=huggingface:model", "text=a fine day")
    assert "of the input" not in done.out, "what is typed has no columns to hand on"
    assert "without what the model was published with behind its pooling: Dense, Normalize" in done.out, done.text


def test_public_weights_that_write_embed_texts_without_tokens_around_them(writer, ptft, tmp_path):
    (tmp_path / "texts.txt").write_text("what is two")
    ids = transformers.AutoTokenizer.from_pretrained(writer)("what is two", return_tensors="pt")
    with torch.no_grad():
        wanted = transformers.LlamaModel.from_pretrained(writer).eval()(**ids).last_hidden_state[:, -1]
    torch.testing.assert_close(features_of(ptft, f"huggingface:{writer}"), wanted, rtol=1e-4, atol=1e-5)


def test_public_weights_have_features_and_no_answers(folder, ptft):
    model = package.load(f"huggingface:{folder}")
    assert "features: huggingface:" in repr(model)
    assert model.card["objective"] is None
    assert model.features("a fine day").shape == (16,)
    with pytest.raises(ConfigError, match="holds a backbone and no task: features alone; finetune it"):
        model("a fine day")
    refused(ptft("stage=predict", f"ckpt=huggingface:{folder}", "text=a"), 4, "holds no dataset and no objective")
    refused(ptft("stage=embed", f"ckpt=huggingface:{folder}", "text=a", "objective.tta=flip"), 2, "objective.tta")
