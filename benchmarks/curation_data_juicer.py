"""What `benchmarks/curation.py` asks of data-juicer: the recipe that its `dj-process` runs.

In: a folder of JSONL files with `id`, `text` and `outcome`. Out: YAML that keeps the rows labelled good, of
at least ten words, without exact copies and without near copies, in two processes, with operators fused as
its documentation advises. A shingle is a pair of words rather than five of them: that finds copies of which
5% of the words were edited.
"""

from __future__ import annotations

from pathlib import Path

CORES = 2
RECIPE = """\
project_name: curation
dataset_path: {rows}
export_path: {folder}/kept.jsonl
np: {cores}
op_fusion: true
use_cache: false
open_tracer: false
skip_op_error: false
text_keys: text
work_dir: {folder}/work
process:
  - specified_field_filter:
      field_key: outcome
      target_value: [good]
  - words_num_filter:
      min_num: 10
  - document_deduplicator:
      lowercase: false
      ignore_non_character: false
  - document_minhash_deduplicator:
      tokenization: space
      window_size: 2
      lowercase: true
      num_permutations: 256
      jaccard_threshold: 0.7
"""


def recipe(rows: Path, folder: Path) -> Path:
    """The recipe as a file in `folder`, which takes `rows` and writes `kept.jsonl` there."""
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(rows=rows, folder=folder, cores=CORES), "utf-8")
    return file
