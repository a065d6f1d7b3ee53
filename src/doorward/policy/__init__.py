"""Policy: who may do what, in Cedar.

policies   text -> PolicySet: parsed, checked against `schema.cedarschema`, named and hashed.
entities   the nouns as Cedar entities: ids and what lies in what.
decide     the questions: `decide` (an operation), `may` (anything else), `may_vote` (a vote); laws no policy lifts.
explain    the same answers with every reason, for people and as JSON.
starter    the policy that a new installation begins with.
"""
