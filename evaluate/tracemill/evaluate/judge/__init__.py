"""Judging prose: which of two completions of an item is better, said by models or a person, blind.

In: two stored evaluations and the names of judges. Out: a `Judging` (`judging`). `pairs` are what is asked,
`asking` asks a model, `kept` keeps every answer on disk, `agreement` says how far judges agree.
"""
