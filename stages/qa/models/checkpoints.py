"""Load checkpoints safely: without random weights, empty tokenizers, half precision or foreign code by accident."""

import contextlib
import logging
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from stages.qa import processes
from stages.qa.data.guard import difference, plain_pieces
from stages.qa.data.text import without_accents
from stages.qa.errors import InputError, IntegrityError, one_line
from stages.qa.files import disk_faults
from stages.qa.models.manifest import verify_snapshot, write_manifest

logger = logging.getLogger(__name__)
MAX_LAYERS = 1000  # beyond these bounds a configuration is a mistake or an attack: nothing is built from it
MAX_VOCABULARY = 2_000_000
SAFELY = {"trust_remote_code": False, "local_files_only": True}  # no code of a model is run, and nothing is fetched
TEXTS = (  # on which a tokenizer is compared with its file
    "Zoë met DR. Ångström in ZÜRICH; cafe\u0301, CAFÉ, naïve Straße, İstanbul, Ünïcödé ΣΊΣΥΦΟΣ, Привет, Ёлка",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３ ﬁne ½ x² Ⅷ 東京は日本の首都です。北京，中国 한국어 हिन्दी में قَالَ बिल्ली",
    "1,234.56 in 1757: U.S. $5-10 'so' ``it'' can't (e.g.) #tag @you a_b …—“quoted”«x»† <b>x</b> </s>",
    "a  b\u00a0c\td\r\ne\u200bf\u2028g \u3000h ",
    " \U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f44d\U0001f3fd",
)


def pick_device() -> torch.device:
    """The GPU (of this process) if there is one, unless the environment variable QA_DEVICE says cpu or gpu."""
    choice = os.environ.get("QA_DEVICE", "auto")
    if choice not in ("auto", "cpu", "gpu"):
        raise InputError(f"QA_DEVICE={choice}: must be auto, cpu or gpu")
    if choice == "gpu" and not torch.cuda.is_available():
        raise InputError("QA_DEVICE=gpu: torch sees no GPU here")
    on_cpu = choice == "cpu" or not torch.cuda.is_available()
    processes.join(cpu=on_cpu)
    # it plans for 0.1 s at each new shape, and shapes differ from batch to batch
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cpu" if on_cpu else "cuda")


def bf16_is_fast(device: str) -> bool:
    """Whether `device` ("cpu" or "cuda") multiplies bfloat16 matrices much faster than float32 ones.

    A CPU does with AMX; one of AMD does with AVX-512 for bfloat16 (4.5 times as fast on a Zen 5), because MKL, which
    multiplies float32, does not use AVX-512 there. No timing decides: it could turn, and every result with it.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and "AMD" in cpu["cpu_name"]))


def load_config(folder: Path) -> PretrainedConfig:
    """The checkpoint's configuration. IntegrityError if it is damaged or out of bounds, InputError if it is refused."""
    file, reason = folder / "config.json", None
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # a damaged file, or another program's, gives errors of nearly any type
        raise IntegrityError(f"{file}: no encoder that transformers knows ({one_line(error)})") from error
    if config.model_type == "longformer":
        reason = "its question answering class attends globally to the question and its base class does not"
    elif getattr(config, "is_encoder_decoder", False):
        reason = "it has an encoder and a decoder"
    if reason:
        raise InputError(f"{file}: model type {config.model_type} is refused: {reason}")
    layers, vocabulary = getattr(config, "num_hidden_layers", 0), getattr(config, "vocab_size", 0)
    if not (0 < layers <= MAX_LAYERS and 0 < vocabulary <= MAX_VOCABULARY):
        raise IntegrityError(f"{file}: num_hidden_layers {layers}, vocab_size {vocabulary} out of bounds")
    if config.model_type == "big_bird":
        config.attention_type = "original_full"  # else it changes for good with the first short window
    if getattr(config, "hidden_act", None) == "gelu_new":
        config.hidden_act = "gelu_pytorch_tanh"  # the same function, computed in one step and not in eight
    return config


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of tokenizer.json, whatever the class that tokenizer_config.json names would make of it.

    Without that file, the class builds one; whether it lower-cases is read from the vocabulary. IntegrityError if files
    are foreign, damaged or missing, where transformers makes an empty tokenizer.
    """
    file = folder / "tokenizer.json"
    size = file.stat().st_size if file.exists() else 0
    if size > 200 * config.vocab_size + 2**20:
        raise IntegrityError(f"{file}: {size} bytes for vocab_size {config.vocab_size}: not this model's")
    pieces = sorted(folder.glob("*.model"))
    if pieces and not file.exists() and find_spec("sentencepiece") is None:
        raise IntegrityError(f"{pieces[0]}: without tokenizer.json, to read this needs sentencepiece and protobuf")
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, **SAFELY)
        own = Tokenizer.from_file(str(file)) if file.exists() else None
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        raise IntegrityError(f"{folder}: tokenizer cannot be loaded ({one_line(error)})") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise IntegrityError(f"{folder}: no fast tokenizer, so answers have no character offsets")
    if own is not None:
        if fault := difference(own, tokenizer.backend_tokenizer, TEXTS):
            logger.info("%s is used, not what %s makes of it: %s", file, type(tokenizer).__name__, fault)
        own.post_processor = own.post_processor or tokenizer.backend_tokenizer.post_processor
        tokenizer._tokenizer = own
    elif _loses_letters(tokenizer):
        logger.info("%s: the vocabulary has capitals or accents, so the tokenizer keeps them", folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **SAFELY, do_lower_case=False)
        if _loses_letters(tokenizer):
            raise IntegrityError(f"{folder}: the vocabulary has letters that {type(tokenizer).__name__} never keeps")
    if not 0.9 * config.vocab_size <= len(tokenizer) <= config.vocab_size:
        what = f"tokenizer has {len(tokenizer)} tokens, config.json says vocab_size {config.vocab_size}"
        raise IntegrityError(f"{folder}: {what}; are the tokenizer's files missing or another model's?")
    return tokenizer


def _loses_letters(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a hundredth of the vocabulary has capitals or accents that the tokenizer takes away."""
    pieces, lost = plain_pieces(tokenizer), 0
    for piece in pieces:
        text = tokenizer.convert_tokens_to_string([piece])
        plain = without_accents(text.lower())
        lost += plain != text and tokenizer.tokenize(plain) == tokenizer.tokenize(text)
    return lost > len(pieces) / 100


def has_head(folder: Path, config: PretrainedConfig) -> bool:
    """Whether the checkpoint has a span head: by the names of its tensors, or by what its configuration names."""
    names: set[str] = set()
    with contextlib.suppress(Exception):  # `load_model` says what is wrong with a file
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt") as tensors:
                names.update(tensors.keys())
        for file in folder.glob("*.bin"):
            names.update(torch.load(file, map_location="meta", weights_only=True))
    named = any(name.endswith("ForQuestionAnswering") for name in config.architectures or [])
    return named or any("qa_outputs." in name for name in names)


def load_model(folder: Path, config: PretrainedConfig, *, head: bool, fresh_head: bool = False) -> PreTrainedModel:
    """The checkpoint in float32, with its question answering head if `head`.

    `fresh_head` allows a head that is newly drawn from torch's global generator, for fine-tuning. Encoder weights are
    never random: IntegrityError if the file lacks a tensor, or has layers or shapes that the configuration has not.
    """
    auto = transformers.AutoModelForQuestionAnswering if head else transformers.AutoModel
    if head:
        config.num_labels = 2  # start and end, whatever the checkpoint was trained for before
    checked = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # the report says what did not fit
    try:
        model, report = auto.from_pretrained(folder, config=config, dtype=torch.float32, **checked, **SAFELY)
    except Exception as error:  # safetensors, pickle, torch and transformers each have their own
        raise IntegrityError(f"{folder}: weights cannot be loaded ({one_line(error)})") from error
    missing = [key for key in sorted(report["missing_keys"]) if "pooler" not in key]
    if fresh_head:
        missing = [key for key in missing if key.startswith(f"{model.base_model_prefix}.")]
    surplus = [key for key in sorted(report["unexpected_keys"]) if re.search(r"\b(layers?|h|block)\.\d+\.", key)]
    misshapen = [f"{key} {tuple(it)} for {tuple(ours)}" for key, it, ours in sorted(report["mismatched_keys"])]
    for fault, keys in ("lacks", missing), ("has unused", surplus), ("has misshapen", misshapen):
        if keys:
            what = f"{fault} {len(keys)} tensors of {type(model).__name__}, first {keys[0]}"
            raise IntegrityError(f"{folder}: the checkpoint {what}; is config.json another model's?")
    return model


def randomise(folder: Path, *, seed: int) -> None:
    """Replace the weights in `folder` by newly drawn ones of the same configuration."""
    manifest = verify_snapshot(folder)
    config = load_config(folder)
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config, dtype=torch.float32)
    for name in manifest["files"]:
        if name.endswith((".bin", ".safetensors", ".index.json")):
            (folder / name).unlink()
    save_model(model, folder)
    write_manifest(folder, source=f"random weights, seed {seed}")


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write configuration and weights to `folder`, for all to read; ResourceError if they find no room."""
    with disk_faults(folder):
        model.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):  # safetensors lets only the owner read them
        path.chmod((folder / "config.json").stat().st_mode)
