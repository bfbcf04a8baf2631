"""One prompt, continued once under one mode."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from memollm.generation.settings import Settings
from memollm.hf.llm import EbbinghausLLM
from memollm.hf.streamer import Stream
from memollm.modes.base import Mode


@dataclass(frozen=True)
class TokenMemory:
    """What one layer knew of each token at the end; (tokens) each, forgotten ones included."""

    retention: list[float]
    strength: list[float]
    kept: list[bool]


@dataclass(frozen=True)
class Answer:
    """What a model said, how long it took, and what its memory kept."""

    prompt: str
    mode: str
    text: str
    ids: list[int]  # of the tokens generated
    prompt_tokens: int
    seconds: float  # from the call to the last token
    first_token: float  # seconds from the call to the first one: the prompt was read
    kept: Mapping[int, int]  # tokens that are still seen, by layer with a memory
    seen: int  # tokens that such a layer was given
    retention: Mapping[int, float]  # of what is kept, mean, by layer with a memory
    layers: int  # of the model
    graded: bool  # whether the mode weakens tokens, in place of forgetting them
    tokens: list[str] = field(default_factory=list)  # prompt and answer, if details were asked for
    details: Mapping[int, TokenMemory] = field(default_factory=dict)  # by layer

    @property
    def tokens_per_second(self) -> float:
        """All generated tokens by all the time they took, reading the prompt included."""
        return len(self.ids) / self.seconds

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Tokens after the first by the time they took; None where there is only one."""
        if len(self.ids) < 2:
            return None
        return (len(self.ids) - 1) / (self.seconds - self.first_token)

    @property
    def kept_share(self) -> float:
        """Tokens still seen by tokens given, mean over all layers of the model."""
        whole = self.layers - len(self.kept)  # layers without a memory keep everything
        shares = [count / self.seen for count in self.kept.values()] + [1.0] * whole
        return statistics.fmean(shares)


def answer(
    llm: EbbinghausLLM,
    prompt: str,
    name: str,
    mode: Mode,
    settings: Settings,
    *,
    show: Callable[[str], None] | None = None,
    details: bool = False,
) -> Answer:
    """Continue ``prompt``.

    Args:
        llm: the model and its memory.
        prompt: a text.
        name: of the mode.
        mode: what becomes of what is forgotten.
        settings: how to draw.
        show: given the text of each token as it comes.
        details: also take down what each layer knows of each token. Costs time.
    """
    stream = Stream(llm.tokenizer, show)
    started = time.perf_counter()
    result = llm.generate(
        prompt,
        max_new_tokens=settings.max_tokens,
        generation_mode=mode,
        temperature=settings.temperature or 1.0,
        do_sample=settings.temperature is not None,
        force_exact_length=settings.force_exact_length,
        return_attention_weights=details,
        seed=settings.seed,
        streamer=stream,
    )
    stats = result["memory_stats"]
    noted = result.get("token_weights", {"tokens": [], "layers_info": {}})
    return Answer(
        prompt=prompt,
        mode=name,
        text=result["generated_text"],
        ids=stream.ids,
        prompt_tokens=stream.prompt_tokens,
        seconds=stream.times[-1] - started,
        first_token=stream.times[0] - started,
        kept={layer: it["kept_tokens"] for layer, it in stats.items()},
        seen=max((it["num_tokens"] for it in stats.values()), default=0),
        retention={layer: it["avg_retention"] for layer, it in stats.items()},
        layers=llm.model.config.get_text_config(decoder=True).num_hidden_layers,
        graded=mode.graded,
        tokens=noted["tokens"],
        details={
            layer: TokenMemory(it["retention_weights"], it["memory_strength"], it["kept"])
            for layer, it in noted["layers_info"].items()
        },
    )
