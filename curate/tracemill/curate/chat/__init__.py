"""The only place that formats a conversation.

`codec` turns tool calls into `<tool_call>` text and back, `template` holds the trainee's tokenizer and chat
template, `render` makes the token sequences with a loss span for every assistant turn, `proof` shows that
training, evaluation and serving see the same tokens.
"""
