"""What a model could do before and must not lose: the suite `guard`.

In: a loaded model. Out: shares of right answers without tools, of reasoning with checkable answers and of
functions that pass their checks, and how well it predicts plain text. `verdict` says what an adapter lost.
"""
