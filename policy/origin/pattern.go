package origin

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Form is one of the six legal forms of a group's pattern. A greater form is more
// specific.
type Form uint8

// The six forms, F for a format, NS for a namespace.
const (
	FormRoot            Form = iota // /*
	FormFormat                      // /F/*
	FormNamespacePrefix             // /F/NSPREFIX~
	FormNamespace                   // /F/NS/*
	FormNamePrefix                  // /F/NS/NAMEPREFIX~
	FormExact                       // /F/NS/NAME$
)

// Pattern is a parsed, normalised group pattern. Patterns are comparable with ==.
// The zero value is the root's.
type Pattern struct {
	form                    Form
	format, namespace, name string
}

// Form, Format, Namespace and Name return the parts; those that the form does not
// have are "". The name of a Go module is its whole path, slashes included.
func (p Pattern) Form() Form        { return p.form }
func (p Pattern) Format() string    { return p.format }
func (p Pattern) Namespace() string { return p.namespace }
func (p Pattern) Name() string      { return p.name }

// String returns the spelling that ParsePattern reads back to the same Pattern.
func (p Pattern) String() string {
	switch p.form {
	case FormFormat:
		return "/" + p.format + "/*"
	case FormNamespacePrefix:
		return "/" + p.format + "/" + p.namespace + "~"
	case FormNamespace:
		return "/" + p.format + "/" + p.namespace + "/*"
	case FormNamePrefix:
		return "/" + p.format + "/" + p.namespace + "/" + p.name + "~"
	case FormExact:
		return "/" + p.format + "/" + p.namespace + "/" + p.name + "$"
	}
	return Root
}

// Length is the number of characters of the pattern, the measure by which
// CodeArtifact calls one pattern more specific than another.
func (p Pattern) Length() int { return utf8.RuneCountInString(p.String()) }

// Formats lists the formats a pattern may name: CodeArtifact's, and "go".
func Formats() []string {
	return []string{"npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo", "go"}
}

// blankNamespace reports the formats whose packages never have a namespace.
func blankNamespace(format string) bool {
	switch format {
	case "pypi", "nuget", "ruby", "cargo", "go":
		return true
	}
	return false
}

// wantsNamespace reports the formats whose packages always have a namespace.
func wantsNamespace(format string) bool {
	return format == "maven" || format == "generic" || format == "swift"
}

const (
	minPattern, maxPattern = 2, 520 // characters
	maxComponent           = 255    // characters of a namespace or a name
)

// ParsePattern reads a group's pattern and normalises its namespace and name as
// the format does. Its errors are of kind ErrValidation.
func ParsePattern(s string) (Pattern, error) {
	if err := checkText(s); err != nil {
		return Pattern{}, err
	}
	if s == Root {
		return Pattern{}, nil
	}
	path, ok := strings.CutPrefix(s, "/")
	format, rest, cut := strings.Cut(path, "/")
	if !ok || !cut || rest == "" {
		return Pattern{}, notAForm(s)
	}
	if !slices.Contains(Formats(), format) {
		return Pattern{}, refuse(ErrValidation, "package group pattern %q names the format %q: want one of %s", s, format, strings.Join(Formats(), ", "))
	}
	p, err := split(s, format, rest)
	if err == nil {
		err = p.check(s)
	}
	if err != nil {
		return Pattern{}, err
	}
	p.namespace, p.name = normalize(p.format, p.namespace), normalize(p.format, p.name)
	return p, nil
}

func notAForm(s string) error {
	return refuse(ErrValidation, "package group pattern %q: want /*, /FORMAT/*, /FORMAT/NAMESPACEPREFIX~, /FORMAT/NAMESPACE/*, "+
		"/FORMAT/NAMESPACE/NAMEPREFIX~ or /FORMAT/NAMESPACE/NAME$", s)
}

// checkText holds the constraints that the API puts on the string as a whole.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return refuse(ErrValidation, "package group pattern %q is not valid UTF-8", s)
	}
	if n := utf8.RuneCountInString(s); n < minPattern || n > maxPattern {
		return refuse(ErrValidation, "package group pattern has %d characters: want %d to %d", n, minPattern, maxPattern)
	}
	for _, r := range s {
		switch {
		case unicode.Is(unicode.C, r) || unicode.IsSpace(r) || unicode.Is(unicode.Z, r) || ignorable(r):
			return refuse(ErrValidation, "package group pattern %q has a space, a control or an invisible character", s)
		case r == '#':
			return refuse(ErrValidation, "package group pattern %q has a '#', which no package name may have", s)
		}
	}
	return nil
}

// split takes what follows /FORMAT/ apart by its suffix.
func split(s, format, rest string) (Pattern, error) {
	p := Pattern{format: format}
	suffix, body := rest[len(rest)-1], rest[:len(rest)-1]
	namespace, name, named := strings.Cut(body, "/")
	p.namespace = namespace
	switch {
	case suffix == '*' && body == "":
		p.form = FormFormat
	case suffix == '*' && named && name == "":
		p.form = FormNamespace
	case suffix == '*':
		return Pattern{}, refuse(ErrValidation, "package group pattern %q: '*' stands only after the slash that follows a format or a namespace; use '~' for a prefix", s)
	case suffix == '~' && !named:
		p.form = FormNamespacePrefix
	case suffix == '~':
		p.form, p.name = FormNamePrefix, name
	case suffix == '$' && named && name != "":
		p.form, p.name = FormExact, name
	default:
		return Pattern{}, notAForm(s)
	}
	return p, nil
}

// check holds the rules for namespaces, names and suffixes; s is for messages.
func (p Pattern) check(s string) error {
	switch {
	case blankNamespace(p.format) && p.namespace != "":
		return refuse(ErrValidation, "package group pattern %q: packages of the format %s have no namespace: leave it blank, as in /%s//NAME$", s, p.format, p.format)
	case wantsNamespace(p.format) && p.namespace == "" && p.form >= FormNamespacePrefix:
		return refuse(ErrValidation, "package group pattern %q: packages of the format %s have a namespace: the pattern must give it", s, p.format)
	case p.form > FormNamespacePrefix && strings.HasSuffix(p.namespace, "~"), p.form > FormNamespacePrefix && strings.HasSuffix(p.namespace, "$"):
		return refuse(ErrValidation, "package group pattern %q: '~' and '$' stand only at the end of the pattern", s)
	case strings.Contains(p.namespace, "*"), strings.Contains(p.name, "*"):
		return refuse(ErrValidation, "package group pattern %q: '*' stands only at the end of the pattern", s)
	case p.format == "npm" && strings.HasPrefix(p.namespace, "@"):
		return refuse(ErrValidation, "package group pattern %q: write the npm scope without '@'", s)
	case p.format == "go" && badPath(p.name):
		return refuse(ErrValidation, "package group pattern %q: a module path neither starts nor ends with a slash nor has an empty element", s)
	case p.format != "go" && strings.Contains(p.name, "/"):
		return notAForm(s)
	case p.format != "go" && (utf8.RuneCountInString(p.namespace) > maxComponent || utf8.RuneCountInString(p.name) > maxComponent):
		return refuse(ErrValidation, "package group pattern %q: a namespace or a name has at most %d characters", s, maxComponent)
	case p.form == FormNamespacePrefix && !endsWord(p.namespace), p.form == FormNamePrefix && !endsWord(p.name):
		return refuse(ErrValidation, "package group pattern %q: '~' stands only after a letter or a digit", s)
	}
	return nil
}

func badPath(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//")
}
