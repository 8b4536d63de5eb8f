package pypi

import (
	"cmp"
	"slices"
	"strings"
)

// version is a parsed PEP 440 version. Numbers stay decimal strings without
// leading zeros, since nothing bounds their size.
type version struct {
	epoch   string
	release []string
	pre     string // "a", "b", "rc" or ""
	preN    string
	post    bool
	postN   string
	dev     bool
	devN    string
	local   []string
}

// parseVersion reads a version with every spelling that PEP 440 tells tools to
// accept and normalise.
func parseVersion(s string) (version, bool) {
	if len(s) > maxSegment {
		return version{}, false
	}
	p := versionScanner{rest: strings.ToLower(s)}
	p.eat("v")
	v := version{epoch: "0"}
	n, ok := p.number()
	if !ok {
		return version{}, false
	}
	if p.eat("!") {
		v.epoch = n
		if n, ok = p.number(); !ok {
			return version{}, false
		}
	}
	v.release = append(v.release, n)
	for len(p.rest) > 1 && p.rest[0] == '.' && digit(p.rest[1]) {
		p.rest = p.rest[1:]
		n, _ = p.number()
		v.release = append(v.release, n)
	}
	if tag, n, ok := p.suffix("alpha", "a", "beta", "b", "preview", "pre", "rc", "c"); ok {
		v.pre, v.preN = [...]string{"a", "a", "b", "b", "rc", "rc", "rc", "rc"}[tag], n
	}
	if len(p.rest) > 1 && p.rest[0] == '-' && digit(p.rest[1]) {
		p.rest = p.rest[1:]
		v.post = true
		v.postN, _ = p.number()
	} else if _, n, ok := p.suffix("post", "rev", "r"); ok {
		v.post, v.postN = true, n
	}
	if _, n, ok := p.suffix("dev"); ok {
		v.dev, v.devN = true, n
	}
	if p.eat("+") && !p.localPart(&v) {
		return version{}, false
	}
	return v, p.rest == ""
}

type versionScanner struct{ rest string }

func (p *versionScanner) eat(word string) bool {
	rest, ok := strings.CutPrefix(p.rest, word)
	p.rest = rest
	return ok
}

func (p *versionScanner) number() (string, bool) {
	i := 0
	for i < len(p.rest) && digit(p.rest[i]) {
		i++
	}
	n := p.rest[:i]
	p.rest = p.rest[i:]
	return trimZeros(n), i > 0
}

// suffix reads [-_.]?WORD[-_.]?[0-9]*; the number is "0" when left out.
func (p *versionScanner) suffix(words ...string) (which int, n string, ok bool) {
	start := p.rest
	if len(p.rest) > 0 && separator(p.rest[0]) {
		p.rest = p.rest[1:]
	}
	for i, w := range words {
		if !p.eat(w) {
			continue
		}
		mark := p.rest
		if len(p.rest) > 0 && separator(p.rest[0]) {
			p.rest = p.rest[1:]
		}
		if n, ok := p.number(); ok {
			return i, n, true
		}
		p.rest = mark
		return i, "0", true
	}
	p.rest = start
	return 0, "", false
}

func (p *versionScanner) localPart(v *version) bool {
	for part := range strings.FieldsFuncSeq(p.rest, func(r rune) bool { return r < 0x80 && separator(byte(r)) }) {
		for i := range len(part) {
			if !alnum(part[i]) {
				return false
			}
		}
		if allDigits(part) {
			part = trimZeros(part)
		}
		v.local = append(v.local, part)
	}
	// A separator at either end or a doubled one would have vanished above.
	whole := p.rest
	p.rest = ""
	seps := 0
	for i := range len(whole) {
		if separator(whole[i]) {
			seps++
		}
	}
	return len(v.local) > 0 && seps == len(v.local)-1
}

func (v version) String() string { return v.text(v.release) }

// key is equal for versions that PEP 440 holds equal: trailing zeros of the
// release do not count.
func (v version) key() string {
	r := v.release
	for len(r) > 1 && r[len(r)-1] == "0" {
		r = r[:len(r)-1]
	}
	return v.text(r)
}

func (v version) text(release []string) string {
	var b strings.Builder
	if v.epoch != "0" {
		b.WriteString(v.epoch + "!")
	}
	b.WriteString(strings.Join(release, "."))
	b.WriteString(v.pre + v.preN)
	if v.post {
		b.WriteString(".post" + v.postN)
	}
	if v.dev {
		b.WriteString(".dev" + v.devN)
	}
	if len(v.local) > 0 {
		b.WriteString("+" + strings.Join(v.local, "."))
	}
	return b.String()
}

func (v version) prerelease() bool { return v.pre != "" || v.dev }

// compare orders by PEP 440: epoch, release, development before pre before
// final before post, then the local label.
func (v version) compare(w version) int {
	return cmp.Or(
		compareNumber(v.epoch, w.epoch),
		compareRelease(v.release, w.release),
		cmp.Compare(v.preRank(), w.preRank()),
		compareNumber(v.preN, w.preN),
		compareBool(v.post, w.post),
		compareNumber(v.postN, w.postN),
		compareBool(!v.dev, !w.dev),
		compareNumber(v.devN, w.devN),
		slices.CompareFunc(v.local, w.local, compareLocal),
	)
}

func (v version) preRank() int {
	switch v.pre {
	case "a":
		return 1
	case "b":
		return 2
	case "rc":
		return 3
	}
	if v.dev && !v.post {
		return 0 // 1.0.dev1 comes before 1.0a1
	}
	return 4
}

func compareRelease(a, b []string) int {
	for i := range max(len(a), len(b)) {
		x, y := "0", "0"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := compareNumber(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func compareNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareLocal orders one local segment: numbers after words.
func compareLocal(a, b string) int {
	an, bn := allDigits(a), allDigits(b)
	switch {
	case an && bn:
		return compareNumber(a, b)
	case an:
		return 1
	case bn:
		return -1
	}
	return strings.Compare(a, b)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}

func trimZeros(n string) string {
	t := strings.TrimLeft(n, "0")
	if t == "" && n != "" {
		return "0"
	}
	return t
}

// normalizeVersion returns the PEP 440 normal form, or s itself where it has
// none: releases older than PEP 440 keep their spelling.
func normalizeVersion(s string) string {
	if v, ok := parseVersion(s); ok {
		return v.String()
	}
	return s
}

// versionKey identifies a version across spellings.
func versionKey(s string) string {
	if v, ok := parseVersion(s); ok {
		return v.key()
	}
	return s
}

// compareVersions orders version texts; those outside PEP 440 come first, by
// text.
func compareVersions(a, b string) int {
	v, okV := parseVersion(a)
	w, okW := parseVersion(b)
	if okV && okW {
		return cmp.Or(v.compare(w), strings.Compare(a, b))
	}
	return cmp.Or(compareBool(okV, okW), strings.Compare(a, b))
}
