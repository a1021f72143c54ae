"""The ills that a card looks for: what each is, why it hurts a model, and how to mend it.

In: nothing. Out: `ILLS`, one line each; how often a data set has them is found in `advice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ill:
    """What is called so, what is counted, from which share on it is bad, why, and the mend in words.

    `recipe` holds the tables of a recipe that mend it; '' where no recipe can.
    """

    title: str
    unit: str
    bad_from: float
    why: str
    mend: str
    recipe: str = ""


ILLS: Mapping[str, Ill] = {
    "unread": Ill(
        "Lines that cannot be read", "lines", 0.0,
        "Nobody learns from them, and a trainer that stops at them learns from nothing.",
        "Mend or delete the lines.",
    ),
    "leaks": Ill(
        "The same in training and in held-out splits", "leaks", 0.0,
        "A model that has seen the test looks better than it is.",
        "Split anew: an export keeps sessions, tasks, prompts and clusters of near copies on one side.",
        '[steps.near_duplicates]\nkeep = "all"\n\n[split]\nvalid = 0.1\ntest = 0.1\n',
    ),
    "markers": Ill(
        "Variation markers in prompts", "rows", 0.01,
        'A model learns "(request 12)" instead of the request, and one prompt looks like many.',
        "Take the markers out, then drop the copies that they hid.",
        "[rewrites.markers]\nweak = true\n\n[steps.markers]\n\n[steps.near_duplicates]\n",
    ),
    "preambles": Ill(
        "Announcements before a call", "turns with a call", 0.01,
        '"Let me check that for you." is learned first, and at times the call never follows.',
        "Take them out; what they were is kept in the manifest.",
        "[rewrites.wire]\n\n[rewrites.preambles]\n",
    ),
    "broken_calls": Ill(
        "Calls that cannot be read", "calls", 0.0,
        "Invalid JSON or half a call: what is learned is what the agent's parser refuses.",
        "Mend or delete these turns by hand; an export with --model leaves out a row whose <tool_call> "
        "cannot be read.",
    ),
    "written_calls": Ill(
        "Calls written as plain text", "calls", 0.0,
        "JSON in a code fence or after a label is no call to a model server: it is shown to the user.",
        "Make them calls of the trainee's format.",
        "[rewrites.wire]\n",
    ),
    "told_calls": Ill(
        "Talk about a call instead of a call", "turns", 0.005,
        "A model that is trained on text about tool calls tells what it would do and does nothing.",
        "Drop these rows, or record sessions in which the tools are really called.",
        "[steps.answers]\n",
    ),
    "formats": Ill(
        "Several wire formats in one data set", "calls", 0.02,
        "Each format is learned a little and none is learned well.",
        "Bring all calls into one format.",
        "[rewrites.wire]\n",
    ),
    "untrained": Ill(
        "Calls that a last-message loss mask would not train", "calls", 0.05,
        "A trainer that masks all but the last message (mlx_lm.lora --mask-prompt does) never learns them.",
        "Train with tracemill, whose loss falls on every assistant turn of weight 1.",
    ),
    "share": Ill(
        "Share of rows that call a tool", "rows", 0.0,
        "Above 90% a model calls a tool when it is told hello; where no row calls one it learns no call.",
        "Mix in direct answers or calls, as the share demands.",
        "[steps.balance]\nmax_calls = 0.8\nmax_direct = 0.6\n",
    ),
    "one_tool": Ill(
        "Nothing but one tool", "calls", 2.0,
        "A model cannot learn to choose where there is no choice.",
        "Record sessions that need other tools too; a cap alone only makes the data set smaller.",
    ),
    "unknown_tools": Ill(
        "Calls of tools that were not offered", "calls", 0.0,
        "A model learns to make tools up.",
        "Such a turn becomes context, or its row goes.",
        '[steps.calls]\nfailed_calls = "context"\n',
    ),
    "no_toolset": Ill(
        "Rows that call without saying what was offered", "rows", 0.5,
        "In training the model sees no tools where the server will show some.",
        "Give each row its tools, or record sessions, which keep what was offered.",
        "[steps.calls]\n",
    ),
    "misfits": Ill(
        "Arguments that do not fit the schema", "rows", 0.0,
        "The agent refuses such a call.",
        "Such a turn becomes context.",
        "[steps.schema]\n",
    ),
    "prompts": Ill(
        "Prompts that were there before", "rows", 0.05,
        "A prompt that stands in many rows weighs as much, and its answers may contradict each other.",
        "Keep one row of equal ones, and few of one template.",
        "[steps.duplicates]\n\n[steps.near_duplicates]\n\n[steps.families]\nmax_per_family = 3\n",
    ),
    "copies": Ill(
        "Exact copies of another row", "rows", 0.01,
        "The same is learned again, at the cost of everything else.",
        "Keep one of them.",
        "[steps.duplicates]\n",
    ),
    "near": Ill(
        "Near copies of another row", "rows", 0.05,
        "They add rows and no variety, and variety is what a small model needs.",
        "Keep the best of each cluster.",
        "[steps.near_duplicates]\n",
    ),
    "families": Ill(
        "Prompts of one template beyond ten", "rows", 0.1,
        "The template is learned instead of the task.",
        "Cap them; they are not all dropped.",
        "[steps.families]\nmax_per_family = 10\n",
    ),
    "shared": Ill(
        "Rows that stand in another data set too", "rows", 0.1,
        "Who trains on both learns them twice; who tests on one has trained on it.",
        "Leave out what an earlier data set holds.",
        '[steps.against]\ndatasets = ["EARLIER"]\n',
    ),
    "empty": Ill(
        "Empty or vacuous answers", "rows", 0.01,
        '"Done." and nothing at all are what a model says when it knows nothing.',
        "Such a turn becomes context.",
        "[steps.answers]\n",
    ),
    "promises": Ill(
        "Promises without a call", "rows", 0.01,
        '"I\'ll look into it." as the whole answer teaches to promise instead of to act.',
        "Such a turn becomes context.",
        "[steps.answers]\n",
    ),
    "echoes": Ill(
        "Answers that copy what stands above", "rows", 0.01,
        "The question again, or a tool's result word for word, is no answer.",
        "Such a turn becomes context.",
        "[steps.answers]\n\n[steps.copied]\n",
    ),
    "truncated": Ill(
        "Answers that are cut off", "rows", 0.005,
        "A model learns to stop in the middle.",
        "Such a turn becomes context.",
        "[steps.answers]\n",
    ),
    "python2": Ill(
        "Python 2 code", "rows", 0.005,
        "It does not run today.",
        "Such a turn becomes context.",
        "[steps.python2]\n",
    ),
    "secrets": Ill(
        "Secrets left over", "rows", 0.0,
        "What a model has learned it may tell anyone.",
        "Drop these rows, or import the sessions, which redacts them. No row with a secret is shown here.",
        "[steps.secrets]\n",
    ),
    "language": Ill(
        "Prompts that are not in English", "prompts", 0.2,
        "Fine where your people speak so; else they teach what nobody asks.",
        "Name the languages to keep.",
        '[steps.language]\nkeep = ["en"]\n',
    ),
    "systems": Ill(
        "Other system prompts than the common one", "rows", 0.5,
        "The agent will send one system prompt; what is learned under another carries over only in part.",
        "Give all rows the prompt that the agent sends, unless the variety is meant.",
    ),
}  # fmt: skip
WRITTEN = ("json", "json_fence", "labelled_json")
"""Wire formats that no model server reads as calls."""
