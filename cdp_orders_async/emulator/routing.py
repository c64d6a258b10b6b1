"""Find the target of a path, segment by segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import attrs

__all__ = ["Node"]

T = TypeVar("T")

ANY = "/"
"""The key of the open segment: no segment of a path is like it."""


@attrs.define
class Node(Generic[T]):
    """A node in the tree of paths: its targets, by method, and its children, by segment."""

    here: dict[str, T] = attrs.field(factory=dict[str, T])
    following: dict[str, Node[T]] = attrs.field(factory=dict[str, "Node[T]"])

    def add(self, method: str, path: str, target: T) -> None:
        """Put *target* at *path*; a segment in braces stands for any text."""
        node = self
        for segment in path.split("/")[1:]:
            node = node.following.setdefault(ANY if segment.startswith("{") else segment, Node[T]())
        node.here[method] = target

    def find(self, path: str) -> tuple[Mapping[str, T], list[str]]:
        """Return the targets of *path*, by method (empty for an unknown path), and the texts of the open segments."""
        node = self
        open_segments: list[str] = []
        for segment in path.split("/")[1:]:
            after = node.following.get(segment)
            if after is None:
                after = node.following.get(ANY) if segment else None
                open_segments.append(segment)
            if after is None:
                return {}, []
            node = after
        return node.here, open_segments
