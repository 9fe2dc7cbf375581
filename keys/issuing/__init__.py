"""What an issuer does: certificates, tickets, the books of what it gave. Others never load it."""

from keys.issuing.founding import first_chain, found, issuer_at, note_first
from keys.issuing.issued_book import Issued, IssuedBook
from keys.issuing.issuer import Issuer
from keys.issuing.making import issuer_name, make_issuer, make_peer, make_root
from keys.issuing.ticket_book import TicketBook, TicketNote, UsedMark

__all__ = [
    "Issued",
    "IssuedBook",
    "Issuer",
    "TicketBook",
    "TicketNote",
    "UsedMark",
    "first_chain",
    "found",
    "issuer_at",
    "issuer_name",
    "make_issuer",
    "make_peer",
    "make_root",
    "note_first",
]
