"""Preference pairs: an answer that was better than another one in the same place, for training such as DPO.

In: the rows of a data set, and the conversations of bad outcome that its recipe leaves out. Out: rows of
`prompt`, `chosen` and `rejected` messages, in the splits of the rows that they come from.
"""
