package pypi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxToken bounds one tag or text of an HTML page, in bytes.
const maxToken = 1 << 20

// htmlPage collects what a project page in HTML says (PEP 503).
type htmlPage struct {
	base    *url.URL
	based   bool
	version string // PEP 629
	status  string // PEP 792
	reason  string
	heading strings.Builder
	inHead  bool // inside title or h1
	canon   string
	files   [][]byte
	ours    bool // a file's name begins with the project's
}

// readHTML turns an HTML project page into the shape of a JSON one. A page must
// show that it is one: by its version, by its heading, or by a file of the
// project; an error page with status 200 shows none of them.
func readHTML(body []byte, base *url.URL, canon string) (*page, error) {
	h := &htmlPage{base: base, canon: canon}
	z := html.NewTokenizer(bytes.NewReader(body))
	z.SetMaxBuf(maxToken)
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("%w: %w", errNotPage, err)
			}
			return h.page()
		case html.StartTagToken, html.SelfClosingTagToken:
			if err := h.tag(z.Token()); err != nil {
				return nil, err
			}
		case html.EndTagToken:
			if tok := z.Token(); tok.DataAtom == atom.Title || tok.DataAtom == atom.H1 {
				h.inHead = false
			}
		case html.TextToken:
			if h.inHead && h.heading.Len() < 4*maxName {
				h.heading.WriteString(z.Token().Data)
			}
		}
	}
}

func (h *htmlPage) tag(tok html.Token) error {
	switch tok.DataAtom {
	case atom.Base:
		// Only the first counts.
		if href, ok := attribute(tok, "href"); ok && !h.based {
			u, err := url.Parse(href)
			if err != nil {
				return fmt.Errorf("base of page: %w", err)
			}
			h.base, h.based = h.base.ResolveReference(u), true
		}
	case atom.Meta:
		name, _ := attribute(tok, "name")
		content, _ := attribute(tok, "content")
		switch strings.ToLower(name) {
		case "pypi:repository-version":
			h.version = content
		case "pypi:project-status":
			h.status = content
		case "pypi:project-status-reason":
			h.reason = content
		}
	case atom.Title, atom.H1:
		if h.heading.Len() == 0 {
			h.inHead = true
		}
	case atom.A:
		return h.anchor(tok)
	}
	return nil
}

func attribute(tok html.Token, key string) (string, bool) {
	for _, a := range tok.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

// anchor reads a link to a distribution file; other links of the page (parent
// directory, home page, a signature beside its file) are not files.
func (h *htmlPage) anchor(tok html.Token) error {
	href, ok := attribute(tok, "href")
	if !ok {
		return nil
	}
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return nil // a link that is no URL is no file
	}
	full := h.base.ResolveReference(u)
	name := path.Base(full.Path)
	if extension(name) == "" || !cleanSegment(name) || full.Scheme != "http" && full.Scheme != "https" {
		return nil
	}
	h.ours = h.ours || startsWithName(name, h.canon)
	b := bytes.NewBuffer([]byte("{"))
	add := func(key string, raw []byte) { writeMember(b, quote(key), raw) }
	add(keyFilename, quote(name))
	fragment := full.Fragment
	full.Fragment, full.RawFragment = "", ""
	add(keyURL, quote(full.String()))
	add(keyHashes, fragmentHashes(fragment))
	seen := make(map[string]bool)
	for _, a := range tok.Attr {
		// A repeated attribute: the first counts, as in HTML.
		if !seen[a.Key] {
			seen[a.Key] = true
			addAttribute(a, tok, add)
		}
	}
	b.WriteByte('}')
	h.files = append(h.files, b.Bytes())
	return nil
}

// addAttribute turns one data attribute into its JSON member.
func addAttribute(a html.Attribute, tok html.Token, add func(string, []byte)) {
	switch a.Key {
	case "data-requires-python":
		if a.Val != "" {
			add(keyRequires, quote(a.Val))
		}
	case "data-yanked":
		if a.Val == "" {
			add(keyYanked, []byte("true"))
		} else {
			add(keyYanked, quote(a.Val))
		}
	case "data-core-metadata":
		add(keyMetadata, metadataAttribute(a.Val))
	case "data-dist-info-metadata":
		if _, newer := attribute(tok, "data-core-metadata"); !newer {
			add(keyMetadata, metadataAttribute(a.Val))
		}
	case "data-gpg-sig":
		if a.Val == "true" || a.Val == "false" {
			add(keySignature, []byte(a.Val))
		}
	case "data-provenance":
		if a.Val != "" {
			add(keyProvenance, quote(a.Val))
		}
	case "data-upload-time":
		if a.Val != "" {
			add(keyUploadTime, quote(a.Val))
		}
	case "data-size":
		if allDigits(a.Val) && len(a.Val) < 16 {
			add(keySize, []byte(trimZeros(a.Val)))
		}
	default:
		// Unknown attributes go along under a private member (PEP 691: names
		// that begin with "_" are the index's own).
		if strings.HasPrefix(a.Key, "data-") {
			add("_"+a.Key, quote(a.Val))
		}
	}
}

// metadataAttribute turns "true" or "sha256=HEX" into the JSON form. Anything
// else says that metadata is there but not how to check it.
func metadataAttribute(val string) []byte {
	if alg, hexText, ok := strings.Cut(val, "="); ok && alg != "" && hexText != "" {
		return append(append(append([]byte("{"), quote(alg)...), ':'), append(quote(hexText), '}')...)
	}
	if val == "false" {
		return []byte("false")
	}
	return []byte("true")
}

// fragmentHashes reads "sha256=HEX", also among other "&" parts.
func fragmentHashes(fragment string) []byte {
	b := bytes.NewBuffer([]byte("{"))
	for part := range strings.SplitSeq(fragment, "&") {
		alg, hexText, ok := strings.Cut(part, "=")
		switch alg {
		case "md5", "sha1", "sha224", "sha256", "sha384", "sha512":
			if ok && b.Len() == 1 {
				writeMember(b, quote(alg), quote(hexText))
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

func (h *htmlPage) page() (*page, error) {
	heading := strings.TrimSpace(h.heading.String())
	name := ""
	if rest, ok := cutPrefixFold(heading, "links for "); ok && validName(strings.TrimSpace(rest)) {
		name = strings.TrimSpace(rest)
	}
	if h.version == "" && name == "" && !h.ours {
		return nil, errNotPage
	}
	if name == "" && len(h.files) > 0 && !h.ours {
		return nil, fmt.Errorf("%w: its files are not of %s", errNotPage, h.canon)
	}
	if major, _, _ := strings.Cut(h.version, "."); h.version != "" && major != "1" {
		return nil, fmt.Errorf("repository version %q is not known", clip(h.version))
	}
	b := bytes.NewBuffer([]byte("{"))
	writeMember(b, quote("meta"), []byte(`{"api-version":"1.0"}`))
	writeMember(b, quote("name"), quote(h.canon))
	if h.status != "" {
		s := bytes.NewBuffer([]byte("{"))
		writeMember(s, quote("status"), quote(h.status))
		if h.reason != "" {
			writeMember(s, quote("reason"), quote(h.reason))
		}
		s.WriteByte('}')
		writeMember(b, quote("project-status"), s.Bytes())
	}
	b.WriteByte('}')
	return &page{head: b.Bytes(), name: name, files: h.files, base: h.base}, nil
}

// startsWithName reports whether a file name begins with the project's name in
// any spelling, followed by a separator.
func startsWithName(file, canon string) bool {
	for i := range len(file) {
		if separator(file[i]) && normalizeName(file[:i]) == canon {
			return true
		}
	}
	return false
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
