"""Pack the tasks that configs read into one folder, for a machine without the data sets.

Sources are packed for configs that distill a metaprompt, targets for those that compare. Their
training rows are encoded too, so that a run starts at once; rows that other settings or another
tokenizer would give are not used. The folder holds text of records: protect it like the data. Pass
the folder as CLINPROMPT_MIRROR.

Run: python bench/gpu/pack_tasks.py FOLDER CONFIG.toml ...     (with CLINPROMPT_MIRROR)
"""

import argparse
import os
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from clinprompt.backbone.load import load_tokenizer
from clinprompt.backbone.stored import locate, read_config
from clinprompt.methods.resolve import resolve
from clinprompt.runs.packed_suite import load_packed, pack_tasks
from clinprompt.runs.suite_data import SuiteData, load_suite
from clinprompt.runs.task_rows import TaskRows
from clinprompt.settings.run import RunConfig, load_config
from clinprompt.tasks.load import TaskData


def main() -> None:
    """Pack what each config reads; later configs replace records of the same name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], help="a setting, section.key=value")
    parser.add_argument("--forms", type=int, nargs="+", default=[], choices=[1, 2], help=_FORMS)
    parser.add_argument("--records-only", action="store_true", help="do not encode rows")
    given = parser.parse_args()
    for path in given.configs:
        config = load_config(path, given.set)
        compares = bool(config.compare.methods)
        tasks = _suite(config, compares=compares)
        found = tasks.targets if compares else tasks.sources
        num_bytes = pack_tasks(given.folder, found, config, splits=3 if compares else 2)
        print(f"{path}: {len(found)} tasks, records of {num_bytes / 1e6:.1f} MB", flush=True)
        if not given.records_only:
            # What the other machine reads is encoded: the drawn records, with the cards as packed.
            read = [load_packed(given.folder, data.card) for data in found]
            num_bytes = _encode(given.folder, read, config, given.forms, compares=compares)
            print(f"{path}: encoded rows of {num_bytes / 1e6:.1f} MB", flush=True)


_FORMS = "input forms that targets are encoded in; default: that of the config's metaprompt"


def _suite(config: RunConfig, *, compares: bool) -> SuiteData:
    targets = (config.compare.targets or None) if compares else None
    return load_suite(config.suite, config.data, None, with_sources=not compares, targets=targets)


def _encode(
    folder: Path,
    tasks: Sequence[TaskData],
    config: RunConfig,
    forms: Sequence[int],
    *,
    compares: bool,
) -> int:
    """Write the encoded rows of tasks, in as many processes as there are cores; return bytes."""
    own = resolve(config)
    tokenizer = load_tokenizer(own.backbone)
    positions = read_config(own.backbone, locate(own.backbone)[0]).max_position_embeddings
    total = 0
    for form in forms or [own.data.input_form]:
        settings = own.data.model_copy(update={"input_form": form})
        rows = TaskRows(tokenizer, positions - own.prompt.length, settings, own.seed, folder)
        jobs = [(rows, data, not compares) for data in tasks]
        with get_context("fork").Pool(os.cpu_count()) as pool:
            total += sum(pool.starmap(_pack, jobs, chunksize=1))
    return total


def _pack(rows: TaskRows, data: TaskData, is_source: bool) -> int:
    return rows.pack(data, is_source=is_source)


if __name__ == "__main__":
    main()
