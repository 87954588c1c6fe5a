"""PDFs that want something done or fetched when they are opened: by script, by action, by reference."""

from __future__ import annotations

from pathlib import Path

from tests.security.hostile_pdfs import CATALOG, pdf, stream

FONT = b"/Font<</H<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"
#: What a reader sees on each of these.
LINE = "Volcanoes build islands"


def page_with(
    *objects: bytes, catalog: bytes = b"", page: bytes = b"", resources: bytes = b"", drawing: bytes = b""
) -> bytes:
    """A page of one line of text; `objects` are numbered from 5."""
    content = stream(b"BT /H 28 Tf 60 50 Td (%s) Tj ET " % LINE.encode() + drawing)
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 120]/Contents 4 0 R/Resources<<%s%s>>%s>>"
    return pdf(
        CATALOG[:-2] + catalog + b">>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        leaf % (FONT, resources, page),
        content,
        *objects,
    )


def script(url: bytes, marker: Path) -> bytes:
    """JavaScript when it is opened, by name, and when the page is shown."""
    code = (
        b"app.launchURL('%s'); this.submitForm('%s'); SOAP.connect('%s'); this.getURL('%s'); "
        b"this.exportDataObject({cName: 'a', cDIPath: '%s', nLaunch: 2}); this.saveAs('%s');"
    ) % (url, url, url, url, *[str(marker).encode()] * 2)
    action = b"<</S/JavaScript/JS(%s)>>" % code.replace(b"(", b"\\(").replace(b")", b"\\)")
    return page_with(
        action,
        catalog=b"/OpenAction 5 0 R/AA<</WC 5 0 R>>/Names<</JavaScript<</Names[(a) 5 0 R]>>>>",
        page=b"/AA<</O 5 0 R/C 5 0 R>>",
    )


def actions(url: bytes, marker: Path) -> bytes:
    """Starting a program, and going to an address, when it is opened and when the page is shown."""
    touch = b"(/bin/touch) /D(%s)" % str(marker).encode()
    return page_with(
        b"<</S/Launch/F(/bin/touch)/Win<</F%s>>/Unix<</F%s>>/NewWindow true/Next 6 0 R>>" % (touch, touch),
        b"<</S/URI/URI(%s)/Next 7 0 R>>" % url,
        b"<</S/SubmitForm/F<</FS/URL/F(%s)>>/Next 8 0 R>>" % url,
        b"<</S/ImportData/F<</FS/URL/F(%s)>>/Next 9 0 R>>" % url,
        b"<</S/GoToR/F<</FS/URL/F(%s)>>/D[0/Fit]>>" % url,
        catalog=b"/OpenAction 5 0 R/URI<</Base(%s)>>" % url,
        page=b"/AA<</O 5 0 R>>/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 600 800]/A 5 0 R/PA 6 0 R>>]",
    )


def embedded_file(marker: Path) -> bytes:
    """A script to be unpacked and started."""
    program = stream(b"#!/bin/sh\ntouch %s\n" % str(marker).encode(), b"/Type/EmbeddedFile")
    name = str(marker).encode()
    return page_with(
        program,
        b"<</Type/Filespec/F(%s)/UF(%s)/EF<</F 5 0 R/UF 5 0 R>>>>" % (name, name),
        catalog=b"/Names<</EmbeddedFiles<</Names[(a) 6 0 R]>>>>/OpenAction<</S/Launch/F 6 0 R>>/AF[6 0 R]",
        page=b"/Annots[<</Type/Annot/Subtype/FileAttachment/Rect[0 0 9 9]/FS 6 0 R>>]",
    )


def remote_images(url: bytes) -> bytes:
    """Images, a form of another document, and the page's own content that lie at an address."""
    place = b"/F<</FS/URL/F(%s)>>" % url
    kind = b"/Type/XObject/Subtype/Image/Width 9/Height 9/ColorSpace/DeviceRGB/BitsPerComponent 8"
    return page_with(
        stream(b"", kind + place + b"/FFilter/DCTDecode"),
        stream(b"", kind + b"/Alternates[<</Image 5 0 R/DefaultForPrinting true>>]/OPI<</2.0<</Type/OPI%s>>>>" % place),
        stream(b"", b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Ref<<%s/Page 0>>" % place),
        resources=b"/XObject<</A 5 0 R/B 6 0 R/C 7 0 R>>",
        drawing=b"/A Do /B Do /C Do",
        page=b"/Annots[<</Type/Annot/Subtype/Movie/Rect[0 0 9 9]/Movie<<%s/Poster true>>/A true>>]" % place,
    )


def local_file(path: Path) -> bytes:
    """A form whose drawing is a file of the machine that opens it."""
    place = b"/F(%s)" % str(path).encode()
    return page_with(
        stream(b"", b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<<%s>>%s" % (FONT, place)),
        resources=b"/XObject<</A 5 0 R>>",
        drawing=b"/A Do",
    )


def xfa(url: bytes) -> bytes:
    """A form in XML with an image, a schema and a script at an address."""
    form = (
        b"<?xml version='1.0'?><!DOCTYPE xdp [<!ENTITY e SYSTEM '%s'>]><xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'>&e;"
        b"<template xmlns='http://www.xfa.org/schema/xfa-template/3.3/'><subform><draw><value><image href='%s'/></value></draw>"
        b"<event activity='initialize'><script contentType='application/x-javascript'>xfa.host.gotoURL('%s')</script></event>"
        b"</subform></template></xdp:xdp>"
    ) % (url, url, url)
    return page_with(stream(form), catalog=b"/AcroForm<</XFA 5 0 R/Fields[]/NeedAppearances true>>/NeedsRendering true")
