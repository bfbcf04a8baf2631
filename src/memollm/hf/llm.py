"""``EbbinghausLLM``: a language model that forgets, in one object."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers import set_seed as seed_everything

from memollm.hf.attachment import Attachment, attach
from memollm.hf.calibration import calibrated
from memollm.hf.inspection import TokenStates, token_states
from memollm.hf.models import HubModel, ReferenceModel
from memollm.memory.ebbinghaus import Memory
from memollm.modes.base import Mode
from memollm.registry import groups, import_parts, refusal


class EbbinghausLLM:
    """A Hugging Face causal language model with a memory on the forgetting curve.

    >>> llm = EbbinghausLLM("reference")
    >>> llm.generate("The city was founded in", max_new_tokens=5)["num_tokens"]
    5

    Args:
        model_name: a hub id, a local folder, "reference" for the bundled model, or a loaded
            model (then ``tokenizer`` is needed).
        device: where to run; default the GPU, if there is one.
        memory: default ``Memory()``.
        tokenizer: of a loaded model.
        dtype: of the weights; default the checkpoint's own.
    """

    def __init__(
        self,
        model_name: str | PreTrainedModel,
        device: str | None = None,
        *,
        memory: Memory | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        dtype: str = "auto",
    ) -> None:
        if isinstance(model_name, str):
            where = device or "auto"
            if model_name == "reference":
                loaded = ReferenceModel(
                    dtype="float32" if dtype == "auto" else dtype, device=where
                ).load()
            else:
                loaded = HubModel(dtype=dtype, device=where, name=model_name).load()
            self.model, self.tokenizer = loaded.model, tokenizer or loaded.tokenizer
        else:
            if tokenizer is None:
                raise ValueError(
                    "a loaded model needs its tokenizer: EbbinghausLLM(model, tokenizer=...)"
                )
            self.model: PreTrainedModel = model_name
            if device:
                self.model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
            self.tokenizer = tokenizer
        self.memory = calibrated(self.model, self.tokenizer, Memory() if memory is None else memory)

    def generate(
        self,
        prompt: str | Sequence[str],
        max_new_tokens: int = 50,
        generation_mode: str | Mode = "soft_delete",
        enable_memory: bool = True,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 50,
        do_sample: bool = False,
        return_attention_weights: bool = False,
        verbose: bool = False,
        seed: int | None = None,
        force_exact_length: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Continue a prompt, or a batch of prompts, and tell what the memory did.

        A chat template is applied where the tokenizer has one.

        Args:
            prompt: a text, or several; with several, every value of the result but
                ``generation_time`` is a list with one entry for each.
            max_new_tokens: tokens to generate.
            generation_mode: "baseline", "soft_delete", "sparse_attention", or a mode object.
            enable_memory: False is the same as "baseline".
            temperature: with ``do_sample``, divides the logits.
            top_p: with ``do_sample``, mass of the most likely tokens to draw from.
            top_k: with ``do_sample``, number of the most likely tokens to draw from.
            do_sample: draw tokens; otherwise take the most likely one.
            return_attention_weights: add ``token_weights``.
            verbose: print the memory of each layer.
            seed: seed of the random numbers, for draws that repeat.
            force_exact_length: go on for ``max_new_tokens`` where the model would end the text.
            options: whatever else ``model.generate`` takes, but for what gives a prompt several
                sequences (see ``attach`` for that).

        Returns:
            ``generated_text``, ``num_tokens`` (generated), ``generation_time`` (seconds),
            ``memory_stats`` ({layer: {num_tokens, avg_retention, kept_tokens}}), ``sparsity``
            ({layer: share of tokens that are no longer seen}) and, if asked for,
            ``token_weights`` ({tokens, token_ids, layers_info: {layer: {retention_weights,
            memory_strength, time_steps, kept}}}), of all tokens that the memory saw.
        """
        mode = _mode(generation_mode)
        if not enable_memory:
            mode = _mode("baseline")
        for key in ("num_beams", "num_return_sequences", "return_dict_in_generate"):
            if options.get(key, 1) not in (None, 1, False) or options.get(key) is True:
                raise ValueError(
                    f"{key}={options[key]} is not supported here, where a prompt has one sequence "
                    "and one memory; use `with attach(model, memory): model.generate(...)`"
                )
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not all(prompts):
            raise ValueError("prompt is empty: give a text, or a list of texts")
        inputs = self._encode(prompts)
        if seed is not None:
            seed_everything(seed)
        if do_sample:
            options = {"temperature": temperature, "top_p": top_p, "top_k": top_k, **options}
        if force_exact_length:
            options = {"min_new_tokens": max_new_tokens, **options}
        ends = self._ends(options)
        started = time.perf_counter()
        with attach(self.model, self.memory, mode, ledger=return_attention_weights) as attachment:
            generate: Callable[..., torch.Tensor] = self.model.generate  # pyright: ignore
            finished = Finished(attachment, ends)
            settings = {
                "max_new_tokens": max_new_tokens,
                "do_sample": do_sample,
                "pad_token_id": self.tokenizer.pad_token_id,
                **options,
                "stopping_criteria": [*options.get("stopping_criteria", ()), finished],
            }
            sequences = generate(**inputs, **settings)
        seconds = time.perf_counter() - started
        width = inputs["input_ids"].shape[1]
        pads = (inputs["attention_mask"] == 0).sum(dim=1).tolist()
        results = []
        for row in range(len(prompts)):
            new = _until_end(sequences[row, width:], ends)
            states = finished.states.get(row) or _row_states(attachment, row)
            result: dict[str, Any] = {
                "generated_text": self.tokenizer.decode(new, skip_special_tokens=True),
                "num_tokens": len(new),
                "memory_stats": {layer: _stats(state) for layer, state in states.items()},
                "sparsity": {
                    layer: 1 - float(state.kept.float().mean()) for layer, state in states.items()
                },
            }
            if return_attention_weights:
                result["token_weights"] = self._token_weights(sequences[row, pads[row] :], states)
            results.append(result)
        if verbose:
            _print(results)
        if isinstance(prompt, str):
            return {**results[0], "generation_time": seconds}
        lists = {key: [result[key] for result in results] for key in results[0]}
        return {**lists, "generation_time": seconds}

    def _encode(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        tokenizer = self.tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        templated = bool(getattr(tokenizer, "chat_template", None))
        if templated:
            turns = [[{"role": "user", "content": text}] for text in prompts]
            prompts = [
                str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
                for turn in turns
            ]
        encoded = tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=not templated,  # a chat template has brought its own
        )
        return {key: encoded[key].to(self.model.device) for key in ("input_ids", "attention_mask")}

    def _ends(self, options: dict[str, Any]) -> list[int]:
        """Tokens that end a text."""
        config = options.get("generation_config") or self.model.generation_config
        ends = options.get("eos_token_id", config.eos_token_id)
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

    def _token_weights(
        self, sequence: torch.Tensor, states: dict[int, TokenStates]
    ) -> dict[str, Any]:
        seen = max((len(state.kept) for state in states.values()), default=len(sequence))
        ids = sequence[:seen].tolist()
        return {
            "tokens": [self.tokenizer.decode([token]) for token in ids],
            "token_ids": ids,
            "layers_info": {
                layer: {
                    "retention_weights": state.retention.tolist(),
                    "memory_strength": state.strength.tolist(),
                    "time_steps": state.age.tolist(),
                    "kept": state.kept.tolist(),
                }
                for layer, state in states.items()
            },
        }


class Finished(StoppingCriteria):
    """Takes down a row's memory when its text ends: others may go on, and its cache is padded."""

    def __init__(self, attachment: Attachment | None, ends: list[int]) -> None:
        self.states: dict[int, dict[int, TokenStates]] = {}  # by row and layer
        self._attachment, self._ends = attachment, ends

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: Any) -> torch.Tensor:
        if self._ends and self._attachment is not None and len(input_ids) > 1:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if token in self._ends and row not in self.states:
                    self.states[row] = _row_states(self._attachment, row)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _until_end(new: torch.Tensor, ends: list[int]) -> list[int]:
    """The generated tokens up to the end mark, which counts; what follows is padding."""
    ids = new.tolist()
    stop = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[:stop]


def _mode(given: str | Mode) -> Mode:
    if isinstance(given, Mode):
        return given
    import_parts("modes")
    modes = groups()["mode"]
    if given not in modes:
        raise refusal("generation_mode", given, modes)
    return modes[given]()


def _row_states(attachment: Attachment | None, row: int) -> dict[int, TokenStates]:
    if attachment is None or attachment.cache is None:
        return {}
    layers = attachment.memory_layers(attachment.cache)
    return {
        index: token_states(layer.remembering, row)
        for index, layer in zip(attachment.layers, layers, strict=True)
    }


def _stats(state: TokenStates) -> dict[str, float | int]:
    return {
        "num_tokens": len(state.kept),
        "avg_retention": float(state.retention[state.kept].mean()),
        "kept_tokens": int(state.kept.sum()),
    }


def _print(results: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("prompt", "layer", "tokens", "kept", "mean retention", title="memory")
    for number, result in enumerate(results):
        for layer, stats in result["memory_stats"].items():
            table.add_row(
                str(number),
                str(layer),
                str(stats["num_tokens"]),
                str(stats["kept_tokens"]),
                f"{stats['avg_retention']:.3f}",
            )
    Console().print(table)
