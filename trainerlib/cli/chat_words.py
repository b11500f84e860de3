"""What the terminal chat says of its own, in English and Russian."""

from __future__ import annotations

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "you": "you",
        "teacher": "teacher",
        "begin": "{conversation} in {workspace} · /help says what you can type, /quit leaves",
        "ask": "no model yet: what should the assistant answer? (Enter: skip)",
        "consent": "what you say here may be trained on; to take that back: trainerlib person withdraw {person}",
        "skipped": "left without an answer",
        "no-reply": "there is no such reply here yet",
        "correct-how": "/correct TEXT: what the last reply should have said",
        "corrected": "#{id} corrected: {was} -> {text}",
        "feedback-how": "/feedback +1 or -1, and words if you like",
        "rated": "#{id} rated",
        "exported": "written: {path} (rows: {rows})",
        "unknown": "/{command} is not known here; /help",
        "not-utf-8": "that line is not UTF-8 and was not recorded",
        "end": "everything is recorded",
        "help": "TEXT                       say something; a teacher is asked for the answer\n"
        "/correct [#ID] TEXT        what the last reply, or reply #ID, should have said\n"
        "/feedback [#ID] +1 [WORDS] rate it from -5 to +5\n"
        "/show                      the dialogue so far\n"
        "/export [FORMAT]           build dataset `chat` and write it as JSONL\n"
        "/quit                      leave",
    },
    "ru": {
        "you": "вы",
        "teacher": "учитель",
        "begin": "{conversation} в {workspace} · /help — что можно ввести, /quit — выйти",
        "ask": "модели пока нет: что должен ответить ассистент? (Enter — пропустить)",
        "consent": "на том, что вы здесь скажете, можно учить; передумать: trainerlib person withdraw {person}",
        "skipped": "осталось без ответа",
        "no-reply": "такого ответа здесь пока нет",
        "correct-how": "/correct ТЕКСТ: каким должен был быть последний ответ",
        "corrected": "#{id} исправлен: {was} -> {text}",
        "feedback-how": "/feedback +1 или -1 и, если хотите, слова",
        "rated": "#{id} оценён",
        "exported": "записано: {path} (строк: {rows})",
        "unknown": "/{command} здесь неизвестна; /help",
        "not-utf-8": "эта строка не в UTF-8 и не записана",
        "end": "всё записано",
        "help": "ТЕКСТ                      сказать что-нибудь; ответ спросят у учителя\n"
        "/correct [#ID] ТЕКСТ       каким должен был быть последний ответ или ответ #ID\n"
        "/feedback [#ID] +1 [СЛОВА] оценить его от -5 до +5\n"
        "/show                      диалог до этого места\n"
        "/export [ФОРМАТ]           собрать набор `chat` и записать его как JSONL\n"
        "/quit                      выйти",
    },
}
"""By language, then by name; both languages have the same names."""
