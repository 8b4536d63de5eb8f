package golang

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"larder/formats"
)

// maxInfo bounds an .info or @latest document in bytes.
const maxInfo = 1 << 20

// info is the part of version information that larder acts on. The document has
// more (Origin) and is kept as it came.
type info struct {
	Version string
	Time    time.Time
}

// parseInfo reads version information (go.dev/ref/mod, "$base/$module/@v/$version.info").
func parseInfo(raw []byte) (info, error) {
	var in struct {
		Version string
		Time    *time.Time
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return info{}, fmt.Errorf("parse version information: %w", err)
	}
	if in.Version == "" {
		return info{}, fmt.Errorf("parse version information: no Version")
	}
	out := info{Version: in.Version}
	if in.Time != nil {
		out.Time = *in.Time
	}
	return out, nil
}

// readInfo reads at most maxInfo bytes.
func readInfo(r io.Reader) ([]byte, info, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxInfo+1))
	if err != nil {
		return nil, info{}, fmt.Errorf("read version information: %w", err)
	}
	if len(raw) > maxInfo {
		return nil, info{}, fmt.Errorf("read version information: more than %d bytes", maxInfo)
	}
	in, err := parseInfo(raw)
	return raw, in, err
}

// parseLatest turns the answer to @latest into the one row of that listing.
func parseLatest(t formats.Target, r io.Reader, emit func(*formats.Version) error) (*formats.Head, error) {
	raw, in, err := readInfo(r)
	if err != nil {
		return nil, fmt.Errorf("latest of %s: %w", t.Name.Canon, err)
	}
	if !immutable(t.Name.Canon, in.Version) {
		return nil, fmt.Errorf("latest of %s: %q is not a version of it", t.Name.Canon, in.Version)
	}
	v := &formats.Version{V: in.Version, Flags: formats.Unlisted, Raw: raw}
	if !in.Time.IsZero() {
		v.Published, v.From = in.Time, formats.TimeAuthor
	}
	if err := emit(v); err != nil {
		return nil, err
	}
	return &formats.Head{Modified: v.Published}, nil
}

// renderLatest writes the version information of the newest version in the
// view. Online that is the row that the proxy outside named; offline, or where
// policy hides that one, it is chosen among what is held, as go itself would
// choose. Without a candidate the answer is 404, on which go looks at the list.
func renderLatest(w io.Writer, v *formats.View) (http.Header, error) {
	var best *formats.Version
	for _, candidate := range v.Versions {
		if !immutable(v.Name.Canon, candidate.V) {
			continue
		}
		if best == nil || newer(candidate, best) {
			best = candidate
		}
	}
	if best == nil {
		return nil, noLatest(v)
	}
	if _, err := w.Write(latestInfo(best)); err != nil {
		return nil, fmt.Errorf("write version information: %w", err)
	}
	return http.Header{"Content-Type": {typeJSON}}, nil
}

// noLatest words why no version can be named.
func noLatest(v *formats.View) *formats.Refusal {
	switch {
	case len(v.Hidden) > 0:
		// Not 403: that would keep go from choosing an older version by itself.
		return formats.Refuse(formats.NotFound, "the latest version of %s is blocked here: %s", v.Name.Show(), v.Hidden[0].Reason)
	case v.Offline:
		return formats.Refuse(formats.NotHeld, "no version of %s is held here, and this node is offline", v.Name.Show())
	}
	return formats.Refuse(formats.NotFound, "%s has no latest version", v.Name.Show())
}

// newer orders candidates for @latest: releases before prereleases before
// pseudo-versions, versions with a go.mod before +incompatible ones, then by
// semantic version, which orders pseudo-versions of one base by their time.
func newer(a, b *formats.Version) bool {
	if ra, rb := latestRank(a.V), latestRank(b.V); ra != rb {
		return ra > rb
	}
	if module.IsPseudoVersion(a.V) {
		ta, _ := module.PseudoVersionTime(a.V)
		tb, _ := module.PseudoVersionTime(b.V)
		if !ta.Equal(tb) {
			return ta.After(tb)
		}
	}
	return semver.Compare(a.V, b.V) > 0
}

func latestRank(version string) int {
	rank := 0
	switch {
	case module.IsPseudoVersion(version):
	case semver.Prerelease(version) != "":
		rank = 2
	default:
		rank = 4
	}
	if !strings.HasSuffix(version, "+incompatible") {
		rank++
	}
	return rank
}

// latestInfo is the document for a version: the proxy's own where one was seen,
// in the row or in the held .info, else the version alone.
func latestInfo(v *formats.Version) []byte {
	if bytes.HasPrefix(bytes.TrimSpace(v.Raw), []byte("{")) {
		return v.Raw
	}
	if held, ok := v.Held[v.V+".info"]; ok && len(held.Aux) > 0 {
		return held.Aux
	}
	out := struct {
		Version string
		Time    *time.Time `json:",omitempty"`
	}{Version: v.V}
	if at, err := module.PseudoVersionTime(v.V); err == nil {
		out.Time = &at
	} else if !v.Published.IsZero() {
		at := v.Published.UTC()
		out.Time = &at
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil // a string and a time always encode
	}
	return raw
}
