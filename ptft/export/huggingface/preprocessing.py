"""What stands beside a model of transformers: a tokenizer, an image processor, a feature extractor.

Nothing is imported for them but transformers itself, which saves what it then reads again.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ptft.core import Spec
from ptft.data import subwords
from ptft.models.hub.huggingface import HuggingFace, library

ROLES = {"pad": "pad_token", "unk": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
"""Pillow's numbers."""
RESIZED = "images of another size are resized by transformers, which rounds some pixels otherwise"
SPOKEN = ("sentences", "huggingface", "words")
"""Readers of texts that put special tokens around them."""


def write(folder: Path, spec: Spec, backbone: Any, masks: bool) -> tuple[str, ...]:
    """The files of the Spec's modality; sentences about where they differ from ptft's own reading.

    masks: whether users type the mask token, so that it is found in texts.
    """
    if spec.modality == "text":
        types = bool(getattr(getattr(backbone, "reader", None), "has_types", False))
        return _tokenizer(folder, spec, types, masks)
    return _images(folder, spec) if spec.modality == "image" else _sound(folder, spec, backbone)


def tokenizer_json(spec: Spec) -> dict[str, Any]:
    """The tokenizer of a Spec as a tokenizer.json, with special tokens around texts where ptft has them."""
    tokenizer = spec.shape["tokenizer"]
    plain = _bytes(tokenizer) if tokenizer["kind"] == "bytes" else json.loads(tokenizer["json"])
    around = spec.shape.get("reader") in SPOKEN or "columns" in spec.shape
    names = names_of(spec)
    first, between = (names[role] if around else None for role in ("cls", "sep"))
    plain["post_processor"] = _template(first, between, tokenizer) if first or between else None
    plain["truncation"] = plain["padding"] = None
    return plain


def names_of(spec: Spec) -> dict[str, str | None]:
    """Role -> what the special token is called; None where there is none."""
    tokenizer = spec.shape["tokenizer"]
    if tokenizer["kind"] == "bytes":
        return dict(zip(ROLES, subwords.SPECIALS, strict=True))
    plain = json.loads(tokenizer["json"])
    vocabulary = plain["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        vocabulary = {piece: index for index, (piece, _) in enumerate(vocabulary)}
    by_id = {index: piece for piece, index in vocabulary.items()}
    by_id |= {token["id"]: token["content"] for token in plain.get("added_tokens") or ()}
    return {role: by_id.get(tokenizer[role]) for role in ROLES}


def _bytes(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Bytes as byte-level BPE without a merge, whose ids are the bytes themselves."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = zip(ROLES, subwords.SPECIALS, strict=True)
    return {
        "version": "1.0",
        "added_tokens": [{"id": tokenizer[role], "content": name, **flags, "special": True} for role, name in special],
        "normalizer": None,
        "pre_tokenizer": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {letter: byte for byte, letter in subwords.byte_alphabet().items()},
            "merges": [],
        },
    }


def _template(first: str | None, between: str | None, tokenizer: dict[str, Any]) -> dict[str, Any]:
    """[CLS] a [SEP] b [SEP], without those that there are not, and as often between texts as the tokenizer says."""

    def one(name: str | None, kind: int) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": name, "type_id": kind}}] if name else []

    def text(name: str, kind: int) -> list[dict[str, Any]]:
        return [{"Sequence": {"id": name, "type_id": kind}}, *one(between, kind)]

    single = [*one(first, 0), *text("A", 0)]
    pair = [*single, *one(between, 0) * (tokenizer.get("between", 1) - 1), *text("B", 1)]
    ids = {first: tokenizer["cls"], between: tokenizer["sep"]}
    special = {name: {"id": name, "ids": [index], "tokens": [name]} for name, index in ids.items() if name}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _tokenizer(folder: Path, spec: Spec, types: bool, masks: bool) -> tuple[str, ...]:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(tokenizer_json(spec), ensure_ascii=False), encoding="utf-8")
    named = {ROLES[role]: name for role, name in names_of(spec).items() if name}
    if "cls_token" not in named or spec.shape.get("reader", "reader") == "reader":
        named["eos_token"] = named.get("sep_token", named.get("pad_token", ""))
    inputs = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    end, template = spec.shape.get("keep") == "end", chat_template(spec)
    tokenizer = library().PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        model_max_length=int(spec.shape["length"]),
        model_input_names=inputs,
        padding_side="right",
        truncation_side="left" if end else "right",
        split_special_tokens=not masks and template is None,
        clean_up_tokenization_spaces=False,
        **{role: name for role, name in named.items() if name},
    )
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return ()


def chat_template(spec: Spec) -> str | None:
    """How conversations are written, in transformers' words; None of a model that was not trained on some."""
    written = spec.shape.get("template")
    if written is None or isinstance(written, dict):
        return None if written is None else str(written["jinja"])
    names = names_of(spec)
    message = "{{ m['role'] + '\\n' + m['content'] + '" + str(names["sep"]) + "' }}"
    begins = "{% if add_generation_prompt %}{{ 'assistant\\n' }}{% endif %}"
    return (names["cls"] or "") + "{% for m in messages %}" + message + "{% endfor %}" + begins


def _images(folder: Path, spec: Spec) -> tuple[str, ...]:
    package, shape = library(), spec.shape
    height, width = (int(side) for side in shape["size"])
    mean, std = (list(values) * (3 if len(values) == 1 else 1) for values in (spec.mean or (0.0,), spec.std or (1.0,)))
    options: dict[str, Any] = {
        "do_resize": shape["fit"] != "none",
        "resample": RESAMPLING[shape.get("interpolation", "bilinear")],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": mean,
        "image_std": [max(value, 1 / 255) for value in std],
    }
    share = shape.get("crop_pct", 1)
    if (shape["fit"] == "stretch" and share < 1) or (shape["fit"] == "crop" and height == width):
        high, wide = (math.floor(side / share + 1e-6) for side in (height, width))
        size = {"height": high, "width": wide} if shape["fit"] == "stretch" else {"shortest_edge": high}
        crop = {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
        package.BitImageProcessor(size=size, **crop, **options).save_pretrained(folder)
        return (RESIZED,)
    package.ViTImageProcessor(size={"height": height, "width": width}, **options).save_pretrained(folder)
    if shape["fit"] in ("none", "stretch"):
        return (RESIZED,)
    does = "pads them" if shape["fit"] == "letterbox" else "cuts off what stands out"
    cut = f", and keeps {share:.3g} of each side in the middle" if share < 1 else ""
    return (f"photos of other proportions are stretched by transformers, where ptft {does}{cut}",)


def _sound(folder: Path, spec: Spec, backbone: Any) -> tuple[str, ...]:
    assert isinstance(backbone, HuggingFace)
    options = {"feature_size": 1, "sampling_rate": int(spec.shape["rate"]), "padding_value": 0.0}
    normalizes = bool(backbone.settled.get("normalize"))
    extractor = library().Wav2Vec2FeatureExtractor(**options, do_normalize=normalizes, return_attention_mask=True)
    extractor.save_pretrained(folder)
    return ("of recordings that are batched together, shorter ones may be answered otherwise than alone",)
