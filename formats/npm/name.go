package npm

import (
	"net/url"
	"strings"

	"larder/formats"
)

// maxName bounds a whole package name. The registry allows 214 characters
// today; a few older names are longer.
const maxName = 512

// parseName checks a package name against the grammar that
// validate-npm-package-name applies to old packages: "name" or "@scope/name",
// each part of characters that encodeURIComponent leaves alone, no leading dot.
// Upper case is kept, since some old packages differ only by it. A leading
// underscore belongs to the registry's own paths.
func parseName(s string) (formats.Name, bool) {
	if len(s) > maxName {
		return formats.Name{}, false
	}
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		scope, base, ok := strings.Cut(rest, "/")
		if !ok || !validPart(scope) || !validPart(base) {
			return formats.Name{}, false
		}
		return formats.Name{Canon: s, NS: scope}, true
	}
	if !validPart(s) || s[0] == '_' || s == "node_modules" || s == "favicon.ico" {
		return formats.Name{}, false
	}
	return formats.Name{Canon: s}, true
}

func validPart(s string) bool {
	if s == "" || s[0] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alnum(c) && !strings.ContainsRune("-_.!~*'()", rune(c)) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// validVersion accepts the characters that version keys of the registry use.
// It is looser than semver, because old packages are, and strict enough that a
// version can stand in a file name and a URL.
func validVersion(s string) bool {
	if s == "" || len(s) > 256 || !alnum(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !alnum(c) && !strings.ContainsRune(".+-_~", rune(c)) {
			return false
		}
	}
	return true
}

// validTag accepts what may follow a package name in a version document's
// path: a version or a dist-tag.
func validTag(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alnum(c) && !strings.ContainsRune("-_.!~*'()+", rune(c)) {
			return false
		}
	}
	return s[0] != '.' && s != "-"
}

// baseName is the name without its scope: the stem of tarball names.
func baseName(canon string) string {
	if _, base, ok := strings.Cut(canon, "/"); ok {
		return base
	}
	return canon
}

// tarballFile is the canonical file name of a version's tarball.
func tarballFile(canon, version string) string {
	return baseName(canon) + "-" + version + ".tgz"
}

// tarballVersion reads the version out of a canonical tarball name.
func tarballVersion(canon, file string) (string, bool) {
	v, ok := strings.CutPrefix(file, baseName(canon)+"-")
	if !ok {
		return "", false
	}
	v, ok = strings.CutSuffix(v, ".tgz")
	return v, ok && validVersion(v)
}

// escapeName spells a name as one path segment, the way npm itself does
// ("@scope%2fname").
func escapeName(canon string) string { return strings.Replace(canon, "/", "%2f", 1) }

// PURL returns "pkg:npm/%40scope/name@version" (purl specification, type npm).
func (f *Format) PURL(n formats.Name, version string) string {
	p := "pkg:npm/" + strings.Replace(n.Canon, "@", "%40", 1)
	if version != "" {
		p += "@" + strings.ReplaceAll(version, "+", "%2B")
	}
	return p
}

// ParsePURL reads a package URL of type npm; qualifiers and subpath are passed
// over.
func (f *Format) ParsePURL(purl string) (formats.Name, string, bool) {
	rest, ok := strings.CutPrefix(purl, "pkg:npm/")
	if !ok {
		return formats.Name{}, "", false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	// The version's "@" is the last one; a scope's may be spelled bare.
	name, version := rest, ""
	if i := strings.LastIndexByte(rest, '@'); i > 0 {
		name, version = rest[:i], rest[i+1:]
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return formats.Name{}, "", false
	}
	version, err = url.PathUnescape(version)
	if err != nil || version != "" && !validVersion(version) {
		return formats.Name{}, "", false
	}
	n, ok := parseName(name)
	return n, version, ok
}
