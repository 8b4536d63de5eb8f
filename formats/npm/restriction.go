package npm

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"larder/formats"
)

// restrictions writes "policyRestrictions", which npm 7 and later read beside
// "versions" (npm-pick-manifest): a range falls back to a version that is
// allowed, and a pin on one that is not fails with E403 and this message
// instead of "no matching version". Other clients pass over it.
func (o *output) restrictions(v *formats.View) {
	var theirs struct {
		Message  string                     `json:"message"`
		Versions map[string]json.RawMessage `json:"versions"`
	}
	for _, l := range v.Layers {
		// Upstream (another larder, say) may restrict too; what it lists has no
		// row here, so only that it is restricted is passed on.
		if raw := find(l.Head.Raw, "policyRestrictions"); raw != nil {
			if json.Unmarshal(raw, &theirs) != nil {
				theirs.Versions = nil
			}
			break
		}
	}
	for _, row := range v.Versions {
		delete(theirs.Versions, row.V) // held by another place
	}
	if len(v.Hidden) == 0 && len(theirs.Versions) == 0 {
		return
	}
	message := theirs.Message
	if len(v.Hidden) > 0 {
		message = strings.TrimSpace(restrictionText(v.Hidden) + "\n" + message)
	}
	o.str(`,"policyRestrictions":{"message":`)
	o.quoted(message)
	o.str(`,"versions":{`)
	n := 0
	add := func(version string, raw []byte) {
		if n > 0 {
			o.str(",")
		}
		n++
		o.quoted(version)
		o.str(":")
		o.buf = manifestStub(o.buf, v.Name.Show(), version, raw)
	}
	for _, h := range v.Hidden {
		add(h.Version.V, h.Version.Raw)
		delete(theirs.Versions, h.Version.V)
	}
	for _, version := range slices.Sorted(maps.Keys(theirs.Versions)) {
		add(version, theirs.Versions[version])
	}
	o.str("}}")
}

// restrictionText joins the reasons for which versions are hidden. npm has room
// for one message per package, so a reason that holds for several versions is
// said once.
func restrictionText(hidden []formats.Hidden) string {
	const lines = 8
	byReason := make(map[string][]string)
	var order []string
	for _, h := range hidden {
		if len(byReason[h.Reason]) == 0 {
			order = append(order, h.Reason)
		}
		byReason[h.Reason] = append(byReason[h.Reason], h.Version.V)
	}
	if len(order) == 1 {
		return order[0]
	}
	var out []string
	for i, reason := range order {
		if i == lines {
			out = append(out, "and other reasons")
			break
		}
		vs := byReason[reason]
		which := strings.Join(vs[:min(len(vs), 5)], ", ")
		if len(vs) > 5 {
			which += ", ..."
		}
		out = append(out, which+": "+reason)
	}
	return strings.Join(out, "\n")
}
