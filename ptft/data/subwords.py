"""Subword tokenizers of the `tokenizers` library (extra `text`): made, found, and what their tokens stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptft.errors import ConfigError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

NAMES = {
    "pad": ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>", "</s>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
    "cls": ("[CLS]", "<s>", "<bos>", "<|endoftext|>", "</s>"),
    "sep": ("[SEP]", "</s>", "<eos>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}
"""Names that public tokenizers give to the special tokens, the likeliest first."""


def library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            "dataset.tokenizer other than bytes, and dataset.units=bpe, need the package tokenizers: "
            "pip install 'ptft[text]'"
        ) from error
    return tokenizers


def untrained(kind: str, size: int) -> tuple[Any, Any]:
    """A tokenizer of the library and what trains it."""
    package = library()
    options = {"vocab_size": size, "special_tokens": list(SPECIALS), "show_progress": False}
    if kind == "wordpiece":
        made = package.Tokenizer(package.models.WordPiece(unk_token="[UNK]"))
        made.normalizer = package.normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
        made.decoder = package.decoders.WordPiece()
        return made, package.trainers.WordPieceTrainer(**options)
    alphabet = package.pre_tokenizers.ByteLevel.alphabet()
    if kind == "bpe":
        made, trainer = package.Tokenizer(package.models.BPE()), package.trainers.BpeTrainer
    else:
        made, trainer = package.Tokenizer(package.models.Unigram()), package.trainers.UnigramTrainer
        options["unk_token"] = "[UNK]"
    made.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = package.decoders.ByteLevel()
    made.post_processor = package.processors.ByteLevel(trim_offsets=True)
    return made, trainer(initial_alphabet=alphabet, **options)


def untrained_spoken(size: int) -> tuple[Any, Any]:
    """A BPE tokenizer over characters, in which a space belongs to the word after it, and what trains it."""
    package = library()
    made = package.Tokenizer(package.models.BPE())
    made.normalizer = package.normalizers.Prepend(" ")
    made.pre_tokenizer = package.pre_tokenizers.Split(" ", "merged_with_next")
    made.decoder = package.decoders.Fuse()
    return made, package.trainers.BpeTrainer(vocab_size=size, initial_alphabet=[" "], show_progress=False)


def bert(folder: Path) -> str:
    """The tokenizer.json of a folder with BERT's vocab.txt, whose tokenizer_config.json may keep capitals."""
    package, config = library(), folder / "tokenizer_config.json"
    lowercase = json.loads(config.read_text(encoding="utf-8")).get("do_lower_case", True) if config.is_file() else True
    made = untrained("wordpiece", 0)[0]
    made.model = package.models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]")
    made.normalizer = package.normalizers.BertNormalizer(lowercase=lowercase)
    made.add_special_tokens([token for token in SPECIALS if made.token_to_id(token) is not None])
    text: str = made.to_str()
    return text


def special(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Role -> id in a vocabulary (token -> id), by the names that are usual; -1 where there is none."""
    return {role: next((vocabulary[name] for name in names if name in vocabulary), -1) for role, names in NAMES.items()}


def bytes_of(plain: Mapping[str, Any]) -> Callable[[str], bytes]:
    """What turns a token of this tokenizer.json into its bytes; a space stands for the beginning of a word."""
    if plain["model"]["type"] == "WordPiece":
        prefix = plain["model"].get("continuing_subword_prefix", "##")
        return lambda token: token.removeprefix(prefix).encode() if token.startswith(prefix) else b" " + token.encode()
    if '"ByteLevel"' in json.dumps([plain.get("pre_tokenizer"), plain.get("decoder")]):
        value = {character: byte for byte, character in _byte_alphabet().items()}
        return lambda token: bytes(value.get(character, 0) for character in token)

    def metaspace(token: str) -> bytes:
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()

    return metaspace


def _byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level tokenizers write for every byte (Radford et al. 2019, section 2.2)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + i) for i, byte in enumerate(hidden)}}
