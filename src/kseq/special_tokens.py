"""The four special tokens, whose ids are the same in every vocabulary."""

PAD = 0
UNK = 1
START = 2
END = 3

PAD_TOKEN = "<pad>"
UNK_TOKEN = "<unk>"
START_TOKEN = "<s>"
END_TOKEN = "</s>"

#: The special tokens in the order of their ids; ordinary tokens follow.
SPECIAL_TOKENS = (PAD_TOKEN, UNK_TOKEN, START_TOKEN, END_TOKEN)
