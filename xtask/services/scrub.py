"""What a team writes when it has no `portcullis scrub`: the same rules, as regular expressions in a filter.

python scrub.py RULES.json FILE: prints the seconds that it took, and how much was replaced.
"""

import json
import re
import sys
import time

rules = json.load(open(sys.argv[1]))
MASK = "[redacted]"

# As the filters of logging libraries are written: one expression for names, one for keys, one per form.
plain = [word for word in rules["literals"] if re.fullmatch(r"[a-z _-]+", word)]
names = "|".join(re.escape(word) for word in plain if len(word) > 2)
keys = "|".join(re.escape(prefix) + made + "{%d,}" % least for prefix, made, least in rules["keys"])
RULES = [
    (re.compile(r'(?i)([\w-]*(?:%s)[\w-]*["\']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"|[^\s&;,)}\]]+)' % names), r"\1" + MASK),
    (re.compile(r"(?i)(\b(?:sid|otp|totp|pin|pass|auth|cvv|cvc|ssn)[\"']?\s*[=:]\s*)(\"[^\"]*\"|[^\s&;,)}\]]+)"), r"\1" + MASK),
    (re.compile(r"([?&](?:key|code|sig)=)[^\s&]+"), r"\1" + MASK),
    (re.compile(r"(?<![A-Za-z0-9_])(?:%s)" % keys), MASK),
    (re.compile(r"eyJ[A-Za-z0-9_.=-]{13,}"), MASK),
    (re.compile(r"(?i)\b((?:bearer|basic|dpop)[ +])[A-Za-z0-9._~+/=-]{3,}"), r"\1" + MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), MASK),
    (re.compile(r"(://)[^\s\"'/?#@]+@"), r"\1" + MASK + "@"),
    (re.compile(r"[A-Za-z0-9._%+-]+@([A-Za-z0-9.-]+\.[A-Za-z]{2,})"), r"***@\1"),
    (re.compile(r"((?:/home/|/Users/|:\\{1,2}[Uu]sers\\{1,2}))[\w.+-]+"), r"\1" + MASK),
]
CARD = re.compile(r"(?<![\w.])[2-6](?:[ -]?\d){12,18}(?![\w.])")


def luhn(match):
    digits = [int(c) for c in match.group() if c.isdigit()][::-1]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])
    return MASK if total % 10 == 0 else match.group()


lines = open(sys.argv[2], encoding="utf-8").readlines()
start = time.process_time()
replaced = 0
for line in lines:
    for pattern, by in RULES:
        line, count = pattern.subn(by, line)
        replaced += count
    line = CARD.sub(luhn, line)
print(time.process_time() - start, replaced)
