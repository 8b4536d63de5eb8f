package maven

import (
	"cmp"
	"slices"
	"strings"

	"deps.dev/util/semver"
)

// ordered is a version with its parsed form, nil where none could be made.
type ordered struct {
	v      string
	parsed *semver.Version
}

// order parses v by Maven's rules (Maven version order specification).
func order(v string) ordered {
	p, err := semver.Maven.Parse(v)
	if err != nil {
		p, err = semver.Maven.Parse(clampNumbers(v))
	}
	if err != nil {
		p = nil
	}
	return ordered{v, p}
}

// clampNumbers shortens runs of digits that no int64 holds, so that such a
// version sorts at the end of its kind.
func clampNumbers(v string) string {
	const most = "999999999999999999"
	var b strings.Builder
	for i := 0; i < len(v); {
		j := i
		for j < len(v) && isDigit(v[j]) {
			j++
		}
		switch run := strings.TrimLeft(v[i:j], "0"); {
		case j == i:
			b.WriteByte(v[i])
			j++
		case len(run) > len(most):
			b.WriteString(most)
		default:
			b.WriteString(v[i:j])
		}
		i = j
	}
	return b.String()
}

// compare is a total order: versions that Maven holds for equal ("1", "1.0")
// are ordered by their text, and unparsable ones come first.
func (a ordered) compare(b ordered) int {
	switch {
	case a.parsed == nil && b.parsed == nil:
	case a.parsed == nil:
		return -1
	case b.parsed == nil:
		return 1
	default:
		if c := a.parsed.Compare(b.parsed); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(a.v), len(b.v)), strings.Compare(a.v, b.v))
}

// sortVersions sorts in place, oldest first, and drops repetitions. Maven's
// order is not transitive for every odd version, so the texts are sorted first:
// the result then depends on the set alone.
func sortVersions(vs []string) []string {
	slices.Sort(vs)
	keyed := make([]ordered, len(vs))
	for i, v := range vs {
		keyed[i] = order(v)
	}
	slices.SortFunc(keyed, ordered.compare)
	out := vs[:0]
	for i, k := range keyed {
		if i == 0 || keyed[i-1].v != k.v {
			out = append(out, k.v)
		}
	}
	return out
}
