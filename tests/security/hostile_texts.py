"""Course ids and names that somebody might try, and which of them may be kept as the plain text that they are."""

from __future__ import annotations

#: No course, and no name, may be one of these; after each the field's rule that it breaks.
UNFIT = {
    "blank": " ",
    "ten kilobytes": "c" * 10_240,
    "NUL": "a\0b",
    "line break": "a\r\nSet-Cookie: materials_session=x",
    "escape sequence": "a\x1b[31mb",
    "C1 control": "a\x9bb",
    "bidi override": "a\u202etxt.exe",
    "bidi isolate": "a\u2066b",
    "line separator": "a\u2028b",
    "invisible": "\u200b\u2060",
    "private use": "a\ue000b",
    "unassigned": "a\U000e0fffb",
}
#: Nor may a course; a name may, for it is never a path.
UNFIT_FOR_COURSES = {
    "path up": "../../etc/passwd",
    "Windows path": "..\\..\\windows",
    "space": "a b",
    "closing tag": "</script>",
}
#: Text, whatever else it looks like: each must come back as it was, and do nothing.
KEPT = {
    "HTML": "<img/src=x/onerror=alert(1)>",
    "script": "<script>alert(1)</script>",
    "attribute": "\"onmouseover='alert(1)'",
    "template": "{{7*7}}${7*7}<%=7*7%>",
    "SQL": "a'; DROP TABLE materials; --",
    "shell": "$(id)`id`|id",
    "path up": "../../etc/passwd",
    "Windows path": "C:\\windows\\win.ini",
    "percent": "%2e%2e%2f%00%0d%0a",
    "format": "%s%n{0}{__class__}",
    "log line": "x level=critical event=hacked",
    "header": "x; filename=evil.exe",
    "formula": "=cmd|' /C calc'!A0",
    "other scripts": "Ʉnïcødé 世界 🙂",
}
KEPT_AS_COURSES = {
    what: text for what, text in KEPT.items() if not set(text) & set(" /\\")
} | {"dots": "..", "one dot": ".", "tag": "<b>", "query": "a?b=c&d#e", "wildcard": "*"}  # fmt: skip
