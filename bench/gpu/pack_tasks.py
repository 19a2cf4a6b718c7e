"""Pack the tasks that configs read into one folder, for a machine without the data sets.

The folder holds text of records: protect it like the data. Sources are packed for configs that
distill a metaprompt, targets for those that compare. Pass the folder as CLINPROMPT_MIRROR.

Run: python bench/gpu/pack_tasks.py FOLDER CONFIG.toml ...     (with CLINPROMPT_MIRROR)
"""

import argparse
from pathlib import Path

from clinprompt.runs.packed_suite import pack_tasks
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.run import load_config


def main() -> None:
    """Pack what each config reads; later configs replace tasks of the same name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("configs", type=Path, nargs="+")
    given = parser.parse_args()
    for path in given.configs:
        config = load_config(path)
        compares = bool(config.compare.methods)
        suite = load_suite(
            config.suite,
            config.data,
            None,
            with_sources=not compares,
            targets=(config.compare.targets or None) if compares else None,
        )
        tasks, splits = (suite.targets, 3) if compares else (suite.sources, 2)
        num_bytes = pack_tasks(given.folder, tasks, config, splits=splits)
        print(f"{path}: {len(tasks)} tasks, {num_bytes / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
