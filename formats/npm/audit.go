package npm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"larder/formats"
)

// maxAudit bounds an audit request in bytes, unpacked.
const maxAudit = 64 << 20

// Redact takes names that must not leave the site out of an audit request: the
// keys of a bulk request, and of a lockfile's "requires" and "dependencies" in
// the older ones, with the name of the project itself. A request that cannot be
// read is refused rather than passed on. The result is not packed.
func (f *Format) Redact(t formats.Target, h http.Header, body []byte, private func(formats.Name) (bool, error)) ([]byte, error) {
	if t.Kind != formats.KindPass || len(body) == 0 {
		return body, nil
	}
	switch h.Get("Content-Encoding") {
	case "":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(z, maxAudit+1))
		}
		if err != nil || len(body) > maxAudit {
			return nil, formats.Refuse(formats.BadRequest, "the audit request cannot be unpacked").Because(err)
		}
		h.Del("Content-Encoding")
	default:
		return nil, formats.Refuse(formats.BadRequest, "an audit request is sent as it is or packed with gzip")
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, formats.Refuse(formats.BadRequest, "the audit request is no JSON object").Because(err)
	}
	r := redaction{private}
	if t.Doc == bulkPath {
		return encodeRedacted(doc, r.keys(doc))
	}
	return encodeRedacted(doc, r.tree(doc, 0))
}

func encodeRedacted(doc map[string]json.RawMessage, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode audit request: %w", err)
	}
	return out, nil
}

// redaction takes private names out of objects whose keys are names.
type redaction struct {
	private func(formats.Name) (bool, error)
}

func (r redaction) keys(doc map[string]json.RawMessage) error {
	for key := range doc {
		hide, err := r.hides(key)
		if err != nil {
			return err
		}
		if hide {
			delete(doc, key)
		}
	}
	return nil
}

// hides reports whether a name must stay. What is no package name is no name
// that an upstream could know.
func (r redaction) hides(name string) (bool, error) {
	n, ok := parseName(name)
	if !ok {
		return true, nil
	}
	return r.private(n)
}

// maxAuditDepth bounds how deep dependencies may lie in each other.
const maxAuditDepth = 200

// tree goes through a lockfile's dependencies.
func (r redaction) tree(node map[string]json.RawMessage, depth int) error {
	if depth > maxAuditDepth {
		return formats.Refuse(formats.BadRequest, "the audit request is nested too deep")
	}
	if depth == 0 {
		delete(node, "name") // of the project; no registry needs it
	}
	for _, member := range []string{"requires", "dependencies"} {
		var inner map[string]json.RawMessage
		if raw, ok := node[member]; !ok || json.Unmarshal(raw, &inner) != nil {
			if ok && !bytes.Equal(bytes.TrimSpace(node[member]), []byte("true")) {
				delete(node, member) // nothing that cannot be read leaves
			}
			continue
		}
		if err := r.keys(inner); err != nil {
			return err
		}
		for key, raw := range inner {
			var next map[string]json.RawMessage
			if json.Unmarshal(raw, &next) != nil {
				continue // "requires" has ranges
			}
			if err := r.tree(next, depth+1); err != nil {
				return err
			}
			kept, err := json.Marshal(next)
			if err != nil {
				return fmt.Errorf("encode audit request: %w", err)
			}
			inner[key] = kept
		}
		kept, err := json.Marshal(inner)
		if err != nil {
			return fmt.Errorf("encode audit request: %w", err)
		}
		node[member] = kept
	}
	return nil
}
