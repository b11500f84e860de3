r"""How alike two questions are: what decides whether an earlier correction answers a new question.

A question is its terms, each with a weight: what it is about (a word's stem, 1), words that any customer uses (0.4),
function words (0.1), and what kind of answer it wants, a time or a price or a place (0.7; 1 when it says so with a
noun). "What time", "until when" and "во сколько" want the same, and so do "how much", "price" and "почём"; a few
everyday words with one meaning count as one ("deliver" and "ship", "вернуть" and "возврат"). A number (0.7) is only
like itself, a day (0.3) wants a time, greetings and politeness have no weight.

>>> from trainerlib.store.search import stems
>>> print(asked("Hello! What time do you open, please?", stems))
-do -you ?time open
>>> def alike(one, other):
...     return similarity(weighed(asked(one, stems)), weighed(asked(other, stems)))
>>> alike("When do you open?", "What time are you open?")
0.987
>>> alike("Когда вы открыты?", "во сколько вы открываетесь") > 0.5
True
>>> alike("When do you open?", "Do you open parcels?") < 0.5
True

**Formula.** With weights a and b, the similarity is the extended Jaccard (Tanimoto) coefficient, a·b / (a·a + b·b -
a·b) (Strehl, Ghosh and Mooney, "Impact of similarity measures on web-page clustering", 2000). Where cosine gives 0.5 to
two questions that share one word of two ("red roses", "white roses"), this gives 0.33. The dot product is that of soft
TF-IDF (Cohen, Ravikumar and Fienberg, "A comparison of string distance metrics for name-matching tasks", 2003): terms
of two stems that are nearly the same count by how near they are, which forgives a typing error and joins forms that a
stemmer keeps apart ("открыт", "открыва"). A word that many indexed questions have counts less, at least half. When both
questions say what kind of answer they want and it is not the same ("how much is delivery", "how long does delivery
take"), the result is halved: answer types are how question answering tells such questions apart (Li and Roth, "Learning
question classifiers", 2002). Of a text of several sentences each question is also compared by itself, at nine tenths.

**What it cannot do.** It knows words, not meanings: "Do you ship abroad?" is not found by "Can you send it to Norway?",
nothing is found in another language, and a question of which only the dialogue tells what it is about ("And on
Saturday?") is like every other one in the same words. `tests/test_recall.py` holds precision and recall on pairs
written for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import log

import msgspec

from trainerlib.conversations import Conversation, Correction, Message


class Recalled(msgspec.Struct, frozen=True, gc=False):
    """An earlier question like the one that is asked, and what it should be answered with.

    Attributes:
        question: what was asked.
        answer: the correction, or the reply that was approved.
        message: id (log position) of the reply.
        correction: id (log position) of the correction; `None` for a reply that was approved.
        similarity: of the two questions, 0 to 1.
        by: person id of who corrected it.
    """

    question: str
    answer: str
    message: int
    correction: int | None
    similarity: float
    by: str = ""


class Taught(msgspec.Struct, frozen=True, gc=False):
    """A question of a conversation, and what it should be answered with.

    Attributes:
        message: id (log position) of the reply it was given.
        question: the words of the messages that the reply answers.
        answer: the latest correction that stands, or the reply itself when it was approved.
        correction: id (log position) of the correction; `None` for an approved reply.
        by: person id of who corrected it.
    """

    message: int
    question: str
    answer: str
    correction: int | None
    by: str = ""


def taught(conversation: Conversation) -> Iterator[Taught]:
    """What a conversation teaches: each reply that has a standing correction, or is approved.

    A reply is approved when the latest rating of it is above 0, nobody corrected it, and its source does not say that
    it is not to be learned (weight 0). It answers the message it names, else the one right before it, together with
    what the same person said just before that.
    """
    messages = conversation.messages
    places = {message.number: place for place, message in enumerate(messages)}
    for place, message in enumerate(messages):
        answer = _answer(message)
        if answer is None:
            continue
        named = place if message.in_reply_to is None else places.get(message.in_reply_to, place)
        if named < place and messages[named].role == "user":
            question = "" if messages[named].deleted else _question(messages, named)
        else:
            question = _question(messages, place - 1)
        if question.strip():
            text, correction = answer
            given = (correction.id, correction.by) if correction else (None, "")
            yield Taught(message.id, question, text, *given)


def _answer(message: Message) -> tuple[str, Correction | None] | None:
    """What a reply should have been; `None` for anything that nobody corrected or approved."""
    if message.role != "assistant" or message.deleted:
        return None
    if message.corrections:
        return message.corrections[-1].text, message.corrections[-1]
    ratings = [item.rating for item in message.feedback if item.rating is not None]
    is_approved = ratings and ratings[-1] > 0 and not message.lost and not message.shortfall and message.weight != 0
    return (message.content, None) if is_approved and message.content.strip() else None


def _question(messages: Sequence[Message], last: int) -> str:
    """What one person said in a row, up to a place in a conversation; empty when it was the assistant."""
    said: list[Message] = []
    for place in range(last, -1, -1):
        message = messages[place]
        if message.role == "system" or message.deleted:
            continue
        if message.role != "user" or (said and message.author != said[0].author) or len(said) == _IN_A_ROW:
            break
        said.append(message)
    return "\n".join([message.content for message in reversed(said)])


# --- what a question asks ---------------------------------------------------------------------------------------------

SHORTEST = 4
"""Letters that two stems begin with at least to be near without being the same."""

_IN_A_ROW = 5
"""Messages in a row that are taken as one question."""

_LONGEST = 1_000
"""Characters of a text that are looked at: its last ones, where the question mostly is."""

_SENTENCES = 6
"""Sentences of a text that are compared by themselves, the last ones."""

# The first character of a term says what it is; a stem has none of these.
_FUNCTION, _COMMON, _WANTED, _NAMED, _DAY, _NUMBER = "-", "+", "?", "!", "@", "#"
_WEIGHTS = {_FUNCTION: 0.1, _COMMON: 0.4, _WANTED: 0.7, _NAMED: 1.0, _DAY: 0.3, _NUMBER: 0.7}

_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[^.!?…\n]+[.!?…]*")
_APOSTROPHE = re.compile(r"['’](?:(?:s|re|m|ve|ll|d)\b)?")

# Of texts in lower case, with е for ё and one space between words. The kind of answer replaces the words that want it.
_PHRASES = [
    (re.compile(rf"\b(?:{pattern})\b"), meaning)
    for pattern, meaning in (
        (r"(?:opening|working|business|shop|store) (?:hours|times)", "open !time"),
        (r"(?:what|which) (?:times?|days?|hours?)", "?time"),
        (r"how (?:much|expensive)", "?price"),
        (r"how (?:long|many)", "?amount"),
        (r"how often", "?often"),
        (r"e mail(?: address)?|email address", "email"),
        (r"(?:часы|часов|часах|график|графика|режим|режима|время|расписание) работы", "открыты !time"),
        (r"(?:вы|магазин|кафе) работаете?|работаете(?: вы)?", "открыты"),
        (r"(?:во|до|со|с|к) скольк(?:и|о|их|у)", "?time"),
        (r"в котором часу|до которого часа|(?:в )?как(?:ой|ие|ого|им) (?:день|дни|часы|часа|время)", "?time"),
        (r"сколько (?:\w+ ){0,2}?сто(?:ит|ят|ить|ил|ила|или)", "?price"),
        (r"как долго|сколько (?:по )?(?:времени|минут|часов|дней|недель|месяцев|лет)", "?amount"),
        (r"как часто", "?often"),
        (r"(?:адрес )?(?:электронн\w+ )почт\w*|адрес почт\w*", "email"),
    )
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words.split()}


_KINDS = _by_word(
    {
        "?time": "when until till когда",
        "!time": "hours schedule timetable график расписание часы",
        "@": "monday tuesday wednesday thursday friday saturday sunday weekend weekends today tonight tomorrow holiday"
        " holidays понедельник вторник среду среда четверг пятницу пятница субботу суббота воскресенье воскресенья"
        " воскресеньям выходные выходным выходной сегодня завтра праздник праздники",
        "?price": "price prices priced cost costs fee fees cheap expensive почем цена цены цену ценой цене цен"
        " стоимость стоимости прайс дорого",
        "?place": "where где куда откуда",
        "!place": "located location address адрес адреса адресу адресом находитесь находится расположены",
        "?reason": "why почему зачем",
        "?person": "who кто",
    }
)
"""What single words want or name; the days of a week are days, and want a time."""

_SAME = {
    word: group.split()[0]
    for group in (
        "shop shops store stores",
        "магазин магазина магазине магазину магазины",
        "change changing alter modify",
        "изменить изменять поменять сменить менять меняете",
        "deliver delivers delivery delivered delivering deliveries ship ships shipping shipped shipment",
        "доставка доставки доставку доставкой доставить доставляете доставите отправка отправить отправляете отправите",
        "доставка пересылка пересылаете привозите привезете привезти",
        "return returns returning refund refunds",
        "возврат возврата вернуть верну возвращаете возвратить",
        "pay paying paid payment payments",
        "оплата оплаты оплату оплатить оплачивать платить заплатить",
        "buy buying bought purchase",
        "купить куплю купил купила покупка покупку приобрести",
        "repair repairs repaired fix mend",
        "ремонт чинить чините починить почините ремонтируете отремонтировать",
        "children child kids kid",
        "детский детская детские детей дети ребенка ребенку",
        "подарок подарки подарка подарком подарочный подарочная подарочные",
        "отмена отменить отмените",
        "not no dont doesnt didnt isnt arent wont cant cannot without",
        "не ни нет без",
    )
    for word in group.split()
}
"""Everyday words that mean the same to a shop, and the word that stands for them."""

_CHATTER = _words(
    """hello hi hey dear sir madam please pls plz thanks thank thx sorry excuse good morning evening afternoon day tell
    know ask question wonder wondering maybe well oh ok okay um yes yep sure
    здравствуйте здравствуй привет добрый доброе добрая день утро вечер вечера дня подскажите подскажи скажите скажи
    пожалуйста плиз спасибо благодарю извините простите девушка ребята уважаемые хотел хотела бы узнать вопрос
    уточнить можете ну вот а и же ли хорошо ага"""
)
_COMMONS = _words(
    """shop sell sells selling stock send make makes item work works working buy want wants give take takes get gets
    use looking not
    магазин продаете продавать делаете сделать отправьте пришлите скиньте купить нужен нужна нужны ищу товар не"""
)
_FUNCTIONS = _words(
    """a an the i you he she it we they me my mine your yours his her its our ours their them us him this that these
    those am is are was were be been being do does did done have has had having can could will would shall should
    may might must of to in on at by for from with about as into out up down over under near off and or but if then
    so than too very just any some what which how whom whose whats im ive id ill youre need like there here all now
    still yet possible allowed way
    я ты он она оно мы вы они меня мне мной тебя тебе его ему ей ее их им нас нам вас вам вами нами ими мой моя мое
    мои моего мою моей моих твой ваш ваша ваше ваши вашего вашей вашу наш свой свою своего этот эта это эти того та
    то те тот такой такая быть есть был была было были будет буду будут в во на по с со к ко у о об от до из за для
    при под над через про или но если что чтобы как какой какая какое какие какую каких каким сколько да так тоже
    также еще уже только очень там тут здесь сейчас щас рядом можно нужно надо хочу хотим хотелось могу могли может
    имеется наличии"""
)


def asked(text: str, stems: Callable[[str], list[str]]) -> str:
    """What a text asks: its terms in order, space between; a line for the whole, then one for each question in it.

    Terms of what a question is about begin with a letter. The others begin with `-` for a function word, `+` for one
    that any customer uses, `?` or `!` for the kind of answer that is wanted or named, `@` for a day, `#` for a number.

    Args:
        text: a question, or several messages with one.
        stems: gives the stems of a text's words.

    >>> from trainerlib.store.search import stems
    >>> print(asked("Мне привезли заказ №4117, спасибо. А вы открыты в субботу?", stems))
    #4117 -в -вы -мне ?time @суббот заказ открыт привезл
    -в -вы ?time @суббот открыт
    """
    text = text[-_LONGEST:]
    lines = [_terms(text, stems)]
    sentences = [sentence for sentence in _SENTENCE.findall(text) if _WORD.search(sentence)]
    if len(sentences) > 1:
        lines += [_terms(one, stems) for one in sentences[-_SENTENCES:] if one.rstrip().endswith("?")]
    return "\n".join(" ".join(terms) for terms in dict.fromkeys(lines) if terms)


def _terms(text: str, stems: Callable[[str], list[str]]) -> tuple[str, ...]:
    said = " ".join(_WORD.findall(_APOSTROPHE.sub("", text.lower().replace("ё", "е"))))
    for phrase, meaning in _PHRASES:
        said = phrase.sub(meaning, said)
    terms: set[str] = set()
    for word in said.split():
        kind = _KINDS.get(word, word if word[0] in (_WANTED, _NAMED) else "")
        if kind == _DAY:
            terms |= {"?time", _DAY + stems(word)[0]}
        elif kind:
            terms.add(kind)
        elif word[0].isdigit():
            terms.add(_NUMBER + word)
        elif word in _FUNCTIONS:
            terms.add(_FUNCTION + stems(word)[0])
        elif word not in _CHATTER:
            meant = _SAME.get(word, word)
            terms.update((_COMMON if meant in _COMMONS else "") + stem for stem in stems(meant))
    # What is wanted and named is named.
    return tuple(sorted(terms - {_WANTED + term[1:] for term in terms if term[0] == _NAMED}))


def is_word(term: str) -> bool:
    """Whether a term is a word of what a question is about."""
    return term[0] not in _WEIGHTS


def gist(question: str) -> str:
    """A question, as `asked` gives it, without its function words: the same for those that differ in these alone.

    >>> gist("-are -you ?time open")
    '?time open'
    """
    return " ".join(term for term in question.partition("\n")[0].split() if term[0] != _FUNCTION)


def keys(question: str) -> list[str]:
    """The terms by which a question, as `asked` gives it, is found among others: none for one that is about nothing.

    >>> keys("-what -your !place"), keys("-are -you ?time open"), keys("?price")
    (['?place'], ['?time', 'open'], [])
    """
    terms = [term for term in question.partition("\n")[0].split() if term[0] not in (_FUNCTION, _DAY, _NUMBER)]
    if all(term[0] in (_WANTED, _COMMON) for term in terms):
        return []
    return [_WANTED + term[1:] if term[0] == _NAMED else term for term in terms]


# --- how alike two questions are --------------------------------------------------------------------------------------

_PART = 0.9
"""What counts of the likeness of one question out of several."""

_DISAGREEMENT = 0.5
"""What counts of the likeness of questions that want different kinds of answer."""

_COMPARED = 16_384
"""Pairs of stems whose nearness is remembered: the people of a shop ask with the same words."""


def rarity(questions: int, having: int) -> float:
    """What a term counts, 0.5 to 1: inverse document frequency, smoothed so that a few questions make no rule.

    Args:
        questions: how many questions there are.
        having: how many of them have the term.

    >>> [round(rarity(100_000, having), 2) for having in (0, 10, 1_000, 100_000)]
    [1.0, 0.9, 0.7, 0.5]
    >>> round(rarity(1, 1), 2)
    0.92
    """
    return 0.5 + 0.5 * log((questions + 100) / (having + 1)) / log(questions + 100)


class Weighed(msgspec.Struct, frozen=True):
    """One line of a question, as `asked` gives it, ready to be compared.

    Attributes:
        weights: of each term.
        words: the terms that tell what it is about, without what is wanted, named or counted.
        kinds: of answer that are wanted or named.
        square: the sum of the squares of the weights.
    """

    weights: dict[str, float]
    words: list[str]
    kinds: set[str]
    square: float


def weighed(question: str, counts: Callable[[str], float] = lambda _: 1.0) -> list[Weighed]:
    """A question ready to be compared with others: each of its lines.

    Args:
        question: as `asked` gives it.
        counts: what a term that tells what a question is about counts, 0 to 1: its `rarity`.
    """
    return [_weighed(line, counts) for line in question.split("\n")]


def _weighed(line: str, counts: Callable[[str], float]) -> Weighed:
    terms = line.split()
    words = [term for term in terms if term[0] not in _WEIGHTS]
    weights = {term: _WEIGHTS.get(term[0]) or counts(term) for term in terms}
    kinds = {term[1:] for term in terms if term[0] in (_WANTED, _NAMED)}
    return Weighed(weights, words, kinds, sum([weight * weight for weight in weights.values()]))


def similarity(one: Sequence[Weighed], other: Sequence[Weighed]) -> float:
    """How alike two questions are, 0 to 1, symmetric; the module says how.

    Args:
        one: a question, as `weighed` gives it.
        other: another one.
    """
    best = 0.0
    for first, a in enumerate(one):
        for second, b in enumerate(other):
            share = _PART if first or second else 1.0
            best = max(best, share * _alike(a, b))
    return round(best, 3)


def _alike(one: Weighed, other: Weighed) -> float:
    """The extended Jaccard coefficient of two questions, with soft terms, and less when they want different answers."""
    a, b = one.weights, other.weights
    shared = a.keys() & b.keys()
    product = sum([a[term] * b[term] for term in shared])
    substance = sum([a[term] for term in shared if term[0] not in _WEIGHTS or term[0] == _NAMED])
    left, right = ([word for word in words if word not in shared] for words in (one.words, other.words))
    for near, term, similar in sorted([(-near, x, y) for x in left for y in right if (near := nearness(x, y))]):
        if term in left and similar in right:
            left.remove(term)
            right.remove(similar)
            product -= near * a[term] * b[similar]
            substance -= near
    both = one.kinds & other.kinds
    for kind in both:
        first, second = (_NAMED if _NAMED + kind in side else _WANTED for side in (a, b))
        if first != second:
            product += a[first + kind] * b[second + kind]
            substance += 1.0
    if substance == 0.0:
        return 0.0
    agreement = _DISAGREEMENT if one.kinds and other.kinds and not both else 1.0
    return agreement * min(product / (one.square + other.square - product), 1.0)


@lru_cache(_COMPARED)
def nearness(one: str, other: str) -> float:
    """How near two stems are, 0 to 1; 0 for most. Only letters are compared: a number is another number.

    >>> nearness("tulip", "tulpi"), nearness("меня", "поменя"), nearness("light", "night"), nearness("4117", "4118")
    (0.9, 0.9, 0.0, 0.0)
    >>> round(nearness("открыт", "открыва"), 2)
    0.86
    """
    if one[0] != other[0] and not (
        one.startswith(_PERFECTIVE) or other.startswith(_PERFECTIVE) or {one[0], other[0]} == _UNSTRESSED
    ):
        # Nearly always: nothing below could bring them near.
        return 0.0
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) < SHORTEST or not one.isalpha() or not other.isalpha():
        return 0.0
    if longer[: -len(shorter)] in _PERFECTIVE and longer.endswith(shorter):
        return _NEAR
    starts = {one[0], other[0]}
    if len(shorter) > SHORTEST and (len(starts) == 1 or starts == _UNSTRESSED) and _is_typo(shorter, longer):
        return _NEAR
    alike = next(
        (place for place, letters in enumerate(zip(one, other, strict=False)) if letters[0] != letters[1]), len(shorter)
    )
    return (1 + alike / len(longer)) / 2 if alike >= SHORTEST and alike >= _PREFIX * len(longer) else 0.0


_PREFIX = 0.6
"""Share of the longer stem that both begin with."""

_NEAR = 0.9
_UNSTRESSED = {"а", "о"}
"""Sound the same at the beginning of most Russian words; other first letters are seldom mistyped."""

_PERFECTIVE = ("по", "за")
"""Prefixes that make a Russian verb perfective without changing what it means: "менять", "поменять"."""


def relatives(stem: str) -> list[str]:
    """Stems that are near one and begin otherwise.

    >>> relatives("поменя")
    ['попоменя', 'запоменя', 'меня']
    """
    return [prefix + stem for prefix in _PERFECTIVE] + [stem[2:] for prefix in _PERFECTIVE if stem.startswith(prefix)]


def _is_typo(shorter: str, longer: str) -> bool:
    """Whether one letter was left out or put in, is another, or changed places with the next."""
    start = next((place for place, letter in enumerate(shorter) if letter != longer[place]), len(shorter))
    rest, other = shorter[start:], longer[start:]
    if len(shorter) < len(longer):
        return len(longer) - len(shorter) == 1 and rest == other[1:]
    return rest[1:] == other[1:] or (rest[:2] == other[1::-1] and rest[2:] == other[2:])
