"""FW106."""

from collections import OrderedDict

from foreword.audit.case import Case, Sighting, sight_break
from foreword.audit.request import MEDIA, LoggedRequest
from foreword.audit.rules.base import Fixer, Rule

ALIASES_KEPT = 100_000


class MediaReEncoded(Rule):
    """An image or file that was sent before comes again with other bytes, at the same place of the same conversation.

    ## Why it costs

    Images and files are compared by their bytes (or by their address). A picture that is scaled or compressed anew for each
    turn, or fetched under a signed address that changes, is a new picture, and the conversation behind it is computed again.

    ## Example

        turn 1: data:image/jpeg;base64,/9j/4AAQSk...
        turn 2: data:image/jpeg;base64,/9j/2wBDAA...   the same photo, saved once more

    ## Fix

    Encode an image or file once, keep the bytes (or a file id), and send the same ones in every later turn.
    """

    code = "FW106"
    name = "media-re-encoded"

    def __init__(self) -> None:
        self._alias: OrderedDict[str, str] = OrderedDict()

    def examine(self, case: Case) -> Sighting | None:
        parted = case.parted
        if parted is None or parted.new_piece.kind not in MEDIA or parted.old_piece.kind != parted.new_piece.kind:
            return None
        if case.before is None or parted.index >= case.request.messages_from() + case.before.at:
            return None
        old, new = parted.old_piece.text, parted.new_piece.text
        self._alias[new] = self._alias.get(old, old)
        if len(self._alias) > ALIASES_KEPT:
            self._alias.popitem(last=False)
        return sight_break(case, parted)

    def fixer(self) -> Fixer:
        return self._as_first_sent

    def _as_first_sent(self, request: LoggedRequest) -> LoggedRequest:
        if not any(piece.kind in MEDIA and piece.text in self._alias for piece in request.pieces):
            return request
        return request.with_pieces(
            tuple(
                piece._replace(text=self._alias.get(piece.text, piece.text)) if piece.kind in MEDIA else piece
                for piece in request.pieces
            )
        )
