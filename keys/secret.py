"""What objects that hold a secret have in common: they are never serialised by accident.

Their `repr` shows `***` or leaves the secret out; who means to export one calls `export_secret` or
reads the field. Pickling would put the secret into caches, messages between processes and files.

What this module does not know: which secrets there are.
"""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex


class Unpicklable:
    """Cannot be pickled or copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds a secret (***) and is not pickled")

    def __getstate__(self) -> Any:
        self.__reduce_ex__(2)
