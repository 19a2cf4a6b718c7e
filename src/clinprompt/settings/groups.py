"""The groups of settings of a run, each with its default and unit.

Knows nothing of what the settings do, and no method by name. The paper does not
publish the prompt length, the loss weights or the learning rates, so these defaults are our choice.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

NAME_PATTERN = r"^[A-Za-z0-9][\w.-]*$"  # a name becomes a folder, and must stay one
DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:\d+)?)$"
SHOTS_PATTERN = r"^([1-9][0-9]*|all)$"
PATTERNS = {
    NAME_PATTERN: "letters, digits, '_', '.' and '-', and begin with a letter or digit",
    DEVICE_PATTERN: "auto, cpu, mps, cuda, or cuda: and a number",
    SHOTS_PATTERN: "a number of examples, or all",
}
Routing = Literal["all", "type", "nearest"]
Quantize = Literal["none", "8-bit", "4-bit"]
Placement = Literal["prefix", "suffix", "layers"]
Shots = Annotated[int, Field(ge=0)] | Literal["all"]


class Settings(BaseModel):
    """A frozen group of values that users write; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SettingsOfRun(Settings):
    """A group of settings of a run; ``true`` is not accepted as a number."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false for numbers, which pydantic would read as 1 and 0."""
        if isinstance(value, bool):
            annotation = cls.model_fields[str(info.field_name)].annotation
            kinds = {annotation, *get_args(annotation)}
            if bool not in kinds and kinds & {int, float}:
                raise ValueError(f"must be a {'' if float in kinds else 'whole '}number")
        return value


# Settings of data that no training reads: how many test rows are answered, and how.
OF_ANSWERS = {"constrained", "calibration", "nothing_share", "test_rows", "test_label_rows"}


class DataSettings(SettingsOfRun):
    """How much of each task is used. Lengths count tokens of the backbone's tokenizer."""

    max_input_tokens: int = Field(default=512, ge=8, description="longer inputs: see long_inputs")
    long_inputs: Literal["split", "cut"] = Field(
        default="split",
        description="split: passages for questions; cut: without their middle. Texts with mentions "
        "or links are always read in windows",
    )
    max_target_tokens: int = Field(
        default=128,
        ge=2,
        description="rows with longer answers are not trained on; generated answers end here",
    )
    target_tokens: dict[str, Annotated[int, Field(ge=2)]] = Field(
        default_factory=dict, description="max_target_tokens of single tasks, by name"
    )
    train_rows: int = Field(
        default=2000,
        ge=1,
        description="maximum training records of a source task, and of a target with shots = "
        '"all"; a long record gives several rows',
    )
    validation_rows: int = Field(
        default=32, ge=1, description="maximum validation records of a task"
    )
    test_rows: int = Field(default=200, ge=1, description="maximum test records of a target")
    overlap_words: int = Field(default=13, ge=3, description="n of the n-grams of the overlap rule")
    test_label_rows: int = Field(
        default=0,
        ge=0,
        description="maximum test records of a target with closed labels; 0: as test_rows",
    )
    constrained: bool = Field(
        default=True, description="mentions and links in answers are words of the text"
    )
    calibration: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="subtract the mean log-probability of each label, or of listing nothing, over "
        "inputs of the task. auto: if that is better on the validation records",
    )
    input_form: Literal[1, 2] = Field(
        default=2,
        description="1: the card's template alone; 2: its instruction after the text too, and the "
        "chat template of the backbone if it has one",
    )
    nothing_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of inputs without mentions or links, if you know it; answers are "
        "corrected so that this share of the training inputs lists nothing",
    )


class PromptSettings(SettingsOfRun):
    """The shape of every prompt, and the start of a prompt that is trained from scratch."""

    length: int = Field(default=100, ge=1, description="P, positions")
    rank: int = Field(default=1, ge=1, description="R, rank of the task factors")
    segment: int = Field(
        default=0, ge=0, description="positions, of length, that belong to the task's type"
    )
    placement: Placement = Field(
        default="prefix",
        description="prefix: before the input; suffix: between input and answer; layers: before "
        "the input, as keys and values of every layer",
    )
    start: Literal["vocabulary", "text"] = Field(
        default="vocabulary",
        description="vocabulary: embeddings of random tokens; text: of the tokens of prompt.text",
    )
    text: str = Field(
        default="Read the clinical text and answer.",
        description='text that the prompt starts from if start = "text"',
    )

    @model_validator(mode="after")
    def _leaves_general_positions(self) -> Self:
        if self.segment >= self.length:
            raise ValueError(
                f"segment = {self.segment} must be less than length = {self.length}, so that "
                "tasks of all types share some positions"
            )
        return self


Weighting = Literal["row", "token", "capped"]
_ROW_WEIGHTS = (
    "weight of a row in the loss. row: all alike; token: its answer's tokens; "
    "capped: these, but at most row_cap"
)


class StepSettings(SettingsOfRun):
    """What a training step reads, and how the learning rates change over the steps."""

    rows: int = Field(default=16, ge=1, description="batch size: rows per step")
    warmup_steps: int = Field(
        default=10,
        ge=0,
        description="the learning rates rise to their full size; at most half of the steps",
    )
    decay: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="of the learning rates after the warm-up"
    )
    clip_norm: float = Field(default=1.0, gt=0, description="gradients are scaled to at most this")
    checkpoint_every: int = Field(default=25, ge=1, description="steps")
    micro_batch_tokens: int = Field(default=1024, ge=1, description="tokens read at a time")
    row_weights: Weighting = Field(default="row", description=_ROW_WEIGHTS)
    row_cap: int = Field(default=8, ge=1, description='token cap if row_weights = "capped"')


class FitSettings(StepSettings):
    """How long and how fast something is trained."""

    steps: int = Field(default=300, ge=0, description="training steps")


class SourceFitSettings(FitSettings):
    """A fit on source tasks, whose validation rows may choose the best state."""

    validate_every: int = Field(default=0, ge=0, description="steps; 0 keeps the last state")


class TeacherSettings(SourceFitSettings):
    """One prompt for each source task, trained on the rows of that task."""

    learning_rate: float = Field(default=0.1, gt=0, description="of the prompt")
    together: int = Field(default=1, ge=1, description="teachers trained side by side, at most")


class DistillSettings(SourceFitSettings):
    """One shared prompt, and rank-R factors for each source task, distilled from the teachers."""

    steps: int = Field(default=2000, ge=0, description="training steps")
    shared_rate: float = Field(default=0.03, gt=0, description="learning rate of the shared prompt")
    factor_rate: float = Field(
        default=0.03,
        ge=0,
        description="learning rate of the factors; 0: no factors, one prompt for all",
    )
    logits_weight: float = Field(default=0.9, ge=0, description="λ of the logit divergence")
    hidden_weight: float = Field(default=0.9, ge=0, description="λ of the hidden-state error")
    temperature: float = Field(default=1.0, gt=0, description="τ of the logit divergence")
    top_k: int = Field(
        default=64,
        ge=0,
        description="the teacher's likeliest tokens that are compared one by one; 0: all",
    )
    cache_teachers: bool = Field(
        default=True, description="keep the teachers' outputs for each row on disk, in float16"
    )
    sampling_temperature: float = Field(
        default=4.0, ge=1, description="1 draws tasks by size; larger is nearer to equal shares"
    )
    start: Literal["vocabulary", "text", "teachers"] = Field(
        default="teachers",
        description="what the shared prompt starts from. teachers: the mean of their prompts; "
        "vocabulary, text: as in prompt.start",
    )
    balance: Literal["types", "tasks"] = Field(
        default="types",
        description="types: draw a task type first, all equally often, then a task of this type; "
        "tasks: draw among all tasks at once",
    )


class AdaptSettings(StepSettings):
    """A method fitted to a new task, on a few training examples or on all.

    With at least 64 examples and 50 steps, a part of them is kept for validation, and the state
    with the lowest loss on it is the result. With all training rows, the task's validation rows
    are used if there are any, without the least number of examples.
    """

    steps: int | None = Field(
        default=None,
        ge=0,
        description="training steps. none: 20, with at least 64 examples 60, with at least 256 "
        "examples 200",
    )
    row_weights: Weighting = Field(default="capped", description=_ROW_WEIGHTS)
    method_steps: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="steps of single methods, by name; they win over ``steps`` wherever it is set",
    )
    routing: Routing = Field(
        default="type",
        description="whose factors are averaged to start a new task. all: all source tasks; type: "
        "those of its type; nearest: either of these or a single source, whichever has the lowest "
        "loss on its examples",
    )
    shared_rate: float = Field(default=0.03, gt=0, description="learning rate of the shared prompt")
    factor_rate: float = Field(
        default=0.03, gt=0, description="learning rate of the task's factors"
    )
    validate_every: int = Field(
        default=10, ge=0, description="steps; 0 trains on all examples and keeps the last state"
    )
    validation_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="of the examples; at most data.validation_rows of them",
    )
    averaged_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the result is the mean of the trainable parameters over this share of the "
        "steps, the last ones; 0: the state after the last step. Without effect if validation rows "
        "choose the state",
    )
    relative_rates: bool = Field(
        default=False,
        description="learning rates of prompts, but not of factors, are relative to the size of "
        "what is trained: the root mean square of the keys and of the values of each layer, or of "
        "an input prompt, at the start",
    )


class BaselineSettings(SettingsOfRun):
    """What the metaprompt is compared with.

    Steps and rows on a target are those of ``adapt``, on the source tasks those of ``distill``.
    """

    prompt_rate: float = Field(
        default=0.1,
        gt=0,
        description="learning rate of prompt tuning, SPoT and the multitask prompt on a target",
    )
    mpt_rate: float = Field(
        default=0.1, gt=0, description="learning rate of PEFT's multitask prompt tuning"
    )
    lora_rate: float = Field(default=0.01, gt=0, description="learning rate of LoRA on a target")
    lora_rank: int = Field(default=8, ge=1, description="rank of LoRA")
    lora_modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj"),
        min_length=1,
        description="names of the linear layers that LoRA adapts",
    )
    full_rate: float = Field(default=0.0001, gt=0, description="learning rate of full fine-tuning")
    source_prompt_rate: float = Field(
        default=0.1, gt=0, description="learning rate of the multitask prompt on all source tasks"
    )
    source_lora_rate: float = Field(
        default=0.001, gt=0, description="learning rate of LoRA on all source tasks"
    )


class CompareSettings(SettingsOfRun):
    """The grid of results: each method on each target, for all numbers of examples and seeds."""

    methods: tuple[str, ...] = Field(
        default=(), description="METHOD or METHOD@VARIANT; without it, the default methods"
    )
    backbones: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="backbones to compare; without it, the run's backbone only"
    )
    ablations: tuple[str, ...] = Field(
        default=(), description="variants that the report shows as ablations of their methods"
    )
    targets: tuple[str, ...] = Field(
        default=(), description="some targets of the suite; without it, all"
    )
    shots: tuple[Annotated[int, Field(ge=1)] | Literal["all"], ...] = Field(
        default=(16, 64),
        description='numbers of training examples; "all": at most data.train_rows records',
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0,), min_length=1, description="each seed is one draw of the examples"
    )
    together: int = Field(
        default=1,
        ge=1,
        description="prompts trained side by side, at most: faster, and scores change only by "
        "rounding",
    )

    @model_validator(mode="after")
    def _names_each_cell_once(self) -> Self:
        for name in ("methods", "backbones", "targets", "shots", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one value twice: {values}")
        return self


def split_method(name: str) -> tuple[str, str]:
    """Return method and variant of METHOD@VARIANT; a plain method has the variant ""."""
    method, _, variant = name.partition("@")
    return method, variant


def join_method(method: str, variant: str) -> str:
    """Return METHOD@VARIANT; a method of the variant "" is plain."""
    return f"{method}@{variant}" if variant else method


JudgedBy = Literal["score", "loss"]


class SearchSettings(SettingsOfRun):
    """The trials that search for the settings of each method, on held-out tasks.

    All methods have the same number of trials, so that the search is fair.
    """

    tasks: tuple[str, ...] = Field(min_length=1, description="the held-out tasks")
    shots: int = Field(default=16, ge=1, description="training examples of each trial")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0,), min_length=1, description="each seed is one draw of the examples"
    )
    judged_by: JudgedBy = Field(
        default="score",
        description="how a trial is judged on validation rows: by its score or, faster and with "
        "less noise, by its loss",
    )
    trials: dict[str, tuple[dict[str, Any], ...]] = Field(
        description="for each method, a list of groups of changed settings, one for each trial"
    )

    @model_validator(mode="after")
    def _gives_each_the_same_number(self) -> Self:
        counts = {name: len(trials) for name, trials in self.trials.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(f"trials: give each method equally many, not {counts}")
        return self
