"""Vendors' forms of a conversation, each read into ``prompt.chat`` and written from it here and nowhere else.

openai, anthropic    messages, and the turns and items that are made of them
blocks, tools        what messages are made of: the vendors' words for these do not collide, and logs mix them
ttl                  the words in which they say how long a prefix is to be kept
"""
