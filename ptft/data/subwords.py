"""Subword tokenizers of the `tokenizers` library (extra `text`): made, found, and what their tokens stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from ptft.errors import DataError, not_imported

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
        needs = "dataset.tokenizer other than bytes, and dataset.units=bpe, need the package tokenizers"
        raise not_imported(needs, "tokenizers", "'ptft[text]'", error) from error
    return tokenizers


BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, DataError)
"""What reading a tokenizer's files raises where they are missing or damaged."""
LONGEST_WORD = 1000
"""Characters of a word that a vocabulary is learned from at a time: learning takes time with the square of a word's."""
_BYTE_RUNS = r"[^\W_]", r"(?:[^\w\s]|_)", r"\s"
RUNS = {
    kind: re.compile("|".join(rf"(?<!{one}){one}{{{LONGEST_WORD}}}{one}+" for one in characters))
    for kind, characters in {
        "bpe": _BYTE_RUNS,
        "unigram": _BYTE_RUNS,
        "wordpiece": (r"[^\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]",),
        "spoken": (r"[^ ]",),
    }.items()
}
"""Kind -> what finds the words that are longer, in so far as their characters could be one word there."""
SPARSEST = 16
"""A vocabulary may have so many times more ids than tokens; a file can name any number, and a model is as large."""


class UnusableTokenizer(DataError):
    """A tokenizer.json that the library, or a model, can do nothing with. The message is the reason alone."""


def parsed(text: str) -> Any:
    """The library's tokenizer of a tokenizer.json, which cuts and fills up nothing. Raises UnusableTokenizer."""
    tokenizer = _guarded(library().Tokenizer.from_str, text)
    tokenizer.no_padding()  # which some files ask for
    tokenizer.no_truncation()
    vocabulary = tokenizer.get_vocab()
    highest = max(vocabulary.values(), default=-1)
    if not vocabulary or highest >= SPARSEST * len(vocabulary) + 1024:
        raise UnusableTokenizer(f"it has {len(vocabulary):,} tokens and ids up to {highest:,}")
    return tokenizer


def kind_of(text: str) -> str:
    """The kind of the tokenizer in a tokenizer.json. Raises one of BROKEN."""
    model = json.loads(text)["model"]["type"]
    kinds = {"BPE": "bpe", "WordPiece": "wordpiece", "Unigram": "unigram"}
    if model not in kinds:
        raise UnusableTokenizer(f"a model of type {model!r}, one of {', '.join(kinds)} is known")
    return kinds[model]


def encoder(tokenizer: Any, text: str, special: Mapping[str, int]) -> Any:
    """What encodes a user's text with the `tokenizer` of the tokenizer.json `text`: nothing in it is special.

    special: role -> id. Where the vocabulary itself holds the name of a special token as a piece, and so would find it
    in a text, it is renamed in a copy; ids are the same. Raises UnusableTokenizer.
    """
    tokenizer.encode_special_tokens = True
    reserved = {special[role] for role in ("pad", "cls", "sep", "mask")} - {special["unk"], -1}
    names = {tokenizer.id_to_token(index): index for index in reserved}
    samples = [text for name in names for text in (name, f"a {name} b", f"a{name}b")]
    encodings = _guarded(tokenizer.encode_batch, samples, add_special_tokens=False) if samples else []
    if reserved.isdisjoint(index for encoding in encodings for index in encoding.ids):
        return tokenizer
    copy = parsed(json.dumps(_hidden(json.loads(text), names.keys())))
    if any(copy.token_to_id(_unreachable(name)) != index for name, index in names.items()):
        raise UnusableTokenizer("its special tokens can't be told from text")
    copy.encode_special_tokens = True
    return copy


def between(text: str, separator: int) -> int:
    """How often the tokenizer.json `text` has its separator between the two texts of a pair, once or twice."""
    tokenizer = parsed(text)
    if separator < 0 or (tokenizer.post_processor is None):
        return 1
    encoding = _guarded(tokenizer.encode, "a", "b")
    kinds = "".join("s" if index == separator else " " for index in encoding.ids)
    return 2 if "ss" in kinds.rstrip("s") else 1


def encoded(tokenizer: Any, texts: Sequence[str], fast: bool = False) -> list[Any]:
    """The library's encodings of texts, without special tokens around them; `fast` ones have no offsets.

    Raises DataError where the tokenizer has no answer (to an unknown character, say).
    """
    try:
        return list(
            _guarded(tokenizer.encode_batch_fast if fast else tokenizer.encode_batch, texts, add_special_tokens=False)
        )
    except UnusableTokenizer as error:
        raise DataError(f"dataset.tokenizer: can't encode the texts ({error})") from error


def _guarded(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the library returns. Of a broken file it raises plain exceptions, and what its language calls a panic."""
    try:
        return call(*arguments, **options)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UnusableTokenizer(str(error).strip().split("\n")[0][:200] or type(error).__name__) from error


def _hidden(plain: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    """A tokenizer.json in which the tokens `names` are called something that no text holds."""
    model, pieces = plain["model"], plain["model"]["vocab"]
    if isinstance(pieces, dict):
        pieces = {_unreachable(piece) if piece in names else piece: index for piece, index in pieces.items()}
    else:
        pieces = [[_unreachable(piece) if piece in names else piece, score] for piece, score in pieces]
    model = {**model, "vocab": pieces}
    if "merges" in model:
        pairs = ((pair.split(" ") if isinstance(pair, str) else pair, pair) for pair in model["merges"])
        model["merges"] = [pair for (a, b), pair in pairs if not {a, b, a + b} & names]
    added = [
        {**token, "content": _unreachable(token["content"])} if token["content"] in names else token
        for token in plain.get("added_tokens") or ()
    ]
    return {**plain, "model": model, "added_tokens": added}


def _unreachable(name: str) -> str:
    return f"\uffff{name}\uffff"


def bounded(kind: str, texts: Iterable[str]) -> Iterator[str]:
    """The texts to learn a vocabulary of this kind from, parted within words of more than LONGEST_WORD characters.

    BERT leaves words of more than 100 characters out; here every part of one counts as a word, so that a vocabulary can
    still be learned from text without spaces (DNA, say). What is encoded later is not parted.
    """
    for text in texts:
        begin = 0
        for run in RUNS[kind].finditer(text) if _may_hold_longer(text) else ():
            for end in range(run.start() + LONGEST_WORD, run.end(), LONGEST_WORD):
                yield text[begin:end]
                begin = end
        yield text[begin:]


def _may_hold_longer(text: str) -> bool:
    """Whether more than LONGEST_WORD characters may stand in a row that are all blank, or none of them. Quick."""
    if len(text) <= LONGEST_WORD:
        return False
    lengths = list(map(len, text.split()))
    return max(lengths, default=0) > LONGEST_WORD or len(text) - sum(lengths) - len(lengths) >= LONGEST_WORD


def untrained(kind: str, size: int) -> tuple[Any, Any]:
    """A tokenizer of the library and what trains it."""
    package = library()
    options = {"vocab_size": size, "special_tokens": list(SPECIALS), "show_progress": False}
    if kind == "wordpiece":
        tokenizer = package.Tokenizer(package.models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = package.normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = package.decoders.WordPiece()
        return tokenizer, package.trainers.WordPieceTrainer(**options)
    alphabet = package.pre_tokenizers.ByteLevel.alphabet()
    if kind == "bpe":
        tokenizer, trainer = package.Tokenizer(package.models.BPE()), package.trainers.BpeTrainer
    else:
        tokenizer, trainer = package.Tokenizer(package.models.Unigram()), package.trainers.UnigramTrainer
        options["unk_token"] = "[UNK]"
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    tokenizer.post_processor = package.processors.ByteLevel(trim_offsets=True)
    return tokenizer, trainer(initial_alphabet=alphabet, **options)


def untrained_spoken(size: int, characters: Iterable[str] = ()) -> tuple[Any, Any]:
    """A BPE tokenizer over characters, in which a space belongs to the word after it, and what trains it; these
    characters are among its pieces whatever it is trained on."""
    package = library()
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.normalizer = package.normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = package.pre_tokenizers.Split(" ", "merged_with_next")
    tokenizer.decoder = package.decoders.Fuse()
    alphabet = sorted({" ", *characters})
    return tokenizer, package.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)


def bert(folder: Path) -> str:
    """The tokenizer.json of a folder with BERT's vocab.txt, whose tokenizer_config.json may keep capitals."""
    package, config = library(), folder / "tokenizer_config.json"
    lowercase = json.loads(config.read_text(encoding="utf-8")).get("do_lower_case", True) if config.is_file() else True
    tokenizer = untrained("wordpiece", 0)[0]
    tokenizer.model = _guarded(package.models.WordPiece.from_file, str(folder / "vocab.txt"), unk_token="[UNK]")
    tokenizer.normalizer = package.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.add_special_tokens([token for token in SPECIALS if tokenizer.token_to_id(token) is not None])
    text: str = tokenizer.to_str()
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
        value = {character: byte for byte, character in byte_alphabet().items()}
        return lambda token: bytes(value.get(character, 0) for character in token)

    def metaspace(token: str) -> bytes:
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()

    return metaspace


def byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level tokenizers write for every byte (Radford et al. 2019, section 2.2)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + i) for i, byte in enumerate(hidden)}}
