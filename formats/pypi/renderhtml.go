package pypi

import (
	"bytes"
	"html"
	"strconv"
	"strings"

	"larder/formats"
)

// writeHTML writes the page as PEP 503 has it, with the attributes that later
// specifications added. It says what the JSON page says.
func (d *document) writeHTML(b *bytes.Buffer) {
	name := html.EscapeString(d.view.Name.Canon)
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	b.WriteString("<meta name=\"pypi:repository-version\" content=\"" + d.apiVersion() + "\">\n")
	if d.status.Status != "" {
		b.WriteString("<meta name=\"pypi:project-status\" content=\"" + html.EscapeString(d.status.Status) + "\">\n")
		if d.status.Reason != "" {
			b.WriteString("<meta name=\"pypi:project-status-reason\" content=\"" + html.EscapeString(d.status.Reason) + "\">\n")
		}
	}
	b.WriteString("<title>Links for " + name + "</title>\n</head>\n<body>\n<h1>Links for " + name + "</h1>\n")
	for i := range d.entries {
		d.writeAnchor(b, &d.entries[i])
	}
	b.WriteString("</body>\n</html>\n")
}

func (d *document) writeAnchor(b *bytes.Buffer, e *entry) {
	f := e.file
	attr := func(key, val string) { b.WriteString(" " + key + "=\"" + html.EscapeString(val) + "\"") }
	href := e.link()
	if alg, hexText := strongest(e.hashes()); alg != "" {
		href += "#" + alg + "=" + hexText
	}
	b.WriteString("<a")
	attr("href", href)
	if f.requiresPython != "" {
		attr("data-requires-python", f.requiresPython)
	}
	if f.yanked {
		attr("data-yanked", f.yankedReason)
	}
	if hashes, ok := e.metadata(); ok {
		val := "true"
		if alg, hexText := strongest(hashes); alg != "" {
			val = alg + "=" + hexText
		}
		// The older name is for pip 22.3 to 23.0, which read it rightly in HTML.
		attr("data-core-metadata", val)
		attr("data-dist-info-metadata", val)
	}
	if f.signatureSaid && (!f.signature || e.companion(signatureSuffix)) {
		attr("data-gpg-sig", strconv.FormatBool(f.signature))
	}
	if url, ok := d.provenance(e); ok {
		attr("data-provenance", url)
	}
	if f.uploadTime != "" {
		attr("data-upload-time", f.uploadTime)
	}
	if n := e.size(); n >= 0 {
		attr("data-size", strconv.FormatInt(n, 10))
	}
	for _, m := range f.members {
		key, ok := strings.CutPrefix(m.key, "_data-")
		if val, err := stringValue(m.raw); ok && err == nil && attributeName(key) && !holdsURL(m.raw) {
			attr("data-"+key, val)
		}
	}
	b.WriteString(">" + html.EscapeString(e.asset.File) + "</a><br>\n")
}

// strongest picks the one digest that HTML has room for.
func strongest(hashes map[string]string) (alg, hexText string) {
	for _, a := range [...]formats.Alg{formats.SHA256, formats.SHA512, formats.SHA384, "sha224", formats.SHA1, formats.MD5} {
		if h := hashes[string(a)]; h != "" && alnumOnly(h) {
			return string(a), h
		}
	}
	return "", ""
}

func attributeName(s string) bool {
	return s != "" && alnumOnly(strings.ReplaceAll(s, "-", ""))
}

func alnumOnly(s string) bool {
	for i := range len(s) {
		if !alnum(s[i]) {
			return false
		}
	}
	return true
}
