"""The audit log: a chain of signed entries, their files, heads of others, and checking it all."""

from keys.auditing.entry import (
    AuditEntry,
    AuditNote,
    Checkpoint,
    decode_audit_entry,
    decode_checkpoint,
)
from keys.auditing.heads import HeadNews, HeadStore, HeldHead
from keys.auditing.lines import (
    audit_bytes_of,
    audit_fields,
    audit_header,
    audit_line,
    read_audit_header,
)
from keys.auditing.log import AuditLog, audit_files, read_audit, read_audit_file
from keys.auditing.verdict import AuditProblem, AuditVerdict, verify_log

__all__ = [
    "AuditEntry",
    "AuditLog",
    "AuditNote",
    "AuditProblem",
    "AuditVerdict",
    "Checkpoint",
    "HeadNews",
    "HeadStore",
    "HeldHead",
    "audit_bytes_of",
    "audit_fields",
    "audit_files",
    "audit_header",
    "audit_line",
    "decode_audit_entry",
    "decode_checkpoint",
    "read_audit",
    "read_audit_file",
    "read_audit_header",
    "verify_log",
]
