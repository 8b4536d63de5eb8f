package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind says what a policy document hangs on.
type Kind uint8

// The kinds. An identity document belongs to a principal and names none; a
// resource document must name whom it speaks about. The zero value is no kind.
const (
	IdentityDocument Kind = iota + 1
	DomainDocument
	RepositoryDocument
)

func (k Kind) String() string {
	switch k {
	case IdentityDocument:
		return "identity"
	case DomainDocument:
		return "domain"
	case RepositoryDocument:
		return "repository"
	}
	return "unknown kind"
}

// Sizes of documents, in characters. The first is CodeArtifact's own; an
// identity document is not its business, and IAM's largest quota rounds up to
// the second.
const (
	MaxResourceDocument = 7168
	MaxIdentityDocument = 20480
)

var (
	// ErrSyntax is in every error of a document that is no JSON at all.
	ErrSyntax = errors.New("policy document is not well formed")
	// ErrGrammar is in every error of a document that is JSON, but says
	// something that is not understood here and therefore not accepted.
	ErrGrammar = errors.New("policy document is not accepted")
)

// DocumentError says where a document fails and what is allowed there. Its text
// is fit for a ValidationException.
type DocumentError struct {
	Statement int    // from 1; 0 outside of statements
	Sid       string // of that statement, if it has one
	Member    string // such as "Condition.StringLike.aws:username"; "" for the whole
	Problem   string // what is wrong and what is allowed
	Syntax    bool   // ErrSyntax, otherwise ErrGrammar
}

func (e *DocumentError) Error() string {
	var b strings.Builder
	b.WriteString("policy document: ")
	if e.Statement > 0 {
		fmt.Fprintf(&b, "statement %d", e.Statement)
		if e.Sid != "" {
			fmt.Fprintf(&b, " (Sid %q)", clip(e.Sid))
		}
		b.WriteString(": ")
	}
	if e.Member != "" {
		b.WriteString(e.Member + ": ")
	}
	return b.String() + e.Problem
}

// Unwrap gives ErrSyntax or ErrGrammar.
func (e *DocumentError) Unwrap() error {
	if e.Syntax {
		return ErrSyntax
	}
	return ErrGrammar
}

// clip keeps an error's quotation of the document short.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// Document is a checked and compiled policy document, immutable and safe for
// concurrent use.
type Document struct {
	kind       Kind
	text       string
	id         string
	statements []statement
}

// Kind is the kind it was parsed as.
func (d *Document) Kind() Kind { return d.kind }

// Text is the document, byte for byte as it was given.
func (d *Document) Text() string { return d.text }

// ID is the document's Id member, which means nothing here.
func (d *Document) ID() string { return d.id }

// Len is the number of statements.
func (d *Document) Len() int { return len(d.statements) }

// Parse checks doc against the IAM subset (codeartifact.md section 6) and
// compiles it. It understands every member or refuses the document: a condition
// that is skipped would be a hole. Documents may have MaxIdentityDocument or
// MaxResourceDocument characters. Errors are *DocumentError.
func Parse(doc []byte, kind Kind) (*Document, error) {
	if kind == IdentityDocument {
		return ParseLimited(doc, kind, MaxIdentityDocument)
	}
	return ParseLimited(doc, kind, MaxResourceDocument)
}

// ParseLimited is Parse with a limit of the caller's choice, in characters.
func ParseLimited(doc []byte, kind Kind, limit int) (*Document, error) {
	if kind < IdentityDocument || kind > RepositoryDocument {
		return nil, &DocumentError{Problem: "kind must be identity, domain or repository"}
	}
	// Bytes first: counting characters is not for a document of megabytes.
	if len(doc) > limit*utf8.UTFMax || utf8.RuneCount(doc) > limit {
		return nil, &DocumentError{Problem: fmt.Sprintf("longer than %d characters, the most that is allowed for %s documents", limit, kind)}
	}
	tree, err := readTree(doc)
	if err != nil {
		return nil, &DocumentError{Problem: err.Error(), Syntax: true}
	}
	p := &parser{kind: kind}
	d := &Document{kind: kind, text: string(doc)}
	if err := p.document(&tree, d); err != nil {
		return nil, err
	}
	return d, nil
}

// parser holds where in the document it is, for its errors.
type parser struct {
	kind      Kind
	variables bool // the document's version has policy variables
	statement int
	sid       string
}

func (p *parser) fail(member, format string, args ...any) error {
	return &DocumentError{Statement: p.statement, Sid: p.sid, Member: member, Problem: fmt.Sprintf(format, args...)}
}

// object checks that v is an object of known members, none of them twice. Where
// known is nil any name will do.
func (p *parser) object(at string, v *value, known ...string) error {
	if v.kind != objectValue {
		return p.fail(at, "must be an object, not %s", v.kind)
	}
	seen := make(map[string]bool, len(v.members))
	for i := range v.members {
		name := v.members[i].name
		if seen[name] {
			return p.fail(join(at, name), "stands twice; a member may stand once")
		}
		seen[name] = true
		if known != nil && !slices.Contains(known, name) {
			return p.fail(join(at, name), "unknown member; allowed are %s", strings.Join(known, ", "))
		}
	}
	return nil
}

func join(at, name string) string {
	if at == "" {
		return clip(name)
	}
	return at + "." + clip(name)
}

// str checks that v is a string and not an empty one.
func (p *parser) str(at string, v *value) (string, error) {
	if v.kind != stringValue {
		return "", p.fail(at, "must be a string, not %s", v.kind)
	}
	if v.text == "" {
		return "", p.fail(at, "must not be empty")
	}
	return v.text, nil
}

// list is a string or an array of strings, at least one.
func (p *parser) list(at string, v *value) ([]string, error) {
	if v.kind != arrayValue {
		s, err := p.str(at, v)
		return []string{s}, err
	}
	if len(v.items) == 0 {
		return nil, p.fail(at, "an empty list; write at least one string")
	}
	out := make([]string, 0, len(v.items))
	for i := range v.items {
		s, err := p.str(at, &v.items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *parser) document(v *value, d *Document) error {
	if err := p.object("", v, "Version", "Id", "Statement"); err != nil {
		return err
	}
	// Without a version IAM takes the old one, which knows no variables.
	if ver := v.get("Version"); ver != nil {
		if ver.kind != stringValue || ver.text != "2012-10-17" && ver.text != "2008-10-17" {
			return p.fail("Version", `must be "2012-10-17" (or the old "2008-10-17")`)
		}
		p.variables = ver.text == "2012-10-17"
	}
	if id := v.get("Id"); id != nil {
		if id.kind != stringValue {
			return p.fail("Id", "must be a string, not %s", id.kind)
		}
		d.id = id.text
	}
	list := v.get("Statement")
	switch {
	case list == nil:
		return p.fail("Statement", "is missing; write a statement or a list of them")
	case list.kind == objectValue:
		list = &value{kind: arrayValue, items: []value{*list}}
	case list.kind != arrayValue:
		return p.fail("Statement", "must be a statement or a list of them, not %s", list.kind)
	case len(list.items) == 0:
		return p.fail("Statement", "an empty list; write at least one statement")
	}
	sids := map[string]int{}
	for i := range list.items {
		p.statement, p.sid = i+1, ""
		s, err := p.readStatement(&list.items[i])
		if err != nil {
			return err
		}
		if first, ok := sids[s.sid]; ok && s.sid != "" {
			return p.fail("Sid", "is also the Sid of statement %d; each must be unique in its document", first)
		}
		sids[s.sid] = i + 1
		d.statements = append(d.statements, s)
	}
	return nil
}
