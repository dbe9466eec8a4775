"""The one error of the codecs."""


class WireError(ValueError):
    """Bytes that are not the message they were taken for, or a message that has no encoding."""


def need(body: bytes, size: int, what: str) -> None:
    """Raise `WireError` when `body` is shorter than `size`."""
    if len(body) < size:
        raise WireError(f"{what} of {len(body)} bytes, it takes at least {size}")
