"""Generates messages, with their meaning to Python, as test cases for the decoder.

Prints JSON lines: first {"seed": …}, then one line for each case:

    {"kind": …, "message": <hex>, "meaning": <see `canonical`>, "surrogate": …, "values": …}

`meaning` is null if Python cannot decode the message. `values` is the number of
its values, counting each container and each item of one. ORACLE_SEED in the
environment repeats a run.
"""

import ast
import datetime
import json
import math
import os
import random
import struct
import sys
import warnings

CASES = 10_000
# Maximum number of values in a message.
MAX_VALUES = 1_000
# Names in a message that are not Python literals: those of JSON, and those in the output of repr().
NAMES = {
    "datetime": datetime,
    "nan": math.nan,
    "inf": math.inf,
    "NaN": math.nan,
    "Infinity": math.inf,
    "true": True,
    "false": False,
    "null": None,
    "__builtins__": {},
}
ALPHABET = (
    [chr(code) for code in range(0x20)]
    + list("\"\"''\\\\//\x7f\x80\x85\xa0éßĀ\u2028\u2029\ufeff\ufffd\uffff")
    + list("😀\U0010ffff{}[](),:#")
)
SURROGATES = "\ud800\udbff\udc00\udfff\ud83d\ude00"
PYTHON_ESCAPES = {
    character: "\\" + letter for character, letter in zip("\a\b\f\n\r\t\v\\'\"", "abfnrtv\\'\"")
}
# Messages that are neither JSON nor a Python literal.
REJECTED = [
    "", " ", "\\", "{", "[", "(", "}", "[1", "[1}", "(1]", "{1: 2]", "{'a': 1", "[1 2]", "[,]",
    "(,)", "{,}", "[1,,2]", "{'a'}", "{'a':}", "{: 1}", "{'a': 1,,}", "{a: 1}", "{'a' 1}", "'",
    '"', "'a", '"a', "'a\"", "'\n'", '"\n"', "'\r'", "'\0'", "'a'b", "'a' 1", "1 2", "01", "-01",
    "0777", "1e", "1e+", ".", "-.", ".e5", "1.2.3", "0x", "--1", "+-1", "- -1", "*1", "-", "+",
    "-True", "-None", "-'a'", "-[]", "TRUE", "none", "undefined", "infinity", "Nan", "Truefalse",
    "true false", "a.b", "print(1)", "dict(a=1)", "[x for x in []]", "1 + 1", "1 < 2", "not True",
    "lambda: 0", "f'{1}'", "'\\x4'", "'\\xg0'", "'\\u123'", "'\\U0011ffff'", "'\\U12'", "'\\N'",
    '"\\u12"', '"\\ud800\\u"', "\ufeff{}", "\xa01", "[1\xa0]", "１", "[1]]", "{}{}", "[]()", "1;",
    "date(2031, 1, 1)", "date.date(2031, 1, 1)", "datetime.date(2031, 13, 1)",
    "datetime.date(2031, 2, 29)", "datetime.date(0, 1, 1)", "datetime.date(10000, 1, 1)",
    "datetime.date(2031, 1)", "datetime.date(2031, 1, 1, 1)", "datetime.date(2031, 01, 01)",
    "datetime.date(2031, 1, '1')", "datetime.date(2031, 1, 1.0)", "datetime.date(2031,, 1, 1)",
    "datetime.datetime(2031, 1, 1, 24)", "datetime.datetime(2031, 1, 1, 0, 60)",
    "datetime.datetime(2031, 1, 1, 0, 0, 60)", "datetime.datetime(2031, 1, 1, 0, 0, 0, 1000000)",
    "datetime.datetime(2031, 1, 1, tzinfo=1)", "datetime.datetime(2031, 1, 1, zone=1)",
    "datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(1)))",
    "datetime.datetime(fold=0, 2031, 1, 1)",
]


def text(rng, surrogates=True):
    def character():
        kind = rng.random()
        if kind < 0.45:
            return chr(rng.randrange(0x20, 0x7F))
        if kind < 0.85:
            return rng.choice(ALPHABET)
        if kind < 0.88 and surrogates:
            return rng.choice(SURROGATES)
        code = rng.randrange(0x80, 0x110000)
        return chr(code if not 0xD800 <= code < 0xE000 else 0xE9)

    if rng.random() < 0.3:
        return rng.choice(["", "id", "args", "username", "it's", '"', "\\", "\\n", "é"])
    return "".join(character() for _ in range(rng.choice([1, 3, 8, 30])))


def integer(rng):
    bits = rng.choice([1, 4, 8, 31, 32, 53, 63, 64, 65, 200, 2000])
    if rng.random() < 0.002:
        bits = 40_000
    return rng.choice([-1, 1]) * rng.getrandbits(bits)


def real(rng):
    kind = rng.random()
    if kind < 0.15:
        return rng.choice([math.nan, math.inf, -math.inf])
    if kind < 0.3:
        return rng.choice([0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308])
    if kind < 0.6:
        return struct.unpack(">d", rng.randbytes(8))[0]
    return rng.choice([rng.random(), rng.uniform(-1e6, 1e6), float(rng.randrange(1000)), 1e16])


def moment(rng):
    year = rng.choice([1, 1970, 2031, 9999])
    month, day = rng.randrange(1, 13), rng.randrange(1, 29)
    if rng.random() < 0.4:
        return datetime.date(year, month, day)
    offset = datetime.timedelta(seconds=rng.randrange(-86399, 86400))
    hours = datetime.timedelta(hours=rng.randrange(-12, 15))
    zone = rng.choice([None, datetime.timezone.utc, *map(datetime.timezone, [offset, hours])])
    clock = [rng.randrange(24), rng.randrange(60)]
    if rng.random() < 0.7:
        clock.append(rng.randrange(60))
    if len(clock) == 3 and rng.random() < 0.7:
        clock.append(rng.randrange(1_000_000))
    fold = rng.choice([0, 0, 0, 1])
    return datetime.datetime(year, month, day, *clock, tzinfo=zone, fold=fold)


def scalar(rng, jsonable):
    kinds = [text, text, integer, real, lambda _: rng.choice([None, True, False])]
    return rng.choice(kinds if jsonable else [*kinds, moment])(rng)


def value(rng, depth, jsonable):
    if depth == 0 or rng.random() < 0.25:
        return scalar(rng, jsonable)
    size = rng.choice([0, 1, 1, 2, 3, 6])
    kind = rng.choice(["dict", "dict", "list", "tuple"])
    items = [value(rng, depth - 1, jsonable) for _ in range(size)]
    if kind == "dict":
        return {key(rng, depth, jsonable): item for item in items}
    return tuple(items) if kind == "tuple" else items


def key(rng, depth, jsonable):
    if jsonable or rng.random() < 0.7:
        return text(rng)
    if rng.random() < 0.2:
        return tuple(scalar(rng, jsonable) for _ in range(rng.randrange(3)))
    return scalar(rng, jsonable)


def spaces(rng, language):
    choice = " \t\n\r" if language == "json" else " \t\n\r\f"
    return "".join(rng.choice(choice) for _ in range(rng.choice([0, 0, 0, 1, 1, 3])))


def spelled_text(rng, meaning, language):
    """Returns a source text for `meaning`, or for another text: Python decides
    which."""
    quote = '"' if language == "json" else rng.choice("'\"")
    python_escapes = ["\\x{:02x}", "\\x{:02X}", "\\{:o}", "\\{:03o}"]
    parts = []
    for character in meaning:
        code = ord(character)
        kind = rng.random()
        if language == "python" and kind < 0.05:
            parts.append(rng.choice(["\\\n", "\\\r\n", "\\\r", "\\q", "\\8", "\\/", "\\é", "\t"]))
        if language == "python" and rng.random() < 0.3 and character in PYTHON_ESCAPES:
            parts.append(PYTHON_ESCAPES[character])
        elif language == "python" and kind < 0.3 and code < 0x100:
            parts.append(rng.choice(python_escapes).format(code))
        elif language == "python" and kind < 0.4:
            parts.append(f"\\U{code:08x}")
        elif kind < 0.55 and code < 0x10000:
            parts.append(rng.choice(["\\u{:04x}", "\\u{:04X}"]).format(code))
        elif kind < 0.55 or 0xD800 <= code < 0xE000 or code < 0x20 or character in quote + "\\":
            # The escapes of JSON, which Python has too.
            parts.append(json.dumps(character)[1:-1] if character != "'" else "\\'")
        elif character == "/" and language == "json" and kind < 0.7:
            parts.append("\\/")
        else:
            parts.append(character)
    return quote + "".join(parts) + quote


def spelled_number(rng, number, language):
    sign = "-" if str(number).startswith("-") else ""
    if language == "python":
        sign = rng.choice([sign, sign or "+"])
        sign = sign and sign + spaces(rng, language)
    elif number == 0:
        sign = rng.choice(["", "-"])
    number = abs(number)
    if isinstance(number, int):
        return sign + (rng.choice(["0", "00"]) if language == "python" and not number else str(number))
    if math.isnan(number):
        return "NaN" if language == "json" else sign + rng.choice(["nan", "NaN"])
    if math.isinf(number):
        return sign + rng.choice(["Infinity"] if language == "json" else ["inf", "Infinity"])
    forms = ["{!r}", "{:e}", "{:E}", "{:.3f}", "{:.20e}", "{:.1f}", "{:.3f}e400"]
    if language == "python":
        forms += ["{:.0f}.", "{:.0f}.e1", "{:.0f}e-3", "00{:.2f}", "0{!r}"]
        if number < 1 and rng.random() < 0.5:
            return sign + f"{number:.6f}".removeprefix("0")
    return sign + rng.choice(forms).format(number)


def spelled(rng, meaning, language):
    """Returns a source for `meaning`, in a random spelling that the language allows."""

    def gap():
        return spaces(rng, language)

    def bracketed(opening, items, closing, comma):
        return opening + gap() + (gap() + "," + gap()).join(items) + gap() + comma + gap() + closing

    def again(item):
        return spelled(rng, item, language)

    def name_of(key):
        # In Python 0, -0.0 and False are the same key. Other keys than texts keep
        # their repr, so that no two keys become equal by the spelling.
        return again(key) if isinstance(key, str) else repr(key)

    trailing = "," if language == "python" and meaning and rng.random() < 0.3 else ""
    if isinstance(meaning, str):
        return spelled_text(rng, meaning, language)
    if isinstance(meaning, bool) or meaning is None:
        bare = [{True: "true", False: "false", None: "null"}[meaning]]
        return rng.choice(bare if language == "json" else [repr(meaning), *bare])
    if isinstance(meaning, (int, float)):
        return spelled_number(rng, meaning, language)
    if isinstance(meaning, dict):
        items = [name_of(name) + gap() + ":" + gap() + again(item) for name, item in meaning.items()]
        if items and rng.random() < 0.1:
            # A duplicate key: the last value wins.
            items.insert(0, name_of(rng.choice(list(meaning))) + ": 0")
        return bracketed("{", items, "}", trailing)
    if isinstance(meaning, tuple) and language == "python":
        comma = "," if len(meaning) == 1 and rng.random() < 0.9 else trailing
        return bracketed("(", map(again, meaning), ")", comma)
    if isinstance(meaning, (list, tuple)):
        return bracketed("[", map(again, meaning), "]", trailing)
    arguments = repr(meaning).replace(", ", gap() + "," + gap()).replace("(", gap() + "(" + gap())
    return arguments.replace("=", gap() + "=" + gap()).replace(")", gap() + ")")


def mutant(rng, message):
    characters = list(message)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(characters) + 1)
        edit = rng.choice(["insert", "remove", "replace"])
        if edit != "insert":
            del characters[place : place + 1]
        if edit != "remove":
            characters.insert(place, rng.choice("'\"\\{}[](),:.+-_0127eEuxNTnIi= \n\0\té#"))
    return "".join(characters)


def meaning_of(message):
    """Decodes a message like the daemon: as JSON, else as a Python literal with extras."""
    try:
        return json.loads(message)
    except json.JSONDecodeError:
        # In parentheses, so that line ends around the literal are allowed.
        return eval("(" + message + "\n)", NAMES)


def has_no_valid_syntax(message):
    """Returns whether a message has no valid syntax in either language."""
    if is_json(message):
        return False
    try:
        ast.parse("(" + message + "\n)", mode="eval")
        return False
    except (SyntaxError, ValueError):
        return True


def canonical(meaning):
    if meaning is None:
        return ["null"]
    if isinstance(meaning, bool):
        return ["bool", meaning]
    if isinstance(meaning, int):
        return ["int", str(meaning)]
    if isinstance(meaning, float):
        return ["float", "nan" if math.isnan(meaning) else struct.pack(">d", meaning).hex()]
    if isinstance(meaning, str):
        return ["text", scalars(meaning).encode().hex()]
    if isinstance(meaning, datetime.datetime):
        offset = meaning.utcoffset()
        naive = meaning.replace(tzinfo=None).isoformat(timespec="microseconds")
        return ["datetime", naive, None if offset is None else int(offset.total_seconds())]
    if isinstance(meaning, datetime.date):
        return ["date", meaning.isoformat()]
    if isinstance(meaning, (list, tuple)):
        return ["list", [canonical(item) for item in meaning]]
    return ["dict", [[canonical(name), canonical(item)] for name, item in meaning.items()]]


def scalars(meaning):
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in meaning)


def has_surrogate(meaning):
    if isinstance(meaning, str):
        return scalars(meaning) != meaning
    if isinstance(meaning, dict):
        return any(map(has_surrogate, [*meaning.keys(), *meaning.values()]))
    return isinstance(meaning, (list, tuple)) and any(map(has_surrogate, meaning))


def count_of(message):
    """Returns the number of values in a message, without keys that are scalars."""
    if is_json(message):
        # As pairs, so that the values of a duplicate key are all counted.
        whole = json.loads(message, object_pairs_hook=lambda pairs: [value for _, value in pairs])

        def count(meaning):
            return 1 + sum(map(count, meaning)) if isinstance(meaning, list) else 1

        return count(whole)

    def count_node(node):
        if isinstance(node, (ast.List, ast.Tuple)):
            return 1 + sum(map(count_node, node.elts))
        if isinstance(node, ast.Dict):
            keys = sum(count_node(name) - 1 for name in node.keys)
            return 1 + keys + sum(map(count_node, node.values))
        return 1

    return count_node(ast.parse("(" + message + "\n)", mode="eval").body)


def is_json(message):
    try:
        json.loads(message)
        return True
    except json.JSONDecodeError:
        return False


def case(kind, message, readable=True):
    meaning = meaning_of(message) if readable else None
    return {
        "kind": kind,
        "message": message.encode().hex(),
        "meaning": canonical(meaning) if readable else None,
        "surrogate": has_surrogate(meaning),
        "values": count_of(message) if readable else 0,
    }


def cases_of(rng):
    """Yields all messages that are generated from one value."""
    if rng.random() < 0.01:
        many = [value(rng, 1, jsonable=True)] * rng.randrange(MAX_VALUES // 2, 2 * MAX_VALUES)
        yield case("many", repr({"a": many}))
        yield case("many", json.dumps({"a": many}))
    whole = value(rng, rng.randrange(6), jsonable=False)
    yield case("repr", repr(whole))
    source = spelled(rng, whole, "python")
    yield case("python", spaces(rng, "python") + source + spaces(rng, "python"))
    plain = value(rng, rng.randrange(6), jsonable=True)
    ascii_only = has_surrogate(plain) or rng.random() < 0.5
    indent = rng.choice([None, None, 0, 2])
    yield case("json.dumps", json.dumps(plain, ensure_ascii=ascii_only, indent=indent))
    source = spelled(rng, plain, "json")
    yield case("json", spaces(rng, "json") + source + spaces(rng, "json"))
    broken = mutant(rng, rng.choice([source, repr(whole)]))
    if has_no_valid_syntax(broken):
        yield case("mutant", broken, readable=False)


def all_cases(rng):
    for message in REJECTED:
        yield case("rejected", message, readable=False)
    while True:
        yield from cases_of(rng)


def main():
    warnings.simplefilter("ignore")
    sys.set_int_max_str_digits(0)
    seed = int(os.environ.get("ORACLE_SEED") or random.SystemRandom().getrandbits(32))
    print(json.dumps({"seed": seed}))
    for _, line in zip(range(CASES), all_cases(random.Random(seed))):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
