"""Events in the words of others: OCSF, Elastic Common Schema, CEF. One file a format; what they have in common is `facts`."""
