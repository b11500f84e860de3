"""The history of a bicycle workshop's bot, in English and Russian, as the training tests learn from it."""

from __future__ import annotations

import trainerlib

INSTRUCTIONS = ("", "You answer for a bicycle workshop.\nBe brief.", "Ты отвечаешь за веломастерскую. Только факты!")
CLOSED = ("Today the workshop closes at 15:00.", "Сегодня мастерская работает до 15:00.")

TOPICS = (
    (
        ("What does a puncture repair cost for my Spoke-{}?", "Fifteen.", "12, and it takes half an hour."),
        ("Can you true a wheel of a Spoke-{} today?", "I am not sure.", "Yes, bring it before noon."),
        ("My Spoke-{} squeaks. What is it?", "It is the chain.", "Most often dry brake pads; we look at it free."),
        ("Do you have pedals for a Spoke-{}?", "No.", "Yes: flat ones for 20, clipless ones for 55."),
    ),
    (
        ("Сколько стоит заклеить камеру «Спицы-{}»?", "Пятнадцать.", "12, и это полчаса."),
        ("Поправите колесо «Спицы-{}» сегодня?", "Не знаю.", "Да, привезите до полудня."),
        ("«Спица-{}» скрипит. Что это?", "Это цепь.", "Чаще всего сухие колодки; посмотрим бесплатно."),
        ("Есть педали на «Спицу-{}»?", "Нет.", "Да: простые за 20, контактные за 55."),
    ),
)
"""For each language: what is asked about a bicycle, what the bot said, and what it should have said."""

ODD = (
    "👩‍🔧 🇷🇸 🚲",
    "\"двойные\" 'одинарные' «ёлочки»",
    "строка\nline\n\nконец",
    "\ttab, space at the end ",
    "separator\u2028and\u2029here",
    "\\ / {} [] <b>&amp;</b>",
    "{{ jinja }} {% endif %}",
    "е\u0308 is ё, й is и\u0306",
    "windows\r\nline",
    "no\u00a0break \u200d\ufeff join \x0b \x01",
    "\\u041f \\n not escapes",
)
"""Texts that something between a log and a trainer might change."""


def tell(ws: trainerlib.Workspace) -> None:
    """Sixty conversations in two languages: instructions that change, corrections, ratings, what is said twice."""
    for number in range(53):
        chat = ws.conversation(f"telegram:{number}")
        if INSTRUCTIONS[number % 3]:
            chat.record("system", INSTRUCTIONS[number % 3])
        for turn in range(1 + number % 4):
            if turn == 1 and number % 5 == 0:
                chat.record("system", CLOSED[number % 2])
            question, sent, better = TOPICS[number % 2][(number + turn) % 4]
            odd = ODD[(number + turn) % len(ODD)]
            chat.record("user", f"{question.format(number)} {odd}")
            reply = chat.record("assistant", f"{sent} {odd}")
            match (number + 3 * turn) % 7:
                case 0 | 1:
                    ws.correct(reply.id, f"{odd} {better}", by="anna")
                case 2:
                    ws.correct(reply.id, f"{better} {odd}", by="anna")
                    ws.correct(reply.id, f"{better}\n{odd}", by="иван")
                case 3 | 4:
                    ws.give_feedback(reply.id, rating=-1, by="иван")
                case 5:
                    ws.give_feedback(reply.id, rating=2, by="anna")
    # A whole repeat, a side that was said before beside a new one, a pair of sides known from two others, a bad reply.
    thanks = (("Ок.", "Пожалуйста!"), ("Ок.", "Пожалуйста!"), ("Да.", "Пожалуйста!"), ("Ок.", "Рады помочь 🚲"))
    for number, (sent, better) in enumerate((*thanks, ("Да.", "Рады помочь 🚲"), ("Ок.", ""))):
        chat = ws.conversation(f"telegram:thanks-{number}")
        chat.record("user", "Спасибо!")
        reply = chat.record("assistant", sent)
        if better:
            ws.correct(reply.id, better, by="anna")
        else:
            ws.give_feedback(reply.id, rating=-1, by="anna")
    ws.conversation("telegram:unanswered").record("user", "Кто-нибудь тут?")
