"""The step `language`: prompts in other languages than those to keep, where that is sure.

In: the frame of a step with the feature `prose`. Out: `Sieved`. Detectors are slow and, for the short and
code-mixed prompts of programmers, often wrong; so each distinct prompt is looked at once, without its code,
in several processes where there are many, and what is short or unsure stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import polars as pl
from pydantic import Field

from tracemill.curate.errors import RecipeError
from tracemill.curate.features.faults import excerpt
from tracemill.curate.sieve import Options, Sieved, sieve
from tracemill.curate.spread import spread

Detector = Literal["langdetect", "py3langid"]
_JOB = 1000
_FOUND = {"prose": pl.String, "_language": pl.String, "_sure": pl.Float64}
Detect = Callable[[str, Sequence[str]], tuple[str | None, float]]
"""The language of a text and how sure that is; of those in the list given, one look is enough."""


class LanguageOptions(Options, frozen=True):
    """Languages to keep (ISO 639-1), how sure a detector must be to drop, and which one is asked.

    `py3langid` is faster; install it with `pip install 'tracemill[languages]'`.
    """

    keep: list[str] = Field(default=["en"], min_length=1)
    sure: float = Field(default=0.9, ge=0.5, le=1)
    detector: Detector = "langdetect"


def language(frame: pl.LazyFrame, options: LanguageOptions) -> Sieved:
    """Keep prompts in the languages of `keep`, and all of which the language is not sure."""
    rows = frame.collect()
    texts = sorted(rows["prose"].drop_nulls().unique())
    found = detected(texts, options.keep, options.detector)
    judged = rows.lazy().join(found.lazy(), on="prose", how="left", maintain_order="left")
    other = ~pl.col("_language").is_in(options.keep) & (pl.col("_sure") >= options.sure)
    judged = judged.with_columns(
        _reason=pl.format("language {}", "_language"),
        _evidence=pl.format(
            "the prompt is {} by {}%: {}",
            "_language",
            (pl.col("_sure") * 100).floor().cast(pl.Int64),
            pl.col("prose").map_elements(excerpt, pl.String),
        ),
    )
    return sieve(judged, "language", ~other.fill_null(value=False))


def detected(texts: Sequence[str], keep: Sequence[str], detector: Detector) -> pl.DataFrame:
    """The language of each text (`prose`, `_language`, `_sure`); one look is enough at those in `keep`."""
    jobs = ((detector, keep, part) for part in _parts(texts))
    told = [one for part in spread(_detect, jobs) for one in part]
    return pl.DataFrame(told, _FOUND, orient="row")


def _parts(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[at : at + _JOB] for at in range(0, len(texts), _JOB)]


def _detect(job: tuple[str, Sequence[str], Sequence[str]]) -> list[tuple[str, str | None, float]]:
    name, keep, texts = job
    detect = _langdetect() if name == "langdetect" else _py3langid()
    return [(text, *detect(text, keep)) for text in texts]


@lru_cache(maxsize=1)
def _langdetect() -> Detect:
    from langdetect import PROFILES_DIRECTORY, DetectorFactory, LangDetectException

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)

    def draw(text: str, seed: int) -> tuple[str, float] | None:
        factory.seed = seed
        detector = factory.create()
        detector.append(text)
        try:
            best = detector.get_probabilities()[:1]
        except LangDetectException:
            return None
        return (best[0].lang.partition("-")[0], best[0].prob) if best else None

    def detect(text: str, keep: Sequence[str]) -> tuple[str | None, float]:
        first = draw(text, 0)
        if first is None or first[0] in keep:
            return first or (None, 0.0)
        # Its result depends on chance: two draws that agree are worth more than one.
        second = draw(text, 1)
        return (first[0], min(first[1], second[1])) if second and second[0] == first[0] else (None, 0.0)

    return detect


@lru_cache(maxsize=1)
def _py3langid() -> Detect:
    try:
        from py3langid.langid import (  # pyright: ignore[reportMissingImports] - an extra
            MODEL_FILE,
            LanguageIdentifier,
        )
    except ImportError as error:
        raise RecipeError(
            "The detector 'py3langid' is not installed; `pip install 'tracemill[languages]'`, "
            'or set `detector = "langdetect"` in [steps.language].'
        ) from error
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def detect(text: str, _: Sequence[str]) -> tuple[str | None, float]:
        name, sure = identifier.classify(text)
        return str(name), float(sure)

    return detect
