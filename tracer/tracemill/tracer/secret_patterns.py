"""What a secret looks like, whatever it is called: keys and tokens by the shapes their services publish.

In: a text. Out: `tokens`, the places of keys and tokens in it. The shapes are a table of facts (how a token
begins, which characters follow and how many), held against the rules of gitleaks and detect-secrets; the
regular expressions are made from it when they are first needed. A text is looked at closely only where a long
run of token characters stands in it, and in such a run the literal of a rule.

Every repetition is bounded but for the last one of a rule, so that no text makes an expression slow.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tracemill.tracer.literals import AnyOf, AnyRun


class Span(NamedTuple):
    """Where something stands that must not be kept, and what it is."""

    start: int
    end: int
    kind: str


# One rule a line: its kind | how it begins | what follows. `id{20,}` is twenty or more characters of the
# alphabet `id`, `[A-Z2-7]{16}` sixteen of those in brackets; what has no braces stands there literally. After
# a single `-` come no beginnings but literals one of which must stand in the rest. `digit` at the end: there
# must be one, because the rest could be a word; `alone`: no base64 stands before it. A last piece of bounded
# length ends where its alphabet does (never one with `-` or `_`: where a token may begin anew, it must be
# taken whole). What an unmistakable beginning gives away may have been cut short, as by a limit on output: it
# counts from about half its length on.
_TABLE = r"""
anthropic-key | sk-ant- | id{16,}
openai-key | sk- | id{20,} digit
cerebras-key | csk- | lower{24,}
elevenlabs-key | sk_ | hex{48}
fireworks-key | fw_ | alnum{22,} digit alone
firecrawl-key | fc- | hex{32}
groq-key | gsk_ | alnum{24,}
huggingface-token | hf_ api_org_ | alnum{24,}
jina-key | jina_ | alnum{30,}
langsmith-key | lsv2_pt_ lsv2_sk_ | hex{32} _ hex{10}
nvidia-key | nvapi- | id{30,}
perplexity-key | pplx- | alnum{24,}
pinecone-key | pcsk_ | id{30,}
replicate-token | r8_ | alnum{30,}
tavily-key | tvly- | id{20,}
together-key | tgp_v1_ | id{30,}
xai-key | xai- | alnum{30,}
e2b-key | e2b_ | hex{40}

github-token | ghp_ gho_ ghu_ ghs_ ghr_ | alnum{20,}
github-token | github_pat_ | word{24,}
gitlab-token | glpat- gldt- glft- glsoat- glrt- | dotid{16,}
gitlab-token | glrtr- glptt- glcbt- glimt- glagent- gloas- glffct- | dotid{16,}
gitlab-token | GR1348941 | id{16,}
gitlab-session | _gitlab_session= | hex{32}
bitbucket-token | ATBB | alnum{28,64} digit
atlassian-token | ATATT3 ATCTT3 | b64url{40,}
sourcegraph-token | sgp_ | hex{40}
sourcegraph-token | sgp_local_ | hex{40}
sourcegraph-token | sgp_ | hex{16} _ hex{40}
npm-token | npm_ | alnum{30,}
pypi-token | pypi- | id{32,}
rubygems-key | rubygems_ | hex{48}
clojars-token | CLOJARS_ | alnum{60}
crates-token | cio | alnum{32} digit
nuget-key | oy2 | lower{43}
docker-token | dckr_pat_ dckr_oat_ | id{20,}
artifactory-key | AKCp | alnum{60,80}
artifactory-key | AKC | alnum{17,100} digit alone
artifactory-token | cmVmd | alnum{59}
artifactory-password | AP | [0-9A-F]{1} alnum{20,60} digit alone
circleci-token | CCIPAT_ CCIPRJ_ | word{30,}
buildkite-token | bkua_ | alnum{30,}
sonar-token | squ_ sqp_ sqa_ | hex{40}
harness-key | pat. sat. | id{22} . alnum{24} . alnum{20}
octopus-key | API- | upper{26} digit
postman-key | PMAK- | hex{24} - hex{34}
readme-key | rdme_ | lower{70}

aws-key | AKIA ASIA ABIA ACCA | [A-Z2-7]{16}
aws-bedrock-key | ABSK | b64{40,}
aws-bedrock-key | bedrock-api-key- | b64{20,}
google-key | AIza | id{35,}
google-token | ya29. | id{20,}
google-token | GOCSPX- | id{20,}
google-token | 1//0 | id{40,}
firebase-key | AAAA | id{7} : id{100,}
azure-secret | - Q~ | [A-Za-z0-9_~.]{3} digit{1} Q~ [A-Za-z0-9_~.-]{31,}
alibaba-key | LTAI | alnum{20} digit
tencent-key | AKID | alnum{32} digit
yandex-key | AQVN | id{35,}
yandex-token | t1. | b64url{20,400} . id{86,}
yandex-key | YC | id{38,} digit alone
digitalocean-token | doo_v1_ dop_v1_ dor_v1_ | hex{64}
softlayer-key | api.softlayer.com/soap/v3/ api.softlayer.com/soap/v3.1/ | lower{64}
heroku-key | HRKU-AA | id{40,}
fly-token | fo1_ | id{43,}
fly-token | fm1a_ fm1r_ fm2_ | b64{40,}
netlify-token | nfp_ | alnum{30,}
supabase-key | sbp_ | hex{40}
supabase-key | sb_secret_ | id{20,}
render-key | rnd_ | alnum{24,} digit
neon-key | napi_ | lower{40,}
planetscale-token | pscale_tkn_ pscale_oauth_ pscale_pw_ | dotid{30,}
scalingo-token | tk-us- | id{40,}
cloudflare-key | v1.0- | hex{24} - hex{146}
clickhouse-key | 4b1d | alnum{38} digit
openshift-token | sha256~ | id{43,}
databricks-token | dapi | hex{32}
tailscale-key | tskey- | id{20,}
defined-key | dnkey- | b64url{26} - b64url{52,}
vault-token | hvs. hvb. hvr. | id{24,}
terraform-token | - .atlasv1. | alnum{14} .atlasv1. b64url{60,}
pulumi-token | pul- | hex{40}
doppler-token | dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit. | dotid{30,}
infracost-key | ico- | alnum{32}
prefect-key | pnu_ pnb_ | alnum{36}
1password-key | A3- | upper{6} - [A-Z0-9-]{11,12} - upper{5} - upper{5} - upper{5}
1password-token | ops_eyJ | b64{60,}
age-key | AGE-SECRET-KEY-1 | upper{40,}

stripe-key | sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ | alnum{12,}
stripe-key | rk_prod_ pk_live_ pk_test_ | alnum{12,}
stripe-key | whsec_ | b64{24,}
square-token | sq0atp- sq0csp- sq0idp- | id{20,}
square-token | EAAA | id{56,} digit
shopify-token | shpat_ shpca_ shppa_ shpss_ | hex{32}
shippo-token | shippo_live_ shippo_test_ | hex{40}
easypost-key | EZAK EZTK | alnum{54}
flutterwave-key | FLWSECK_TEST- FLWSECK- | alnum{12,}
duffel-token | duffel_live_ duffel_test_ | b64url{40,}
plaid-token | access-sandbox- access-development- access-production- | uuid
razorpay-key | rzp_live_ rzp_test_ | alnum{14}
braintree-token | access_token$production$ | lower{16} $ hex{32}
lob-key | live_ | hex{35}

slack-token | xoxb- xoxp- xoxa- xoxr- xoxo- xoxs- xoxe- xoxc- xoxe.xoxb- xoxe.xoxp- | id{15,}
slack-token | xoxd- | [A-Za-z0-9%+/=_-]{15,}
slack-token | xapp- | id{20,}
slack-webhook | hooks.slack.com/services/ hooks.slack.com/triggers/ | [A-Za-z0-9/_-]{20,}
slack-webhook | hooks.slack.com/workflows/ | [A-Za-z0-9/_-]{20,}
discord-token | MD MT Mj Mz ND NT Nj Nz OD OT | id{21,24} . id{6,7} . id{27,}
discord-webhook | discord.com/api/webhooks/ discord.com/api/v9/webhooks/ | digit{10,30} / id{20,}
discord-webhook | discord.com/api/v8/webhooks/ discord.com/api/v10/webhooks/ | digit{10,30} / id{20,}
discord-webhook | discordapp.com/api/webhooks/ | digit{10,30} / id{20,}
teams-webhook | webhook.office.com/webhookb2/ | [A-Za-z0-9@/-]{30,}
telegram-token | - :AA | digit{8,10} :AA id{33,}
twilio-key | SK AC | lower{32} digit
sendgrid-key | SG. | id{16,40} . id{8,}
mailchimp-key | - -us1 -us2 -us3 -us4 -us5 -us6 -us7 -us8 -us9 | lower{32} -us digit{1,2}
mailgun-key | key- | hex{32}
brevo-key | xkeysib- xsmtpsib- | hex{64} - alnum{16}
messagebird-key | live_ | alnum{25} digit
facebook-token | EAAM EAAC | alnum{80,}

grafana-token | glc_ | b64{32,}
grafana-token | glsa_ | alnum{32} _ [A-Fa-f0-9]{8}
sentry-token | sntryu_ | hex{64}
sentry-token | sntrys_ | [A-Za-z0-9+/=_-]{40,}
newrelic-key | NRAK- NRII- NRJS- NRRA- | id{19,}
dynatrace-token | dt0c01. dt0s01. | upper{24} . upper{64}
honeycomb-key | hcaik_ | alnum{40,}
logfire-token | pylf_v | digit{1} _ word{20,}
launchdarkly-key | sdk- api- mob- | uuid

airtable-token | pat | alnum{14} . hex{64}
contentful-token | CFPAT- | id{40,}
figma-token | figd_ | id{36,}
frameio-token | fio-u- | b64url{40,}
hubspot-token | pat-na1- pat-eu1- | uuid
linear-key | lin_api_ lin_oauth_ | alnum{24,}
mapbox-token | sk.eyJ pk.eyJ tk.eyJ | id{40,120} . id{16,}
maxmind-key | - _mmk | alnum{6} _ alnum{29} _mmk
notion-token | ntn_ | alnum{30,}
notion-token | secret_ | alnum{43} digit
adobe-secret | p8e- | id{32,}
intra42-secret | s-s4t2ud- s-s4t2af- | hex{64}
settlemint-token | sm_aat_ sm_pat_ sm_sat_ | alnum{16}
typeform-token | tfp_ | dotid{40,}
dropbox-token | sl. | id{100,}
password-hash | $2a$ $2b$ $2y$ $5$ $6$ $y$ $argon2i$ $argon2id$ | [A-Za-z0-9./$=,+]{30,}
jwt | eyJ | id{8,2000} . [A-Za-z0-9_.-]{8,}
"""

_ALPHABETS = {
    "digit": "0-9",
    "hex": "a-f0-9",
    "lower": "a-z0-9",
    "upper": "A-Z0-9",
    "alnum": "A-Za-z0-9",
    "word": "A-Za-z0-9_",
    "id": "A-Za-z0-9_-",
    "dotid": "A-Za-z0-9_.=-",
    "b64": "A-Za-z0-9+/=",
    "b64url": "A-Za-z0-9_=-",
}
_UUID = "hex{8} - hex{4} - hex{4} - hex{4} - hex{12}"
_PIECE = re.compile(r"(?:(?P<name>[a-z0-9]+)|\[(?P<set>[^\]]+)\])\{(?P<count>[0-9]+(?:,[0-9]*)?)\}")

# The characters of tokens that need no closer look at the rest of a text; a rule whose beginning or alphabet
# has others must be looked for everywhere.
_RUN_CHARACTERS = "A-Za-z0-9_.~:=-"
_SHORTEST = 20
RUN = f"[{_RUN_CHARACTERS}]{{{_SHORTEST}}}"
"""What stands in every text that has `long_runs`."""
_IS_IN_RUN = re.compile(f"[{_RUN_CHARACTERS}]")
_RUNS_APART = bytes(code if _IS_IN_RUN.match(chr(code)) else ord(" ") for code in range(256))
_NO_NAME = re.compile("[A-Z0-9]")
_MINTED = re.compile("pyd_ai_[0-9a-f]{32}")
"""The id that Pydantic AI makes for a tool call without one: no token begins in it, and as base64 it would be
no text. Every answer is full of them."""
MINTED_FIELD = re.compile(f'"id":"{_MINTED.pattern}"')
"""Such an id as it stands in the JSON of an answer."""
IN_A_MINTED_ID = re.compile("[0-9a-fpyi_]*")
"""What may stand in one."""
_IN_A_RUN = re.compile(f"[{_RUN_CHARACTERS}]*")

# A token starts where no word goes on, so that `task-...` never counts; but the `n` of a newline written as
# \n, a percent code, a \u code and the end of a terminal's colour code are no words.
_COLOUR = "|".join(rf"(?<=\[[0-9;]{{{{{width}}}}}[mK]{{past}})" for width in range(9))
_STARTS = (
    r"(?:(?<![{before}]{past})|(?<=\\[nrtbfv0]{past})|(?<=%[0-9A-Fa-f]{{2}}{past})"
    rf"|(?<=\\u[0-9A-Fa-f]{{{{4}}}}{{past}})|(?<=\\x[0-9A-Fa-f]{{{{2}}}}{{past}})|{_COLOUR})"
)


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    kind: str
    prefixes: tuple[str, ...]
    hints: tuple[str, ...]
    """Literals one of which stands in every text that holds such a token."""
    pieces: tuple[str, ...]
    digit: bool
    alone: bool

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """The expression; its literals come first, which is what makes searching fast."""
        body = "".join(map(_expression, self.pieces))
        before = r"A-Za-z0-9+/_-" if self.alone else "A-Za-z0-9"
        begins = "|".join(
            re.escape(prefix) + _STARTS.format(before=before, past=f".{{{len(prefix)}}}")
            for prefix in self.prefixes
        )
        last = _PIECE.fullmatch(self.pieces[-1])
        ends = f"(?!{_set(last)})" if last and not last["count"].endswith(",") else ""
        return re.compile(f"(?s:{begins or _STARTS.format(before=before, past='')})(?P<body>{body}){ends}")

    @functools.cached_property
    def in_runs(self) -> bool:
        """Whether such a token always stands in one run of token characters."""
        sets = [
            piece["set"] or _ALPHABETS[piece["name"]] for piece in map(_PIECE.fullmatch, self.pieces) if piece
        ]
        return all(_IN_A_RUN.fullmatch(text) for text in (*self.hints, *sets))


def _read(line: str) -> Rule:
    kind, begins, body = (column.strip() for column in line.split(" | "))
    literals = tuple(begins.split())
    prefixes = () if literals[0] == "-" else literals
    shared = os.path.commonprefix(prefixes)  # noqa: RUF071 (characters are meant)
    hints = literals[1:] if not prefixes else (shared,) if len(shared) >= 3 else prefixes
    words = body.replace("uuid", _UUID).split()
    pieces = tuple(word for word in words if word not in ("digit", "alone"))
    return Rule(kind, prefixes, hints, pieces, digit="digit" in words, alone="alone" in words)


def _set(piece: re.Match[str]) -> str:
    return f"[{piece['set'] or _ALPHABETS[piece['name']]}]"


def _expression(piece: str) -> str:
    repeated = _PIECE.fullmatch(piece)
    return f"{_set(repeated)}{{{repeated['count']}}}" if repeated else re.escape(piece)


RULES = tuple(_read(line) for line in _TABLE.splitlines() if line)
KINDS = frozenset(rule.kind for rule in RULES)
"""The kinds of tokens that are known by their shape."""

_Hinted = tuple[tuple[str, int], ...]
_RUN_HINTS: _Hinted = tuple((hint, n) for n, rule in enumerate(RULES) if rule.in_runs for hint in rule.hints)
_HINTS: _Hinted = tuple((hint, n) for n, rule in enumerate(RULES) if not rule.in_runs for hint in rule.hints)
TEXT_HINTS = tuple(hint for hint, _ in _HINTS)
"""Literals one of which stands in every text with a token that is not one of its `long_runs`."""
_has_hint = AnyOf(TEXT_HINTS)
_has_run_hint = AnyOf(hint for hint, _ in _RUN_HINTS)
_has_run = AnyRun(_RUN_CHARACTERS, _SHORTEST)


def long_runs(text: str) -> str:
    """The runs of token characters in a text that are no plain names, apart; most texts have none."""
    if len(text) < _SHORTEST or not _has_run(text):
        return ""
    # Bytes are taken apart in a tenth of the time that an expression takes.
    apart = text.encode("utf-8", "replace").translate(_RUNS_APART).decode().split()
    kept = [run for run in apart if len(run) >= _SHORTEST and _NO_NAME.search(run)]
    return " ".join([run for run in kept if not _MINTED.fullmatch(run)])


def may_be_token(runs: str) -> bool:
    """Whether one of these `long_runs` may be a token, or hold one."""
    return _has_run_hint(runs)


def tokens(text: str, runs: str) -> Iterator[Span]:
    """The keys and tokens in a text with these `long_runs`, rule by rule."""
    if len(text) < _SHORTEST:
        return
    found = [number for hint, number in _HINTS if hint in text] if _has_hint(text) else []
    if runs and _has_run_hint(runs):
        found += [number for hint, number in _RUN_HINTS if hint in runs]
    for number in sorted(set(found)):
        rule = RULES[number]
        for match in rule.pattern.finditer(text):
            if _is_random(match["body"], rule.digit):
                yield Span(match.start(), match.end(), rule.kind)


def _is_random(body: str, digit: bool) -> bool:
    """Not `xxxxxxxx` or `....`, which stand for a token in documentation."""
    return len(set(body[-16:])) > 4 and (not digit or any(character.isdigit() for character in body))
