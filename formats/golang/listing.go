package golang

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"larder/formats"
)

// maxLine bounds one line of @v/list in bytes; a version is at most 255.
const maxLine = 4 << 10

// Parse reads @v/list, or the single version of @latest.
func (f *Format) Parse(t formats.Target, src formats.Source, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	if t.Doc == docLatest {
		return parseLatest(t, r, emit)
	}
	return parseList(t, r, emit)
}

// parseList reads one version a line. A second column, where a proxy sends it,
// is the time of the version's commit (RFC 3339). Pseudo-versions do not belong
// in a list, but some proxies without @latest send them, and go finds the latest
// among them (cmd/go/internal/modfetch/proxy.go, latestFromList). Any text that
// is no version means that this is not a list.
func parseList(t formats.Target, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	br := bufio.NewReaderSize(r, maxLine)
	seen := make(map[string]bool)
	for number := 1; ; number++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("read list of %s: line %d is longer than %d bytes", t.Name.Canon, number, maxLine)
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read list of %s: %w", t.Name.Canon, err)
		}
		if v, lineErr := parseListLine(line); lineErr != nil {
			return nil, fmt.Errorf("read list of %s: line %d: %w", t.Name.Canon, number, lineErr)
		} else if v != nil && !seen[v.V] {
			seen[v.V] = true
			if err := emit(v); err != nil {
				return nil, err
			}
		}
		if err == io.EOF {
			return &formats.Head{}, nil
		}
	}
}

// parseListLine returns nil for a blank line.
func parseListLine(line []byte) (*formats.Version, error) {
	line = bytes.TrimSpace(line)
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return nil, nil
	}
	version := fields[0]
	if !semver.IsValid(version) || len(version) > maxVersion {
		return nil, fmt.Errorf("%.40q is not a version", version)
	}
	v := &formats.Version{V: version, Raw: bytes.Clone(line)}
	if len(fields) > 1 {
		if at, err := time.Parse(time.RFC3339, fields[1]); err == nil {
			v.Published, v.From = at, formats.TimeAuthor
		}
	}
	return v, nil
}

// Render writes @v/list or @latest.
func (f *Format) Render(w io.Writer, v *formats.View, t formats.Target) (http.Header, error) {
	if t.Doc == docLatest {
		return renderLatest(w, v)
	}
	return renderList(w, v)
}

// renderList writes the listed versions, raw line by raw line, and pseudo-versions
// only where upstream listed them. An empty list is a good answer: go then asks
// for @latest.
func renderList(w io.Writer, v *formats.View) (http.Header, error) {
	bw := bufio.NewWriter(w)
	listed := 0
	for _, version := range v.Versions {
		if version.Flags&formats.Unlisted != 0 || !semver.IsValid(version.V) || module.IsPseudoVersion(version.V) && len(version.Raw) == 0 {
			continue
		}
		listed++
		if len(version.Raw) > 0 {
			bw.Write(version.Raw)
		} else {
			bw.WriteString(version.V)
		}
		bw.WriteByte('\n')
	}
	if len(v.Versions) == 0 && len(v.Hidden) > 0 {
		return nil, formats.Refuse(formats.Blocked, "every version of %s is blocked here: %s", v.Name.Show(), v.Hidden[0].Reason)
	}
	if len(v.Versions) == 0 && v.Offline && v.Missing > 0 {
		return nil, formats.Refuse(formats.NotHeld, "no version of %s is held here, and this node is offline", v.Name.Show())
	}
	if err := bw.Flush(); err != nil {
		return nil, fmt.Errorf("write list: %w", err)
	}
	return http.Header{"Content-Type": {typeText}}, nil
}
