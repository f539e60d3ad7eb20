"""Characters that tokenizers leave out of their offsets, with every family's kind of tokenizer."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from stages.qa.data.squad import Answer, Example
from stages.qa.data.text import covering
from stages.qa.data.windows import make_windows
from tests.tiny_models import SPECIAL, train_tokenizer

KINDS = list(SPECIAL)
TEXTS = {  # answers between bars
    "Hindi": "यह |हिन्दी| में |लिखा है| । कवि |तुलसीदास की| रचना |१५७४ में|, |दिल्ली|",
    "Malayalam with joiners": "|അവന്‍| പറഞ്ഞു |കാല്‍| |എന്ന്|",
    "Arabic with vowel signs": "قَالَ |الرَّجُلُ| إِنَّ |الكِتَابَ| |جَدِيدٌ|",
    "Persian": "او |می\u200cخواهد| |کتاب\u200cها| را",
    "Hebrew with points": "|בְּרֵאשִׁית| בָּרָא |אֱלֹהִים|",
    "decomposed Latin": "le |Cafe\u0301| de |Zoe\u0308| a\u030a |A\u0301ngstro\u0308m|",
    "composed Latin": "le |Café| de |Zoë| å |Ångström|, |naïve|",
    "Vietnamese": "ở |Việt Nam|, |Phở| |Hà Nội|",
    "emoji": "Smile |\U0001f468\u200d\U0001f469\u200d\U0001f467| and |\u2764\ufe0f| |1\ufe0f\u20e3| "
    "|\U0001f44d\U0001f3fd| |\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f| then |end|",
    "CJK": "|東京|は|日本の首都|です。|北京|是|中国|的首都",
    "full width": "値は |１２３|、名は |ＡＢＣ　ｄｅｆ|",
    "Windows line ends": "First |line|\r\n|Second| line\r\n\r\n|third one|\r\n",
    "Thai": "|ประเทศไทย| และ |กรุงเทพ|",
    "Hangul": "|한국어| 는 |\u1112\u1161\u11ab\u1100\u116e\u11a8|",
    "odd spaces": "a\u00a0|b|\u2003|c d|\u3000|e|",
    "letters that change": "|Straße| |ﬁne| |İstanbul| |ΣΊΣΥΦΟΣ| |ǅ| |½|",
}


def gold_slices(kind: str, text: str) -> list[tuple[str, str]]:
    """Each answer between bars in `text`, and the slice of the tokens that touch it."""
    parts = text.split("|")
    context = "".join(parts)
    examples = []
    for number in range(1, len(parts), 2):
        answer = Answer(parts[number], len("".join(parts[:number])))
        examples.append(Example(str(number), "Who?", context, (answer,), False, 0, 0, ""))
    windows = make_windows(examples, train_tokenizer(kind), max_seq_length=512, doc_stride=128, max_query_length=64)
    found = []
    for example, (first, last), start in zip(examples, windows.targets.tolist(), windows.starts.tolist(), strict=False):
        chars = slice(windows.offsets[start + first, 0], windows.offsets[start + last, 1])
        found.append((example.answers[0].text, context[chars].strip()))
    return found


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_of_whole_words_comes_back(kind: str, name: str) -> None:
    for gold, text in gold_slices(kind, TEXTS[name]):
        if kind in ("albert", "deberta", "xlm") and name == "CJK":
            assert gold in text  # what these vocabularies do not know is one token
        else:
            assert text == gold


@pytest.mark.parametrize("text", ["In 1757, a U. S. war: ab 5 zz", "57", "x y"])
def test_first_letters_outside_of_their_tokens(text: str) -> None:
    """Byte-level pieces behind a Whitespace pre-tokenizer, with trimmed offsets."""
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel()])
    raw.post_processor = processors.ByteLevel(trim_offsets=True)
    given = np.array(raw.encode(text).offsets)
    wide = covering(text, given)
    letters = {place for place, character in enumerate(text) if character.isalnum()}
    held = {place for first, end in wide.tolist() for place in range(first, end)}
    assert letters <= held
    assert not any(text[place].isspace() for place in held)


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("ab\u0301 cd", [(0, 2), (4, 6)], [(0, 3), (4, 6)]),  # a mark: to the token before it
        ("1757 war", [(1, 4), (6, 8)], [(0, 4), (5, 8)]),  # a letter: to the token after it
        ("e\u0301x", [(0, 1), (3, 3)], [(0, 2), (2, 3)]),  # a mark and a letter
        ("abc de", [(0, 2), (4, 6)], [(0, 3), (4, 6)]),  # a letter before a space
        ("ab", [(0, 1)], [(0, 2)]),
        ("\u0301a b", [(1, 2), (3, 4)], [(0, 2), (3, 4)]),  # a mark in front
        ("a, -b c.", [(0, 1), (4, 5)], [(0, 1), (4, 5)]),  # signs and words of their own stay outside
        ("", [], []),
        ("ab", [], []),
        ("\u2764\ufe0f!", [(0, 1), (2, 3)], [(0, 2), (2, 3)]),
        ("a\u00a0\u0301", [(0, 1)], [(0, 1)]),
    ],
)
def test_by_hand(text: str, given: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    offsets = np.array(given, dtype=np.int32).reshape(-1, 2)
    before = offsets.copy()
    assert covering(text, offsets).tolist() == [list(pair) for pair in expected]
    assert (offsets == before).all()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_holes(data: st.DataObject) -> None:
    """Tokens only grow, over letters and marks alone; none of these is left between a token and the next."""
    text = data.draw(st.text("ab1 .\u0301\u0903\u200d", max_size=12))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    offsets = np.array(list(zip(cuts[::2], cuts[1::2], strict=False)), dtype=np.int32).reshape(-1, 2)
    wide = covering(text, offsets)
    assert (wide[:, 0] <= offsets[:, 0]).all()
    assert (wide[:, 1] >= offsets[:, 1]).all()
    before = {place for first, end in offsets.tolist() for place in range(first, end)}
    after = {place for first, end in wide.tolist() for place in range(first, end)}
    word = {p for p, c in enumerate(text) if c.isalnum() or c == "\u200d" or unicodedata.category(c)[0] == "M"}
    assert after - before <= word
    for place in word - after:
        assert place - 1 not in after
        assert place + 1 not in after
