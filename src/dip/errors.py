"""What a run can end with besides a result: a mistake of the user, or a signal."""

import signal


class UserError(ValueError):
    """Bad input or a machine's limit. Its text is one line with the value, the rule and the key to turn."""


class Interrupted(KeyboardInterrupt):
    """The signal `received` has ended a run, whose results are saved; `message` says how it resumes."""

    def __init__(self, received: signal.Signals, message: str):
        super().__init__(received, message)  # both, so that it can be pickled
        self.received = received
        self.message = message

    def __str__(self) -> str:
        return self.message
