package pypi

import (
	"strings"
)

// Companions are files that belong to one distribution file and are named
// after it. They are assets of their own, so that the store holds, verifies and
// counts them like any other file.
const (
	metadataSuffix   = ".metadata"   // core metadata (PEP 658)
	signatureSuffix  = ".asc"        // detached signature (PEP 503)
	provenanceSuffix = ".provenance" // provenance object (PEP 740); the suffix is ours
)

// companionOf splits a companion's name into the distribution file and suffix.
func companionOf(file string) (dist, suffix string, ok bool) {
	for _, s := range [...]string{metadataSuffix, signatureSuffix, provenanceSuffix} {
		if dist, ok := strings.CutSuffix(file, s); ok && dist != "" {
			return dist, s, true
		}
	}
	return file, "", false
}

// extension returns the archive suffix of a distribution file as Python
// packaging tools have used them over time, "" for anything else.
func extension(file string) string {
	for _, ext := range [...]string{
		".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.lzma", ".tar.Z", ".tgz", ".tbz", ".txz", ".tlz", ".tar",
		".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg",
	} {
		if len(file) > len(ext) && strings.EqualFold(file[len(file)-len(ext):], ext) {
			return ext
		}
	}
	return ""
}

// versionOf returns the version that a distribution file of the project canon
// belongs to, read from its name alone, so that a file's row never moves when
// the rest of the listing changes. A name that tells no version yields its own
// stem: the file then stands alone but is not lost.
func versionOf(canon, file string) string {
	ext := extension(file)
	stem := file[:len(file)-len(ext)]
	v := ""
	switch ext {
	case ".whl", ".egg":
		// NAME-VERSION-... with every "-" inside a field written "_" (PEP 427).
		if _, rest, ok := strings.Cut(stem, "-"); ok {
			v, _, _ = strings.Cut(rest, "-")
			v = strings.ReplaceAll(v, "_", "-")
		}
	default:
		v = sourceVersion(canon, stem, ext)
	}
	if n := normalizeVersion(v); cleanSegment(n) {
		return n
	}
	if cleanSegment(stem) {
		return stem
	}
	return "0"
}

// sourceVersion reads NAME-VERSION. The name is known, since "-" may stand in
// both parts: the last hyphen tells nothing.
func sourceVersion(canon, stem, ext string) string {
	rest, found := "", false
	for i := range len(stem) {
		if stem[i] == '-' && normalizeName(stem[:i]) == canon {
			rest, found = stem[i+1:], true
			break
		}
	}
	if !found {
		i := strings.LastIndexByte(stem, '-')
		if i < 0 {
			return ""
		}
		if _, ok := parseVersion(stem[i+1:]); !ok {
			return ""
		}
		rest = stem[i+1:]
	}
	if _, ok := parseVersion(rest); ok || !builtFor(rest, ext) {
		return rest
	}
	// Installers and dumb binaries append the platform: 1.0.win32-py2.7.
	for i := len(rest) - 1; i > 0; i-- {
		if separator(rest[i]) {
			if _, ok := parseVersion(rest[:i]); ok {
				return rest[:i]
			}
		}
	}
	return rest
}

func builtFor(rest, ext string) bool {
	switch ext {
	case ".exe", ".msi", ".rpm", ".deb", ".dmg":
		return true
	}
	low := strings.ToLower(rest)
	for _, platform := range [...]string{".linux-", ".macosx-", ".darwin-", ".win32", ".win-amd64", ".freebsd", ".solaris", ".cygwin"} {
		if strings.Contains(low, platform) {
			return true
		}
	}
	return false
}

// packageType is the project JSON API's word for a file's kind.
func packageType(file string) string {
	switch extension(file) {
	case ".whl":
		return "bdist_wheel"
	case ".egg":
		return "bdist_egg"
	case ".exe":
		return "bdist_wininst"
	case ".msi":
		return "bdist_msi"
	case ".rpm":
		return "bdist_rpm"
	case ".dmg":
		return "bdist_dmg"
	case ".deb":
		return "bdist_dumb"
	}
	return "sdist"
}

// pythonTag is the interpreter tag of a wheel or egg, "source" otherwise.
func pythonTag(file string) string {
	switch ext := extension(file); ext {
	case ".whl":
		fields := strings.Split(strings.TrimSuffix(file, ext), "-")
		if len(fields) >= 5 {
			return fields[len(fields)-3]
		}
	case ".egg":
		fields := strings.Split(strings.TrimSuffix(file, ext), "-")
		if len(fields) >= 3 {
			return strings.TrimPrefix(fields[2], "py")
		}
	}
	return "source"
}
