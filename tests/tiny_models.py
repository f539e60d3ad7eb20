"""Tiny random checkpoints of every family of encoders, with tokenizers of each family's kind trained on the sample."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModel,
    AutoModelForQuestionAnswering,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from stages.qa.models.manifest import write_manifest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample" / "train.json"
VOCABULARY = 600
UNICODE = [
    "[a] b[c]d <e> f</g>h / i",
    "Zażółć gęślą jaźń, naïve café, Straße, Ångström; Cafe\u0301 and \ufb01ne.",
    "שלום עולם, مرحبا بالعالم, Привет, мир, Γειά σου Κόσμε",
    "東京は日本の首都です。 ＦＵＬＬ　ｗｉｄｔｈ １２３ \U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
]
SPECIAL = {  # in the order of each family's vocabulary
    "wordpiece": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "mpnet": ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[UNK]"],
    "bytes": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "modern": ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
    "albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
    "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
    "xlm": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}
TOKENIZERS = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "electra": "wordpiece",
    "mpnet": "mpnet",
    "roberta": "bytes",
    "distilroberta": "bytes",
    "modernbert": "modern",
    "albert": "albert",
    "deberta-v2": "deberta",
    "xlm-roberta": "xlm",
}
FAMILIES = list(TOKENIZERS)
LAYERS = {family: 3 if family in ("albert", "roberta", "modernbert") else 2 for family in FAMILIES}


@cache
def corpus() -> list[str]:
    """Contexts and questions of the sample, and some lines of other scripts."""
    data = json.loads(SAMPLE.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    texts = [paragraph["context"] for paragraph in paragraphs]
    return texts + [qa["question"] for paragraph in paragraphs for qa in paragraph["qas"]] + UNICODE * 5


@cache
def train_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer class of a family over a vocabulary learned from the corpus."""
    special = SPECIAL[kind]
    if kind in ("wordpiece", "mpnet"):
        raw = Tokenizer(models.BPE())
        raw.normalizer = normalizers.BertNormalizer(lowercase=True)
        raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pieces = _pieces(raw)
        words = [*special, *pieces, *(f"##{piece}" for piece in pieces)]
        return (BertTokenizer if kind == "wordpiece" else MPNetTokenizer)(vocab={w: i for i, w in enumerate(words)})
    if kind in ("bytes", "modern"):
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
        raw.train_from_iterator(corpus(), trainer)
        if kind == "modern":
            return _modernbert_tokenizer(raw)
        merges = [tuple(merge) for merge in json.loads(raw.to_str())["model"]["merges"]]
        return RobertaTokenizer(vocab=raw.get_vocab(), merges=merges)
    raw = Tokenizer(models.BPE())
    if kind == "albert":
        raw.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    learned = _pieces(raw)
    scored = [(piece, -5 - 10 * rank / len(learned)) for rank, piece in enumerate(learned)]
    pieces = [*((token, 0.0) for token in special), *scored]
    classes = {"albert": AlbertTokenizer, "deberta": DebertaV2Tokenizer, "xlm": XLMRobertaTokenizer}
    return classes[kind](vocab=pieces)


def _pieces(raw: Tokenizer) -> list[str]:
    """What byte-pair encoding learns from the corpus, characters first, then the most frequent pieces.

    The trainers of word pieces and of unigrams give another vocabulary in every process.
    """
    raw.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False))
    vocabulary = raw.get_vocab()
    return sorted(vocabulary, key=lambda piece: vocabulary[piece])


def _modernbert_tokenizer(raw: Tokenizer) -> PreTrainedTokenizerFast:
    """Byte-level BPE with [CLS] and [SEP]; this family has no tokenizer class of its own."""
    raw.normalizer = normalizers.NFC()
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", raw.token_to_id("[CLS]")), ("[SEP]", raw.token_to_id("[SEP]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token=AddedToken("[MASK]", lstrip=True),
        model_input_names=["input_ids", "attention_mask"],
    )


def make_config(family: str, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    """2 or 3 layers of 4 heads, hidden 32; special token ids as the tokenizer has them."""
    common: dict[str, Any] = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    usual = {"hidden_size": 32, "num_hidden_layers": LAYERS[family], "num_attention_heads": 4, "intermediate_size": 64}
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    after_padding = {"max_position_embeddings": 514}
    match family:
        case "bert":
            return BertConfig(**common, **usual)
        case "albert":
            return AlbertConfig(**common, **usual, **ends, embedding_size=16)
        case "distilbert":
            return DistilBertConfig(**common, dim=32, n_layers=LAYERS[family], n_heads=4, hidden_dim=64)
        case "roberta" | "distilroberta":
            return RobertaConfig(**common, **usual, **ends, **after_padding, type_vocab_size=1)
        case "xlm-roberta":
            return XLMRobertaConfig(**common, **usual, **ends, **after_padding, type_vocab_size=1)
        case "electra":
            return ElectraConfig(**common, **usual, embedding_size=16)
        case "mpnet":
            return MPNetConfig(**common, **usual, **ends, **after_padding)
        case "modernbert":
            ids = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
            return ModernBertConfig(**common, **usual, **ends, **ids, max_position_embeddings=512, local_attention=32)
        case "deberta-v2":
            relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 64}
            norm = {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
            return DebertaV2Config(**common, **usual, **relative, **norm, type_vocab_size=0)
    raise ValueError(family)


def make_tiny(family: str, folder: Path, *, head: bool = False, seed: int = 0) -> Path:
    """Write a random checkpoint of `family` with tokenizer and manifest to `folder`, with a span head if `head`."""
    tokenizer = train_tokenizer(TOKENIZERS[family])
    config = make_config(family, tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (AutoModelForQuestionAnswering if head else AutoModel).from_config(config)
        for name, parameter in model.named_parameters():  # normal weights of 0.02 hardly tell one token from another
            if parameter.dim() > 1 and "embedding" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, source=f"random {family}")
    return folder


def tiny_study(root: Path, *, train: int, dev: int) -> dict[str, Any]:
    """The demo's parameters with a tiny encoder, on the sample's first articles, all at `root`; writes method.yaml."""
    make_tiny("bert", root / "tiny")
    (root / "tiny" / "manifest.json").unlink()
    params = read_yaml(ROOT / "params.yaml")
    for name, articles in ("train", train), ("dev", dev):
        data = json.loads((ROOT / f"data/sample/{name}.json").read_text())
        (root / f"{name}.json").write_text(json.dumps(data | {"data": data["data"][:articles]}))
        params["datasets"]["sample"][name]["source"] = f"{name}.json"
    write_yaml(root / "method.yaml", read_yaml(ROOT / "method.yaml") | {"precision": "fp32"})
    return params | {"encoders": {"tiny": {"sources": ["path:tiny"]}}}


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping, its anchors and merges resolved."""
    values: dict[str, Any] = YAML(typ="safe").load(path)
    return values


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    YAML().dump(values, path)
