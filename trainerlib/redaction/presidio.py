"""Microsoft Presidio as one more finder: people, places and national numbers, by a language model.

What it finds depends on the versions of Presidio and of the model, so a dataset built with it is reproducible only where
they are the same. It looks last, at what the other finders left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module

from trainerlib.errors import RecipeError
from trainerlib.language import language

Entities = Callable[[str], Iterable[tuple[int, int, str]]]
"""`(start, end, kind)` of what is found in a text, in order."""

_NOT_PERSONAL = frozenset(("DATE_TIME", "URL"))
_SIZES = ("sm", "md", "lg", "trf")


@cache
def entities() -> Entities:
    """Presidio with the largest installed spaCy model of English and of Russian.

    Raises:
        RecipeError: Presidio is not installed, or no model is.
    """
    try:
        analyzer, spacy = import_module("presidio_analyzer"), import_module("spacy")
    except ImportError as error:
        raise RecipeError(
            "clean.redact has 'presidio', which needs Microsoft Presidio: pip install 'trainerlib[presidio]'"
        ) from error
    models = {
        name[:2]: name for name in sorted(spacy.util.get_installed_models(), key=_size) if name[:3] in ("en_", "ru_")
    }
    if not models:
        raise RecipeError(
            "clean.redact has 'presidio', which needs a spaCy model: python -m spacy download en_core_web_lg,"
            " ru_core_news_lg for Russian"
        )
    nlp = {
        "nlp_engine_name": "spacy",
        "models": [{"lang_code": code, "model_name": models[code]} for code in sorted(models)],
    }
    engine = analyzer.AnalyzerEngine(
        nlp_engine=analyzer.nlp_engine.NlpEngineProvider(nlp_configuration=nlp).create_engine(),
        supported_languages=sorted(models),
    )

    def find(text: str) -> Iterator[tuple[int, int, str]]:
        spoken = language(text)
        if spoken not in models and spoken != "und":
            # A model of another language takes ordinary words for names.
            return
        found = engine.analyze(text, spoken if spoken in models else min(models), score_threshold=0.5)
        for entity in sorted(found, key=lambda entity: (entity.start, -entity.end, -entity.score, entity.entity_type)):
            if entity.entity_type not in _NOT_PERSONAL:
                yield entity.start, entity.end, entity.entity_type.lower()

    return find


def _size(model: str) -> tuple[int, str]:
    """The larger model sorts after the smaller one."""
    return max((_SIZES.index(part) for part in model.split("_") if part in _SIZES), default=0), model
