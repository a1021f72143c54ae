"""What `benchmarks/curation.py` asks of datatrove, run in an environment that has it.

    python curation_datatrove.py ROWS FOLDER

In: a folder of JSONL files with `id`, `text` and `outcome`. Out, in FOLDER/kept: the rows labelled good, of
at least ten words, without exact copies and without near copies. The two deduplications run one after the
other as their documentation shows them, each stage over the files of the one before, in two processes. A
shingle is a pair of words rather than five of them: that finds copies of which 5% of the words were edited.
"""

from __future__ import annotations

import sys
from pathlib import Path

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

CORES = 2


def content(document: Document) -> str:
    return document.text


def wanted(document: Document) -> bool:
    return document.metadata["outcome"] == "good" and len(document.text.split()) >= 10


def main(rows: str, folder: Path) -> None:
    files = len(list(Path(rows).glob("*.jsonl")))
    exact, near = ExactDedupConfig(content_getter=content), MinhashConfig(n_grams=2)

    def run(name: str, tasks: int, *steps: object) -> None:
        LocalPipelineExecutor(
            pipeline=list(steps),
            tasks=tasks,
            workers=min(CORES, tasks),
            logging_dir=str(folder / "logs" / name),
        ).run()

    def at(name: str) -> str:
        return str(folder / name)

    def plain(name: str) -> JsonlWriter:
        return JsonlWriter(at(name), output_filename="${rank}.jsonl", compression=None)

    run(
        "filter", files,
        JsonlReader(rows), LambdaFilter(wanted), plain("good"),
    )  # fmt: skip
    run("exact-1", files, JsonlReader(at("good")), ExactDedupSignature(at("e1"), exact, CORES))
    run("exact-2", CORES, ExactFindDedups(at("e1"), at("e2"), exact))
    run(
        "exact-3", files,
        JsonlReader(at("good")), ExactDedupFilter(at("e2"), exact), plain("once"),
    )  # fmt: skip
    run("near-1", files, JsonlReader(at("once")), MinhashDedupSignature(at("n1"), near))
    run("near-2", near.num_buckets, MinhashDedupBuckets(at("n1"), at("n2"), config=near))
    run("near-3", 1, MinhashDedupCluster(at("n2"), at("n3"), config=near))
    run("near-4", files, JsonlReader(at("once")), MinhashDedupFilter(at("n3")), plain("kept"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
