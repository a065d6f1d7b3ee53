"""The pages: what people see of the gateway, and where they decide.

A page shows what the API answers to the same browser, and nothing else: it calls the API's own handlers. Everything that
changes something is a call of the API by the page's script, under the rules of `web.access`.

sign_in  signing in, again, and out
views    the pages themselves
render   templates, and text that others wrote
"""
