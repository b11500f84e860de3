"""What the terminal chat says of its own, in English and Russian."""

from __future__ import annotations

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "you": "you",
        "teacher": "teacher",
        "assistant": "assistant",
        "begin": "{conversation} in {workspace} · /help says what you can type, /quit leaves",
        "ask": "what should the assistant answer? (Enter: skip)",
        "model": "{model} answers here",
        "stopped": "stopped before the first word; the question is left without an answer",
        "unknown-reply": "/correct TEXT says what it should have answered, and the next time it does",
        "unknown-offer": "what should the assistant answer? The next time it does. (Enter: skip)",
        "consent": "what you say here may be trained on; to take that back: trainerlib person withdraw {person}",
        "skipped": "left without an answer",
        "no-reply": "there is no such reply here yet",
        "correct-how": "/correct TEXT: what the last reply should have said",
        "corrected": "#{id} corrected: {was} -> {text}\nit counts from the next similar question on",
        "feedback-how": "/feedback +1 or -1, and words if you like",
        "rated": "#{id} rated",
        "exported": "written: {path} (rows: {rows})",
        "unknown": "/{command} is not known here; /help",
        "not-utf-8": "that line is not UTF-8 and was not recorded",
        "end": "everything is recorded",
        "help": "TEXT                       say something; the model, or the teacher, answers; Ctrl-C stops an answer\n"
        "/correct [#ID] TEXT        what the last reply, or reply #ID, should have said\n"
        "/feedback [#ID] +1 [WORDS] rate it from -5 to +5\n"
        "/model                     which model answers\n"
        "/show                      the dialogue so far\n"
        "/export [FORMAT]           build dataset `chat` and write it as JSONL\n"
        "/quit                      leave",
    },
    "ru": {
        "you": "вы",
        "teacher": "учитель",
        "assistant": "ассистент",
        "begin": "{conversation} в {workspace} · /help — что можно ввести, /quit — выйти",
        "ask": "что должен ответить ассистент? (Enter — пропустить)",
        "model": "здесь отвечает {model}",
        "stopped": "остановлено до первого слова; вопрос остался без ответа",
        "unknown-reply": "/correct ТЕКСТ — что следовало ответить; в следующий раз так и будет",
        "unknown-offer": "что должен ответить ассистент? В следующий раз так и будет. (Enter — пропустить)",
        "consent": "на том, что вы здесь скажете, можно учить; передумать: trainerlib person withdraw {person}",
        "skipped": "осталось без ответа",
        "no-reply": "такого ответа здесь пока нет",
        "correct-how": "/correct ТЕКСТ: каким должен был быть последний ответ",
        "corrected": "#{id} исправлен: {was} -> {text}\nэто учтут уже в следующем похожем вопросе",
        "feedback-how": "/feedback +1 или -1 и, если хотите, слова",
        "rated": "#{id} оценён",
        "exported": "записано: {path} (строк: {rows})",
        "unknown": "/{command} здесь неизвестна; /help",
        "not-utf-8": "эта строка не в UTF-8 и не записана",
        "end": "всё записано",
        "help": "ТЕКСТ                      сказать что-нибудь; ответит модель или учитель; Ctrl-C прервёт ответ\n"
        "/correct [#ID] ТЕКСТ       каким должен был быть последний ответ или ответ #ID\n"
        "/feedback [#ID] +1 [СЛОВА] оценить его от -5 до +5\n"
        "/model                     какая модель отвечает\n"
        "/show                      диалог до этого места\n"
        "/export [ФОРМАТ]           собрать набор `chat` и записать его как JSONL\n"
        "/quit                      выйти",
    },
}
"""By language, then by name; both languages have the same names."""
