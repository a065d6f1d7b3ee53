"""An Operation goes in; a Permit or a Refusal comes out, and a Permit only once its record is durable.

guard       open, admit, settle, close
approvals   holds: ask, vote, spend once
recorder    the write-ahead log, recordings and what they promise
sequencer   durable events into the signed tree
ports       what all of this needs from clocks, files and stores
"""
