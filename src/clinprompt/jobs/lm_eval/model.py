"""Answer the requests of lm-evaluation-harness with a saved prompt. Imports lm_eval.

A context is the text of an example, with its instruction if the prompt was trained with one. The
chat template that the prompt was trained with is put around it. It is never cut.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import model_registry

from clinprompt.backbone.decode import answer_all, distinct_choices
from clinprompt.backbone.scheduler import Ask
from clinprompt.batches.encode import Row
from clinprompt.errors import SettingError
from clinprompt.jobs.annotate import load_prompt
from clinprompt.tasks.records import Example, Record

NAME = "clinprompt"  # of the model, as in --model
_KNOWN_WORDS = {"until", "max_gen_toks", "do_sample", "temperature"}
_UNLIMITED = 1 << 30


def register() -> None:
    """Let lm_eval find the model by its name."""
    model_registry.register(NAME, target=PromptModel)


class PromptModel(LM):  # type: ignore[misc]  # lm_eval is not typed
    """A saved prompt with its backbone, as lm_eval asks models."""

    def __init__(
        self,
        prompt: str,
        *,
        backbone: str = "",
        device: str = "auto",
        calibrated: bool = True,
        batch_size: object = None,  # noqa: ARG002 - lm_eval always gives it; memory decides here
    ) -> None:
        """Load the prompt in the folder ``prompt``; the arguments are those of ``model_args``.

        ``calibrated`` says whether log-likelihoods of several choices are corrected by the
        calibration of the prompt, if it has one, as ``clinprompt evaluate`` does.

        Raises:
            ArtifactError: the prompt is damaged.
            BackboneError: the backbone cannot be loaded.
        """
        super().__init__()
        self._loaded = load_prompt(Path(prompt), backbone=backbone, device=device)
        own = self._loaded.encoder()
        form = replace(own.form, instruction="none")
        self._encoder = replace(own, form=form, max_input_tokens=_UNLIMITED)
        self._bank = self._loaded.bank()
        self._calibration = self._loaded.calibration if calibrated else None

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, in nats, and whether it is greedy.

        All continuations of a context are the choices of one row. The blank between context and
        continuation is that of the prompt's training, whatever the task says.

        Raises:
            SettingError: a context is longer than the backbone supports.
        """
        rows: dict[tuple[object, ...], dict[str, int]] = {}  # the number of each continuation
        for request in requests:
            context, continuation = request.args
            own = rows.setdefault((request.task_name, request.doc_id, context), {})
            own.setdefault(continuation.removeprefix(" "), len(own))
        asks = {key: self._ask(str(key[-1]), tuple(own)) for key, own in rows.items()}
        answer_all(self._loaded.backbone, list(asks.values()))
        found = []
        for request in requests:
            context, continuation = request.args
            key = (request.task_name, request.doc_id, context)
            number = rows[key][continuation.removeprefix(" ")]
            scores = self._corrected(tuple(rows[key]), asks[key].scores)
            found.append((scores[number], asks[key].is_greedy[number]))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:  # noqa: ARG002
        """Refuse to score whole texts, for which a prompt was not trained."""
        raise SettingError(
            "a prompt answers questions about a text, so the likelihood of whole texts "
            "(loglikelihood_rolling) says nothing about it; use tasks with output_type "
            "multiple_choice, loglikelihood or generate_until"
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the greedy answer to each context, up to the first of the stop words.

        Answers are not constrained to the words of the context.

        Raises:
            SettingError: an option of generation is unknown, or asks for samples.
        """
        asks, stops = [], []
        for request in requests:
            context, words = request.args
            until, limit = _generation(words, self._encoder.target_limit(self._loaded.card.name))
            row = self._row(context)
            limit = min(limit, self._encoder.context - len(row.input_ids))
            ends = frozenset(self._loaded.backbone.end_ids | {self._encoder.end_id})
            asks.append(Ask(row, self._bank, limit=limit, end_ids=ends))
            stops.append(until)
        answer_all(self._loaded.backbone, asks)
        texts = [self._encoder.decode(ask.written.ids) for ask in asks]
        return [_before(text, own) for text, own in zip(texts, stops, strict=True)]

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],  # noqa: ARG002
        add_generation_prompt: bool = True,  # noqa: ARG002
    ) -> str:
        """Refuse a second chat template."""
        raise SettingError(
            "the chat template that the prompt was trained with is applied in any case; leave "
            "--apply_chat_template out"
        )

    def _ask(self, context: str, continuations: Sequence[str]) -> Ask:
        encoded = [self._encoder.encode_target(one) for one in continuations]
        choices = distinct_choices(encoded, end_id=self._encoder.end_id)
        return Ask(self._row(context), self._bank, choices=choices)

    def _row(self, context: str) -> Row:
        name = self._loaded.card.name
        example = Example(name, Record("1", {"text": context}), (context,), None)
        try:
            return self._encoder.encode(example)
        except SettingError as error:
            raise SettingError(
                f"a context of {self._encoder.length_of(context):,} tokens is, with prompt and "
                "answer, longer than the backbone supports; contexts are not cut, so leave it out "
                "of the task or shorten it"
            ) from error

    def _corrected(self, choices: Sequence[str], scores: Sequence[float]) -> Sequence[float]:
        """Return the scores of a row; those of several choices by the calibration."""
        if self._calibration is None or len(choices) < 2:
            return scores
        return self._calibration.corrected(choices, scores)


def _generation(words: Mapping[str, Any], usual_limit: int) -> tuple[tuple[str, ...], int]:
    """Return the stop words and the maximum number of tokens of a request.

    Raises:
        SettingError: an option is unknown, or asks for samples.
    """
    if unknown := sorted(words.keys() - _KNOWN_WORDS):
        raise SettingError(
            f"generation_kwargs: {unknown[0]} has no effect on a prompt; known: "
            f"{', '.join(sorted(_KNOWN_WORDS))}"
        )
    if words.get("do_sample") or words.get("temperature"):
        raise SettingError(
            "generation_kwargs: a prompt answers greedily; set do_sample to false and temperature "
            "to 0, or leave them out"
        )
    until = words.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until), int(
        words.get("max_gen_toks") or usual_limit
    )


def _before(text: str, stops: Iterable[str]) -> str:
    """Return a text up to the first of the stop words."""
    places = [text.find(stop) for stop in stops if stop]
    return text[: min((place for place in places if place >= 0), default=None)]
