"""What a secret looks like.

Out: `RULES`, in the order they are tried. Each has the name that its placeholder shows, lower-case literals
one of which must occur before the regular expression is worth running, and the expression itself; where that
has a group named `secret`, only the group is the secret. The shapes of service tokens are the ones the
services publish, the same that scanners such as gitleaks look for. Every repetition that may be tried at many
places is bounded, so that no text makes an expression slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One kind of secret."""

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]


# A token starts where no word goes on, so that `task-...` or a longer identifier never counts.
_START = r"(?<![A-Za-z0-9_])"


def _token(kind: str, hints: str, pattern: str) -> Rule:
    return Rule(kind, tuple(hints.split()), re.compile(_START + pattern))


_PEM = r"-----{edge} [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----"

# What a secret is called in code, settings and headers. The strong names are secret whatever they hold; the
# weak ones also name harmless things (a token of text), so their values must be long and look random.
_STRONG_WORDS = ("password", "passwd", "passphrase")
_STRONG_PAIRS = (
    *(("api", "key"), ("secret", "key"), ("private", "key"), ("access", "key"), ("account", "key")),
    *(
        ("access", "token"),
        ("auth", "token"),
        ("refresh", "token"),
        ("bearer", "token"),
        ("session", "token"),
    ),
    *(("id", "token"), ("client", "secret")),
)
_STRONG_HINTS = _STRONG_WORDS + tuple(f"{a}{joint}{b}" for a, b in _STRONG_PAIRS for joint in ("", "_", "-"))
_STRONG = "(?:" + "|".join((*_STRONG_WORDS, *(f"{a}[_-]?{b}" for a, b in _STRONG_PAIRS))) + ")"
_WEAK_HINTS = ("secret", "token", "credential")
_WEAK = r"(?:secret|token|credentials?)"
_ASSIGN = r"\\{0,3}[\"']?\s{0,20}(?:=|:(?!:))\s{0,20}"
# `${HOME}`, `{{ var }}`, `<your key>` and `%(x)s` stand for a value, they are none.
_REAL = r"(?![$<{%*(])"
_RANDOM = r"(?=[^\s\"'`]{0,200}?[0-9])(?=[^\s\"'`]{0,200}?[A-Za-z])"
_BARE = r"[^\s\"'`,;:(){}\[\]<>&|$\\]"
_BARE_END = r"(?=[\s\"'`,;)}\]&|\\]|$)"

_ASSIGNMENTS = (
    # A quoted value is a literal, so a strong name makes it secret.
    Rule(
        "password",
        _STRONG_HINTS,
        re.compile(
            rf"(?i){_STRONG}{_ASSIGN}\\{{0,3}}(?P<quote>[\"'`])"
            rf"(?P<secret>{_REAL}[^\s\\\"'`]{{4,500}})\\{{0,3}}(?P=quote)"
        ),
    ),
    # A bare value may be code (`password=get_password`), so it must hold a digit ...
    Rule(
        "password",
        _STRONG_HINTS,
        re.compile(rf"(?i){_STRONG}{_ASSIGN}(?P<secret>{_RANDOM}{_BARE}{{6,500}}){_BARE_END}"),
    ),
    # ... unless its name is spelled as an environment variable.
    Rule(
        "password",
        ("password=", "passwd=", "_key=", "secret=", "token="),
        re.compile(rf"(?:PASSWORD|PASSWD|_KEY|SECRET|TOKEN)=(?P<secret>{_BARE}{{6,500}}){_BARE_END}"),
    ),
    Rule(
        "token",
        _WEAK_HINTS,
        re.compile(
            rf"(?i){_WEAK}{_ASSIGN}(?:\\{{0,3}}[\"'`])?(?P<secret>{_RANDOM}{_BARE}{{16,500}}){_BARE_END}"
        ),
    ),
)

RULES: tuple[Rule, ...] = (
    Rule(
        "private-key",
        ("private key",),
        re.compile(_PEM.format(edge="BEGIN") + r".*?(?:" + _PEM.format(edge="END") + r"|\Z)", re.DOTALL),
    ),
    _token("jwt", "eyj", r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    _token("anthropic-key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    _token("openai-key", "sk-", r"sk-(?=[A-Za-z0-9_-]{0,200}?[0-9])[A-Za-z0-9_-]{20,}"),
    _token("stripe-key", "k_live_ k_test_", r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"),
    _token("stripe-key", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,}"),
    _token("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{30,}"),
    _token("github-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{30,}"),
    _token("gitlab-token", "glpat- gldt- glrt- glptt-", r"gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,}"),
    _token("aws-key", "akia asia abia acca", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _token("google-key", "aiza", r"AIza[A-Za-z0-9_-]{35}"),
    _token("google-token", "ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    _token("google-token", "gocspx-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    _token("slack-token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _token("slack-token", "xapp-", r"xapp-[A-Za-z0-9-]{20,}"),
    Rule("webhook", ("slack.com/",), re.compile(r"hooks\.slack\.com/(?P<secret>[A-Za-z0-9/_-]{20,})")),
    Rule("webhook", ("/api/webhooks/",), re.compile(r"/api/webhooks/(?P<secret>[0-9]+/[A-Za-z0-9_-]{20,})")),
    _token("huggingface-token", "hf_", r"hf_[A-Za-z0-9]{30,}"),
    _token("groq-key", "gsk_", r"gsk_[A-Za-z0-9]{30,}"),
    _token("xai-key", "xai-", r"xai-[A-Za-z0-9]{30,}"),
    _token("perplexity-key", "pplx-", r"pplx-[A-Za-z0-9]{30,}"),
    _token("replicate-token", "r8_", r"r8_[A-Za-z0-9]{30,}"),
    _token("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _token("pypi-token", "pypi-", r"pypi-[A-Za-z0-9_-]{32,}"),
    _token("logfire-token", "pylf_", r"pylf_v[0-9]_[A-Za-z0-9_]{20,}"),
    _token("sendgrid-key", "sg.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _token("digitalocean-token", "_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _token("databricks-token", "dapi", r"dapi[a-f0-9]{32}(?:-[0-9])?"),
    _token("vault-token", "hvs.", r"hvs\.[A-Za-z0-9_-]{24,}"),
    _token("shopify-token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _token("linear-key", "lin_api_ lin_oauth_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    _token("age-key", "age-secret-key-", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    _token("telegram-token", ":aa", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    Rule(
        "url-password",
        ("://",),
        re.compile(rf"://[^\s/:@\"'<>]{{0,200}}:(?P<secret>{_REAL}[^\s/@\"'<>]{{1,500}})@"),
    ),
    Rule(
        "authorization",
        ("bearer", "authorization"),
        re.compile(
            r"(?i)(?:\bbearer|authorization[\"']?\s{0,20}[:=]\s{0,20}[\"']?(?:basic|token))\s{1,20}"
            r"(?P<secret>(?=[A-Za-z._~+/-]{0,200}?[0-9])[A-Za-z0-9._~+/-]{12,}=*)"
        ),
    ),
    *_ASSIGNMENTS,
)

SECRET_FIELD = re.compile(rf"(?i)(?:^|[_.-]){_STRONG}$|^(?:authorization|x-api-key)$")
"""Names of JSON fields whose string value is secret whatever it looks like."""

SECRET_VARIABLE = re.compile(
    r"(?i)(?:^|_)(?:[A-Z]*KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|PAT|DSN)(?:_ID)?$"
    r"|(?:^|_)(?:SECRET|PASSWORD)_"
)
"""Names of environment variables that say their value is secret."""
