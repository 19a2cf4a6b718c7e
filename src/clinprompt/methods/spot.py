"""SPoT (arXiv 2110.07904): train a prompt that starts from the best prompt of a source task.

The source prompts are the teachers that the metaprompt of the same run is distilled from, so both
methods have seen the same rows of the same sources.
"""

from contextlib import nullcontext

from clinprompt.backbone.tuners import PromptTuner
from clinprompt.errors import SettingError
from clinprompt.methods.counts import prompt_numbers
from clinprompt.methods.method import Method, Start, Started
from clinprompt.methods.routing import index_of_lowest_loss
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.soft import SoftPrompts


def best_teacher(given: Start, metaprompt: Artifact) -> SoftPrompts:
    """Return the source prompt with the lowest loss on 16 of the task's rows.

    SPoT compares source prompts by their scores after tuning, or by their similarity. The loss
    before tuning costs one pass for each prompt, and reads only the training examples.

    Raises:
        SettingError: this run has not trained the source prompts of the metaprompt.
    """
    starts, names = [], [str(source["name"]) for source in metaprompt.manifest.tasks]
    for name in names:
        teacher = given.load_teacher(name)
        if teacher is None:
            raise SettingError(
                f"method spot starts from prompts of single sources, but this run has none of "
                f"{name}; leave spot out, or set metaprompt = '' so that the run trains them"
            )
        vectors = teacher.tensors["vectors"]
        module = SoftPrompts(vectors[None], scale=given.scale_of(vectors))
        starts.append(module.to(given.backbone.device))
    best = index_of_lowest_loss(given, starts)
    given.say(f"{given.card.name}: starts from the prompt of {names[best]}")
    return starts[best]


def _start(given: Start) -> Started:
    module = best_teacher(given, given.needed_metaprompt("spot"))
    tuner = PromptTuner(module, given.config.prompt.placement)
    return nullcontext((tuner, {"prompt": given.config.baselines.prompt_rate}))


SPOT = Method(
    "spot",
    trains="prompt",
    count=prompt_numbers,
    start=_start,
    needs_metaprompt=True,
    needs_teachers=True,
    saves="prompt",
)
