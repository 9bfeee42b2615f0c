"""A conversation only grows: an edit makes a branch, fewer tools are a matter of the turn, compaction keeps the head."""

from foreword.prompt import Conversation

TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("fares", "departures")]

talk = Conversation.start("You work at the desk of a railway station.", TOOLS)
talk = talk.ask("To Bern?").add({"role": "assistant", "content": "At ten past."})
talk = talk.ask("And the fare?", allowed_tools=["fares"]).add({"role": "assistant", "content": "12 francs."})

edited = talk.branch(1).ask("To Basel?")
shorter = talk.compact("The customer goes to Bern for 12 francs.", head=1, tail=0).ask("First class?")
print("messages shared with the edited one:", edited.shared_with(talk))
print("after compaction:", [message["role"] for message in shorter.messages], "of which shared:", shorter.shared_with(talk))
