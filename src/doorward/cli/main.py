"""The `doorward` command: one group a file, errors as people need them, exit codes that scripts can use.

Exit codes: 0 done; 1 a check failed or the answer is no; 2 usage, or not decided yet (`verify`: incomplete, `approvals wait`:
still waiting); 3 configuration; 4 identity; 5 protocol; 6 something Doorward depends on; 130 interrupted.
docs/guides/cli.md says it to users.
"""

from __future__ import annotations

import cyclopts

from doorward import __version__
from doorward.cli.output import RefusedError, failed
from doorward.errors import DoorwardError, in_words

app = cyclopts.App(
    name="doorward",
    help="The door that every agent goes through: identity, policy, approval, masking and a record that anyone can verify.",
    version=__version__,
    # An empty default says nothing that the sentence before it does not say.
    default_parameter=cyclopts.Parameter(show_default=lambda value: value or None),
)
# By name, and so imported only when asked for: what one command needs must not slow another down.
for _name, _where, _help in (
    ("init", "init:init", "Write a first configuration."),
    ("serve", "serve:serve", "Run the gateway."),
    ("doctor", "doctor:doctor", "Try every part and say what to mend."),
    ("demo", "demo:demo", "Show what Doorward does, with a database and a gateway of its own."),
    ("token", "token:app", "Get an identity token, to be used where a password goes."),
    ("policy", "policy:app", "Check policies, and ask why a decision is what it is."),
    ("exchange", "exchange:exchange", "Exchange a token, once, for a gateway token of at most ten minutes."),
    ("agents", "agents:app", "Register agents, each with a living owner; list, show, disable and transfer them."),
    ("revoke", "revoke:revoke", "Let somebody in no longer: end their sessions, cancel what runs, void what is held."),
    ("revocations", "revoke:app", "List what is revoked, and lift it."),
    ("secrets", "secrets:app", "Keep secrets in the local encrypted vault."),
    ("approvals", "approvals:app", "See, answer and wait for requests that need a person."),
    ("request", "request:request", "Ask in advance for several statements to be approved; or break glass."),
    ("keys", "keys:app", "Register, list and revoke the keys that you approve with."),
    ("access", "access:app", "See who can reach what and what they used, and review it."),
    ("exports", "exports:exports", "See how far events have got that leave the gateway."),
    ("notify", "notify:app", "See how the channels do that tell people what waits, and test one."),
    ("sessions", "sessions:app", "List, show, replay and end sessions."),
    ("retention", "retention:app", "See what is kept until when, and delete what is due."),
    ("holds", "holds:app", "Keep recordings from being deleted while a case needs them; released by two people."),
    ("backup", "backup:backup_command", "Back everything up into one encrypted file, while the gateway runs."),
    ("restore", "backup:restore_command", "Restore a backup, check everything in it, and say why a gateway may go on from it."),
    ("verify", "verify:verify_record", "Check a record offline, with public keys only."),
    ("log", "log:app", "See how far the log is, have it stamped, and prove what is in it."),
    ("witness", "witness:app", "Run a witness, which cosigns a log as long as it only grows."),
    ("classify", "classify:classify", "Look into a target's tables, and propose labels."),
    ("reconcile", "reconcile:reconcile", "See who is connected to a target past the gateway."),
    ("masking", "masking:app", "Show that masking holds at a target, and keep the proof."),
    ("evidence", "evidence:app", "Make a pack of evidence for an auditor, or show one control."),
    ("scan", "scan:scan", "Look for planted values in everything that is kept."),
    ("login", "login:login", "Log in once, for all commands."),
    ("logout", "login:logout", "Forget a login."),
    ("connect", "connect:connect", "Open a local port that carries your identity to a target."),
    ("run", "connect:run", "Run a command with such ports, and no credential in its environment."),
    ("whoami", "whoami:whoami", "Say who the gateway takes you to be."),
    ("completion", "completion:completion", "Print a completion script for a shell."),
):
    app.command(f"doorward.cli.{_where}", name=_name, help=_help)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        command = " ".join(("doorward", *(error.command_chain or ())))
        failed(_usage(error, command), f"`{command} --help` says what there is")
        return 2
    except DoorwardError as error:
        failed(error.message, error.hint)
        return error.exit_code
    except RefusedError as error:
        failed(error.message, error.hint)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        failed(in_words(error), "look at the path, who owns it, and the disk")
        return 6
    return result if isinstance(result, int) else 0


def _usage(error: cyclopts.CycloptsError, command: str) -> str:
    """What is wrong with a command line, in the words that it was written in."""
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return f"{' '.join(error.unused_tokens or ())}: more than `{command}` takes"
    if isinstance(error, cyclopts.UnknownOptionError):
        return f"{error.token.keyword or error.token.value}: `{command}` has no such option"
    if isinstance(error, cyclopts.MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        return f"`{command}` needs {name}" if not error.tokens_so_far and not error.keyword else f"{name} needs a value"
    return str(error).strip()
