"""Refusals: replies in which an assistant declines to help, told from how they begin, in English and Russian.

A refusal is what an assistant says because of what it is or is allowed to do ("I can't help with that", "Как языковая
модель, я ..."). That a shop is out of roses, or cannot find an order, is none, however sorry it is: the patterns want a
word of inability together with a deed that assistants decline.

>>> refuses("I'm sorry, but I can't help with that."), refuses("Извините, я не могу с этим помочь.")
(True, True)
>>> refuses("Sorry, we are out of roses."), refuses("Я не могу найти ваш заказ, пришлите номер.")
(False, False)
"""

from __future__ import annotations

import re
from functools import cache

_HEAD = 240
_BEGINNING = 4
_LETTER = re.compile(r"[^\W\d_]")


def refuses(text: str) -> bool:
    """Whether a reply begins by declining to help.

    Measured on replies written for it, half of them in Russian, half of them no refusals but close to one: see
    `tests/test_quality.py`, which holds precision and recall.

    Args:
        text: the reply; only its first 240 characters are looked at.
    """
    # Most replies begin in a way in which no refusal does.
    if text[:_BEGINNING] not in _BEGINNINGS:
        if text[:1].isalpha():
            return False
        letter = _LETTER.search(text)
        text = text[letter.start() :] if letter else ""
        if text[:_BEGINNING] not in _BEGINNINGS:
            return False
    head = text[:_HEAD].lower().replace("’", "'").replace("ё", "е")
    declining = _declining(_EN_LEAD, _EN_CORE) if head < "а" else _declining(_RU_LEAD, _RU_CORE)
    return declining.match(head) is not None


# The patterns read lower case with straight apostrophes, and е for ё.


def _either(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


_EN_LEAD = _either(
    r"hello|hi(?: there)?|hey|no|oh",
    r"thank(?:s| you)[^.!?,]{0,40}?(?=[.!?,]| but\b)",
    r"(?:i(?:'m| am) )?(?:(?:really|very|so|truly|terribly) )?(?:sorry|afraid)(?: that)?",
    r"(?:i |my )?(?:(?:sincerely|sincere|deepest) )?apolog(?:i[sz]e|ies)",
    r"unfortunately|regrettably|i regret(?: to (?:inform|tell) you)?(?: that)?",
    r"i (?:(?:completely|fully|totally) )?(?:understand|appreciate|realise|realize|know|see)\b[^.!?]{0,90}?(?=,? but\b)",
)
_EN_CANNOT = _either(
    r"i (?:(?:really|simply|just|also|unfortunately) )?(?:can't|cannot|cant|can not|won't|will not)(?: be able to)?",
    r"i(?:'m| am) (?:(?:really|simply|just|also) )?(?:unable|not (?:able|allowed|permitted|going|willing|in a position)) to",
)
_EN_THIS = r"(?:that|this|it|these|those|such)"
_EN_END = r"(?=\s*(?:[.!?,;:)]|$| - ))"
_EN_TALK = (
    r"(?:information|info|instructions?|guidance|advice|assistance|opinions?|personal data|private data"
    r"|details (?:on|about|of))"
)
_EN_DEED = _either(
    rf"(?:help|assist)(?: you)?(?: out)?(?:{_EN_END}| (?:with|in|on) (?:{_EN_THIS}\b|any|\w+ing\b|homework"
    r"|(?:your |the |this )?(?:requests?|questions?|query|inquiry|tasks?|topics?)\b))",
    r"(?:comply|fulfil|engage in|participate in|take part in|promote|condone|encourage|discuss|debate|speculate)",
    rf"(?:do|support) (?:{_EN_THIS}|so)(?:(?=\s*(?:[.!]|$))| requests?\b)",
    rf"answer (?:{_EN_THIS}|any|your|questions?)\b",
    rf"(?:provide|give|offer|share|disclose|reveal)(?: you)?(?: with)? (?:{_EN_THIS}{_EN_END}|(?:{_EN_THIS} |(?:any|specific"
    rf"|detailed|further|personal|medical|legal|financial|professional|investment|tax|kind of|type of) )*{_EN_TALK})",
    rf"(?:write|create|generate|produce|compose) (?:{_EN_THIS}{_EN_END}|(?:{_EN_THIS} |any |kind of )*(?:content|material|text"
    r"|images?|code)\b|an? (?:essay|poem|story|joke|article|script)\b)",
    r"continue (?:this|the|that) (?:conversation|discussion|chat)",
    r"(?:talk|speak) (?:about|on)|comment on|take (?:a side|sides|a position|a stance)",
    r"(?:tell you|explain|show you|teach you) how to",
    r"(?:browse|surf|search) the (?:internet|web)|access (?:the )?(?:internet|web|real-time|live|external)",
    r"(?:express|have|hold) (?:an? |any )?(?:personal )?(?:opinions?|preferences?|views?|feelings?|emotions?|beliefs?)",
)
_EN_NOT = r"(?:can(?:'t|not|t| not)|won't|will not|don't|do not|(?:'m| am) not|(?:'m| am) unable|have no|lack)\b"
_EN_MACHINE = (
    r"(?:ai|artificial intelligence|virtual assistant|digital assistant|chatbot|bot|computer program|machine)\b"
)
_EN_MODEL = r"(?:large )?(?:ai )?(?:large )?language model"
_EN_CORE = _either(
    rf"{_EN_CANNOT}(?: and (?:will not|won't))?(?: in good conscience)? {_EN_DEED}",
    rf"(?:as|being) an? (?:[\w-]+ ){{0,4}}?{_EN_MODEL}",
    rf"(?:as|being) an? {_EN_MACHINE}[^.!?]{{0,80}}?\bi ?{_EN_NOT}",
    rf"i(?:'m| am) (?:(?:just|only|merely) )?an? (?:{_EN_MACHINE}|{_EN_MODEL})[^.!?]{{0,80}}?\b{_EN_NOT}",
    r"i (?:don't|do not) have (?:any |my own )?(?:personal (?:opinions?|beliefs?|views?|preferences?|experiences?|feelings?)"
    r"|opinions\b|feelings|emotions|consciousness|access to (?:the )?(?:internet|web|real-time|live|current|external)"
    r"|(?:the )?(?:ability|capability|capacity) to (?:browse|access|search|feel|experience|have|form|hold|express))",
    r"i(?:'m| am) not (?:(?:programmed|designed|trained) to|connected to the (?:internet|web))",
    r"i(?:'m| am) not comfortable (?:with|\w+ing)|i (?:don't|do not) feel comfortable",
    r"i(?:'d| would) (?:rather|prefer) not (?:to )?(?:discuss|talk|answer|say|comment|engage)",
    rf"i (?:must|have to|need to|will have to|am going to have to) (?:(?:respectfully|politely) )?(?:decline|refuse)"
    rf"(?:{_EN_END}| (?:{_EN_THIS}|your|to)\b)",
    r"i (?:decline|refuse) to (?:help|assist|answer|discuss|comply|provide|write|do|engage|continue)",
    r"(?:that|this|it)(?:'s| is) (?:not|n't) something (?:that )?(?:i can|i could|i(?:'m| am) (?:able|allowed) to)\b",
    r"(?:it|that|this)(?:'s| is| would be| goes) (?:not appropriate|inappropriate|unethical|irresponsible|against my"
    r"|(?:outside(?: of)?|beyond) my (?:capabilities|abilities|scope))",
)

_RU_LEAD = _either(
    r"здравствуйте|добр(?:ый|ое|ой) (?:день|утро|вечер|ночи)|привет|нет|спасибо[^.!?,]{0,40}?(?=[.!?,]| но\b)",
    r"извини(?:те)?|извиняюсь|прости(?:те)?|прошу (?:прощения|извинить|меня извинить|меня простить)",
    r"приношу (?:свои )?(?:искренние )?извинения|(?:к (?:(?:большому|моему|великому) )?сожалению|(?:я )?сожалею)",
    r"(?:мне )?(?:очень |искренне )?жаль|увы|боюсь|(?:я )?понимаю[^.!?]{0,90}?(?=, (?:но|однако)\b)|я(?=, к сож)",
)
_RU_CANNOT = (
    r"(?:я )?(?:(?:просто|никак|пока|сам) )?не (?:могу|смогу|в состоянии|вправе|имею права|имею возможности|буду|стану|умею"
    r"|должен|должна|готов|готова)(?: (?:вам|тебе|ему|ей|им))?"
)
_RU_THIS = r"(?:эт\w+|так(?:ой|ая|ое|ие|ого|их|им|ую|ом)|подобн\w+|данн\w+|ваш\w*)"
_RU_END = r"(?=\s*(?:[.!?,;:)]|$|[—–-] ))"
_RU_WITH = (
    rf"(?:(?:с этим|в этом|этим|с таким){_RU_END}|(?:с|в) {_RU_THIS} (?:запрос|вопрос|просьб|тем|задани|задач|дел))"
)
_RU_DEED = _either(
    rf"(?:помоч?ь|помогать)(?: (?:вам|тебе))?(?:{_RU_END}| {_RU_WITH}"
    r"| (?:с|в) (?:создани|написани|выполнени|изготовлени|взлом))",
    r"(?:с этим|в этом|этим)(?: (?:вам|тебе))? (?:помоч?ь|помогать)",
    rf"(?:ответить|отвечать)(?: (?:вам|тебе))? на (?:это\b|{_RU_THIS} (?:вопрос|запрос)|вопрос)",
    rf"(?:выполн|исполн|удовлетвор)(?:ить|ять) (?:{_RU_THIS} )?(?:запрос|просьб|команд|задани|инструкци|требовани)",
    r"(?:предостав(?:ить|лять)|дать|давать|раскры(?:ть|вать)|разгла(?:сить|шать)|(?:по)?делиться)(?: (?:вам|тебе))? "
    rf"(?:(?:{_RU_THIS}|личн\w+|персональн\w+|медицинск\w+|юридическ\w+|финансов\w+|конкретн\w+|как\w+-либо|никак\w+) )*"
    r"(?:информаци|сведени|данны|инструкци|рекомендаци|совет|консультаци|диагноз|мнени)",
    rf"(?:обсуждать|обсудить) (?:{_RU_THIS}|полити|религи|личн|тем)",
    rf"(?:говорить|разговаривать|беседовать|рассуждать) (?:об этом|(?:на|о|об) (?:{_RU_THIS} |политическ\w+ |религиозн\w+ )?"
    r"(?:тем|полити|религи))",
    r"рассказ(?:ать|ывать)(?: (?:вам|тебе))?(?:, как| об? (?:этом|друг\w+|чуж\w+|личн\w+|заказах|данных))",
    rf"(?:(?:на)?писать|созда(?:ть|вать)|(?:с)?генерировать|составить|сочинить) (?:(?:{_RU_THIS} )?(?:контент|текст|материал|код"
    rf"|изображени|программ|сообщени)|{_RU_THIS}{_RU_END})",
    r"(?:этого|такого|это|такое) (?:писать|делать|говорить|обсуждать|создавать|комментировать)",
    rf"(?:участвовать|поддерж(?:ать|ивать)) (?:в )?{_RU_THIS}",
    r"(?:выра(?:жать|зить)|иметь|высказ(?:ать|ывать)) (?:лично\w+|собственно\w+|свое\w*|мнени|чувств|эмоци|предпочтени)",
    rf"комментировать (?:{_RU_THIS}|полити)",
    rf"продолж(?:ать|ить) (?:{_RU_THIS} )?(?:разговор|диалог|бесед|общени)",
    r"(?:выходить|выйти|заходить|искать) в (?:интернет|сет)|испытывать|чувствовать|звонить по телефону",
)
_RU_MODEL = r"языков\w+ модел\w+"
_RU_MACHINE = (
    r"(?:ии\b|искусственн\w+ интеллект\w*|нейросет\w+|нейронн\w+ сет\w+|модел\w+ искусственного интеллекта"
    r"|(?:виртуальн|цифров)\w+ (?:помощник|ассистент|собеседник)\w*|(?:чат-?)?бот(?:а|ом)?\b|(?:компьютерн\w+ )?программ(?:а|ой|у)\b)"
)
_RU_NOT = r"(?:не (?:могу|смогу|имею|испытываю|обладаю|вправе|умею|способ\w+|должен|буду)|нет|лишен\w*)\b"
_RU_CORE = _either(
    rf"{_RU_CANNOT} {_RU_DEED}",
    rf"{_RU_DEED} (?:я )?(?:вам )?не (?:могу|смогу)",
    r"(?:с этим|этим|в этом)(?: (?:я|вам))* (?:помоч?ь|помогать) (?:я |вам )*не (?:могу|смогу)",
    rf"(?:как|будучи|являясь) (?:(?:больш|нейросетев|обычн|прост)\w+ )*{_RU_MODEL}",
    rf"(?:как|будучи|являясь) {_RU_MACHINE}[^.!?]{{0,80}}?\b{_RU_NOT}",
    rf"я (?:[—–-] )?(?:(?:всего|лишь|просто|только) )*(?:(?:больш\w+ )?{_RU_MODEL}|{_RU_MACHINE})[^.!?]{{0,80}}?\b{_RU_NOT}",
    r"у меня нет (?:(?:свое|собственн|личн)\w+ (?:мнени|предпочтени|опыт|чувств|эмоци|взгляд|убеждени|желани)|чувств|эмоци"
    r"|доступа к (?:интернет|сети|актуальн|личн|внешн)|возможности (?:искать|выходить|заходить|просматривать))",
    r"(?:я )?вынужден\w* отказ(?:ать|аться) (?:от (?:выполнения|ответа)"
    r"|в (?:этой|этом|выполнении|вашей просьбе|вашем запросе))",
    r"(?:я )?отказываюсь (?:отвечать|помогать|выполнять|писать|обсуждать|участвовать|говорить)",
    r"я не (?:запрограммирован|предназначен|обучен|создан)\w*\b",
    r"это (?:не входит в мои (?:возможности|функции|обязанности|задачи)|выходит за (?:рамки|пределы) моих)",
    r"давайте (?:лучше )?(?:сменим тему|поговорим (?:о ч[ео]м-(?:нибудь|то)|на другую тему))",
    r"(?:мне )?(?:бы )?не (?:хотел\w* бы|хочу|хотелось)(?: бы)? (?:обсуждать|говорить|отвечать|комментировать|рассуждать)",
)


@cache
def _declining(lead: str, core: str) -> re.Pattern[str]:
    """Leads in any number, and then the core of a refusal."""
    # Atomic, because a lead can be read in one way only, and each other way would be tried on every reply.
    return re.compile(rf"(?>{lead}[\s,.;:!*_—–-]+(?:(?:but|however|но|однако|что)[\s,]+)?){{0,5}}{core}")


_BEGINNINGS = frozenset(
    case(beginning[:_BEGINNING])
    for line in (
        "i can|i cant|i won't|i will|i am|i'm |i’m |i'd |i’d |i must|i have|i need|i do|i refuse|i decline",
        "i apolog|i regret|i know|i see|i understand|i appreciate|i realise|i totally|i fully|i completely",
        "i simply|i unfortunately|i just|i really|i also|sorry|unfortunately|regrettably|apologies|my apologies|my sincere|my deepest",
        "as a|being a|that's|that’s|that is|this|it's|it’s|it is|it would|it goes|thanks",
        "no, |no. |no! |no —|no - |oh, |oh n|oh! |hi, |hi! |hi. |hi t|hello|hey,|hey!|hey ",
        "извините|простите|прошу|приношу|к сож|к бол|к моему|к великому|сожалею|мне |жаль|увы,|увы.|увы!|увы |боюсь",
        "я не|я, к сож|я бы |я вынужден|я отказываюсь|я всего|я — |я – |я - |я просто|я только|я лишь|я никак|я пока|я сам",
        "я языковая|я большая|я искусственный|я ии|я нейро|я вирт|я цифр|я чат|я бот|я комп|я прог|я модель|я пони|я сож",
        "не могу|не смогу|не в |не им|не буду|не стану|не умею|не должен|не готов|не хо|просто|никак|пока|сам ",
        "вынужден|отказываюсь|как |будучи|являясь|это |у меня|давайте|понимаю|помочь|помогать|ответить|отвечать|выполн",
        "исполн|предостав|дать|давать|обсуждать|обсудить|говорить|рассказ|писать|написать|создать|создавать|с этим|с таким",
        "в этом|этим|этого|такого|такое|здравствуйте|добр|привет|спасибо|нет,|нет.|нет!|нет ",
    )
    for beginning in line.split("|")
    for case in (str.lower, str.capitalize, str.upper)
)
"""The first characters of everything that the patterns match."""
