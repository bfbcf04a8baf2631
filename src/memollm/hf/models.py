"""Where a model comes from: the bundled one, any from the hub or a folder, or random weights.

The parts here are light: Transformers is imported when a model is loaded, not when a run is
composed.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from memollm.reference import weights_path
from memollm.registry import refusal, register

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    Check: TypeAlias = Callable[[type[PreTrainedModel], PreTrainedConfig], object]

SCRATCH = "memollm_scratch"  # model_type of models that task=train makes
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready for inference."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass
class ModelSource(abc.ABC):
    """A place to load a causal language model from."""

    dtype: str = "float32"  # of weights and cache; auto: the checkpoint's own
    device: str = "auto"  # auto: cuda if there is one, else cpu

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise refusal("model.dtype", self.dtype, DTYPES)

    def prepare(self) -> None:
        """Refuse what cannot be loaded, as far as can be told without loading it."""
        import torch

        try:
            device = self.torch_device()
        except RuntimeError as error:
            raise ValueError(
                f"model.device={self.device!r} is not allowed, choose auto, cpu, cuda, cuda:0, ..."
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"model.device={self.device!r} is not allowed, there is no CUDA here")

    def context_length(self) -> int | None:
        """Most tokens of a sequence, where that can be told without loading the model."""
        return None

    def fingerprint(self) -> str:
        """What decides results beside the fields: which weights these are."""
        return ""

    @abc.abstractmethod
    def load(self, check: Check | None = None) -> Loaded:
        """The model, in evaluation mode on its device.

        Args:
            check: called with its class and configuration before any weights are read.
        """

    def torch_dtype(self) -> torch.dtype | str:
        import torch

        return "auto" if self.dtype == "auto" else getattr(torch, self.dtype)

    def torch_device(self) -> torch.device:
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@register("model", "reference")
@dataclass
class ReferenceModel(ModelSource):
    """The model that comes with this package: small, trained to read English and to retrieve."""

    def context_length(self) -> int | None:
        return context_length(weights_path())

    def fingerprint(self) -> str:
        return weights_hash(weights_path())

    def load(self, check: Check | None = None) -> Loaded:
        self.prepare()
        return load_folder(self, str(weights_path()), "reference", check)


@register("model", "hf")
@dataclass
class HubModel(ModelSource):
    """Any causal language model of the Hugging Face hub, or of a local folder.

    Weights are read from safetensors only, and a repository's own code is run only with
    ``trust_remote_code``.
    """

    dtype: str = "auto"
    name: str | None = None  # hub id (owner/name) or folder
    revision: str | None = None  # branch, tag or commit of the hub
    trust_remote_code: bool = False

    def prepare(self) -> None:
        super().prepare()
        if not self.name:
            raise ValueError("model.name is not set: give a hub id (owner/name) or a local folder")
        folder = Path(self.name).expanduser()
        looks_local = self.name.startswith((".", "/", "~")) or self.name.count("/") > 1
        if looks_local and not (folder / "config.json").is_file():
            raise ValueError(
                f"model.name={self.name!r} is not allowed, it has no config.json to load"
            )

    def context_length(self) -> int | None:
        return context_length(Path(self.name or "").expanduser())

    def fingerprint(self) -> str:
        return weights_hash(Path(self.name or "").expanduser())

    def load(self, check: Check | None = None) -> Loaded:
        self.prepare()
        assert self.name is not None
        path = Path(self.name).expanduser()
        where = str(path) if path.is_dir() else self.name
        options = {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
        try:
            return load_folder(self, where, self.name, check, **options)
        except OSError as error:
            raise ValueError(
                f"model.name={self.name!r} could not be loaded: it is no local folder, and the "
                f"hub gave no such model (or cannot be reached from here). {error}"
            ) from error


@register("model", "random")
@dataclass
class RandomModel(ModelSource):
    """A real architecture with random weights: for speed and memory, with nothing to download.

    Its text means nothing. Prompts are read with the bundled model's tokenizer.
    """

    model_type: str = "qwen2"  # as in config.json
    settings: dict[str, Any] = field(default_factory=dict)  # the rest of config.json
    weights_seed: int = 0

    def prepare(self) -> None:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        super().prepare()
        if self.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise refusal("model.model_type", self.model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

    def context_length(self) -> int | None:
        return self.settings.get("max_position_embeddings")

    def load(self, check: Check | None = None) -> Loaded:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        self.prepare()
        config = AutoConfig.for_model(self.model_type, **self.settings)
        _check(config, check)
        dtype = self.torch_dtype()
        with torch.random.fork_rng(devices=[]), self.torch_device():
            torch.manual_seed(self.weights_seed)
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32 if dtype == "auto" else dtype
            )
        tokenizer = _tokenizer(str(weights_path()))
        return Loaded(f"random {self.model_type}", model.eval(), tokenizer)


def _is_scratch(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and json.loads(file.read_text()).get("model_type") == SCRATCH


def context_length(folder: Path) -> int | None:
    """As config.json of a local model says."""
    file = folder / "config.json"
    return json.loads(file.read_text()).get("max_position_embeddings") if file.is_file() else None


@functools.cache
def weights_hash(folder: Path) -> str:
    """SHA-256 of a local model's weights; empty for one that is not local."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def load_folder(
    source: ModelSource, where: str, name: str, check: Check | None, **options: Any
) -> Loaded:
    from transformers import AutoConfig, AutoModelForCausalLM

    if _is_scratch(Path(where)):
        import memollm.scratch.model  # noqa: F401 - makes itself known to Transformers
    _check(AutoConfig.from_pretrained(where, **options), check)
    tokenizer = _tokenizer(where, **options)
    with _quiet() if Path(where).is_dir() else nullcontext():
        model = AutoModelForCausalLM.from_pretrained(
            where, dtype=source.torch_dtype(), use_safetensors=True, **options
        )
    model.to(source.torch_device())  # pyright: ignore[reportArgumentType]
    return Loaded(name, model.eval(), tokenizer)


def _check(config: PreTrainedConfig, check: Check | None) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if check is not None and type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        model: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        check(model, config)


def _tokenizer(where: str, **options: Any) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(where, **options)
    # Whole texts are tokenized before they are cut; what a model can take is checked by
    # evaluations, and the tokenizer's warning would only look like a defect.
    tokenizer.model_max_length = sys.maxsize
    return tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar: a local model is there in a moment."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
