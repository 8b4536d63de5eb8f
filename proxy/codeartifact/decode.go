package codeartifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// arguments are the members of one request that were given: string, bool, int,
// []any, map[string]any (also for structures).
type arguments map[string]any

func (a arguments) has(member string) bool { _, ok := a[member]; return ok }

func (a arguments) text(member string) string { s, _ := a[member].(string); return s }

func (a arguments) flag(member string) bool { b, _ := a[member].(bool); return b }

func (a arguments) number(member string) int { n, _ := a[member].(int); return n }

func (a arguments) list(member string) []any { l, _ := a[member].([]any); return l }

func (a arguments) mapping(member string) map[string]any {
	m, _ := a[member].(map[string]any)
	return m
}

// pointer is a text that may be absent.
func (a arguments) pointer(member string) *string {
	if s, ok := a[member].(string); ok {
		return &s
	}
	return nil
}

// texts is a list of texts, each once, in the order given.
func (a arguments) texts(member string) []string {
	var out []string
	for _, v := range a.list(member) {
		if s, ok := v.(string); ok && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// textMap is a map of texts; nil when absent.
func (a arguments) textMap(member string) map[string]string {
	m := a.mapping(member)
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k], _ = v.(string)
	}
	return out
}

// decode reads and checks all members of a request.
func (op *operation) decode(r *http.Request) (arguments, error) {
	args := arguments{}
	query, err := op.parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body := map[string]json.RawMessage{}
	if op.hasBody() {
		if body, err = readObject(r.Body); err != nil {
			return nil, err
		}
	}
	for i := range op.fields {
		f := &op.fields[i]
		var v any
		var given bool
		switch {
		case f.query != "":
			s, ok := query[f.query]
			if given = ok; ok {
				v, err = args.shapeOf(f).ofText(s, f.member)
			}
		case f.header != "":
			s := r.Header.Get(f.header)
			if given = s != ""; given {
				v, err = f.shape.ofText(s, f.member)
			}
		default:
			raw, ok := body[f.member]
			if given = ok && !isNull(raw); given {
				v, err = f.shape.ofJSON(raw, f.member)
			}
		}
		switch {
		case err != nil:
			return nil, err
		case given:
			args[f.member] = v
		case f.required:
			return nil, missing(f.member)
		}
	}
	return args, nil
}

// shapeOf relaxes what a package is called for larder's own format: the name of
// a Go module is its whole path. The format stands before the package in every
// operation.
func (a arguments) shapeOf(f *field) *shape {
	if f.shape == packagePart && strings.HasPrefix(f.member, "package") && f.member != "packageVersion" && a.text("format") == "go" {
		return modulePath
	}
	return f.shape
}

// parseQuery reads the query's parameters that the operation knows. A plus is a
// plus: SDKs encode a space as %20. Others are passed over, as by AWS.
func (op *operation) parseQuery(raw string) (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range strings.Split(raw, "&") {
		k, v, _ := strings.Cut(pair, "=")
		name, err := url.PathUnescape(k)
		if err != nil || !op.hasQuery(name) {
			continue
		}
		value, err := url.PathUnescape(v)
		if err != nil {
			return nil, Invalid(ReasonCannotParse, "The query parameter '%s' is not correctly percent-encoded", name)
		}
		if _, twice := out[name]; twice {
			return nil, Invalid(ReasonCannotParse, "The query parameter '%s' stands twice", name)
		}
		out[name] = value
	}
	return out, nil
}

func (op *operation) hasQuery(name string) bool {
	return name != "" && slices.ContainsFunc(op.fields, func(f field) bool { return f.query == name })
}

func (op *operation) hasBody() bool {
	return slices.ContainsFunc(op.fields, func(f field) bool { return f.query == "" && f.header == "" })
}

// readObject reads a JSON object; an empty body is an empty one. No body of an
// operation nests deeper than four levels.
func readObject(body io.Reader) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	if body == nil {
		return out, nil
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big) || len(raw) > maxBody:
		return nil, tooLarge()
	case err != nil:
		return nil, Invalid(ReasonCannotParse, "The body of the request could not be read").because(err)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return out, nil
	}
	if !utf8.Valid(raw) {
		return nil, Invalid(ReasonCannotParse, "The body of the request is not valid UTF-8")
	}
	if err := json.Unmarshal(raw, &out); err != nil || out == nil {
		return nil, Invalid(ReasonCannotParse, "The body of the request is not a JSON object")
	}
	return out, nil
}

func (e *APIError) because(err error) *APIError { e.Err = err; return e }

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// ofText reads a query parameter or a header.
func (s *shape) ofText(v, at string) (any, error) {
	switch s.kind {
	case boolValue:
		switch v {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, unparsed(at, s.kind)
	case numberValue:
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, unparsed(at, s.kind)
		}
		return s.number(n, at)
	}
	if c := s.violates(v); c != "" {
		return nil, refused(at, v, c)
	}
	return v, nil
}

func (s *shape) number(n int, at string) (any, error) {
	if c := s.outside(n, "value"); c != "" {
		return nil, refused(at, strconv.Itoa(n), c)
	}
	return n, nil
}

// ofJSON reads a member of a body. Types are not converted.
func (s *shape) ofJSON(raw json.RawMessage, at string) (any, error) {
	switch s.kind {
	case textValue:
		var v *string
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return nil, unparsed(at, s.kind)
		}
		return s.ofText(*v, at)
	case boolValue:
		var v *bool
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return nil, unparsed(at, s.kind)
		}
		return *v, nil
	case numberValue:
		n, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
		if err != nil {
			return nil, unparsed(at, s.kind)
		}
		return s.number(n, at)
	case listValue:
		return s.listOf(raw, at)
	}
	return s.mapOf(raw, at)
}

func (s *shape) listOf(raw json.RawMessage, at string) (any, error) {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil || elements == nil {
		return nil, unparsed(at, s.kind)
	}
	if c := s.outside(len(elements), "length"); c != "" {
		return nil, refused(at, fmt.Sprintf("%d elements", len(elements)), c)
	}
	out := make([]any, 0, len(elements))
	for i, e := range elements {
		v, err := s.of.ofJSON(e, fmt.Sprintf("%s.%d.member", at, i+1))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// mapOf reads a map or a structure.
func (s *shape) mapOf(raw json.RawMessage, at string) (any, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, unparsed(at, s.kind)
	}
	out := map[string]any{}
	if s.kind == mapValue {
		if c := s.outside(len(members), "length"); c != "" {
			return nil, refused(at, fmt.Sprintf("%d entries", len(members)), c)
		}
		for k, e := range members {
			if c := s.key.violates(k); c != "" {
				return nil, refused(at, k, "Map keys must satisfy constraint: ["+c+"]")
			}
			v, err := s.of.ofJSON(e, at+"."+k+".member")
			if err != nil {
				return nil, err
			}
			out[k] = v
		}
		return out, nil
	}
	for _, f := range s.fields {
		e, ok := members[f.member]
		switch {
		case ok && !isNull(e):
			v, err := f.shape.ofJSON(e, at+"."+f.member)
			if err != nil {
				return nil, err
			}
			out[f.member] = v
		case f.required:
			return nil, missing(at + "." + f.member)
		}
	}
	return out, nil
}
