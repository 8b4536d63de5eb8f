package maven

import (
	"strings"

	"larder/formats"
)

const (
	metadataFile     = "maven-metadata.xml"
	archetypeCatalog = "archetype-catalog.xml"
	snapshot         = "SNAPSHOT"

	maxSegment = 255
)

// isAlnum reports whether c is an ASCII letter or digit.
func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func allIn(s, extra string) bool {
	if s == "" || len(s) > maxSegment || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isGroupSegment: a group's dots are slashes in a path, so a segment with a dot
// would be a second spelling of another group.
func isGroupSegment(s string) bool { return allIn(s, "_-+~") }

// isArtifact follows Maven's id grammar ([A-Za-z0-9_.-]+, maven-model-builder
// DefaultModelValidator), with "+" and "~" beside it.
func isArtifact(s string) bool { return allIn(s, "_-.+~") }

// isVersion leaves out what Maven forbids in versions (\ / : " < > | ? * [ ] ( )
// { } ,), and everything that is not printable ASCII.
func isVersion(s string) bool { return allIn(s, "_-.+~$=@!") }

// isFile is the grammar of file names: those of artifacts and versions joined.
func isFile(s string) bool { return isVersion(s) }

// isSnapshot follows Maven resolver's AbstractArtifact.isSnapshot.
func isSnapshot(version string) bool { return strings.HasSuffix(version, snapshot) }

// Base returns the version that v is a build of: "1.0-SNAPSHOT" for
// "1.0-20260102.030405-7" (Maven resolver, AbstractArtifact.isSnapshot and
// getBaseVersion). Such a version stands in no directory of its own.
func (*Format) Base(v string) (string, bool) { return baseOf(v) }

func baseOf(v string) (string, bool) {
	i := strings.LastIndexByte(v, '-') - len("########.######")
	if i < 0 || leadingStamp(v[i:]) != v[i:] || i > 0 && v[i-1] != '-' {
		return "", false
	}
	return v[:i] + snapshot, true
}

// directory is the path segment under which the files of a version lie.
func directory(version string) string {
	if base, ok := baseOf(version); ok {
		return base
	}
	return version
}

func nameOf(group, artifact string) formats.Name {
	n := formats.Name{Canon: group, NS: group}
	if artifact != "" {
		n.Canon = group + ":" + artifact
	}
	return n
}

// Route parses a path of the Maven 2 repository layout.
func (f *Format) Route(rq *formats.Request) (formats.Target, error) {
	switch rq.Method {
	case "GET", "HEAD":
		return routePath(rq)
	case "PUT":
		return routePut(rq)
	case "DELETE":
		return formats.Target{}, formats.Refuse(formats.Method, "files are not deleted here: versions are, through DeletePackageVersions")
	}
	return formats.Target{}, formats.Refuse(formats.Method, "%.16q is not offered here: files are read with GET and deployed with PUT", rq.Method)
}

func routePath(rq *formats.Request) (formats.Target, error) {
	segs := rq.Segments
	if len(segs) == 0 || segs[len(segs)-1] == "" {
		return formats.Target{}, formats.Refuse(formats.NotFound, "directory listings are not offered: ask for a file of the Maven repository layout")
	}
	for _, s := range segs {
		if !isFile(s) {
			return formats.Target{}, unroutable(segs[0])
		}
	}
	base, alg := cutChecksum(segs[len(segs)-1])
	dirs := segs[:len(segs)-1]
	switch {
	case base == archetypeCatalog && len(dirs) == 0:
		return documentTarget(segs, formats.Target{}, alg), nil
	case base == metadataFile:
		return routeMetadata(dirs, alg)
	case strings.HasPrefix(base, metadataFile+"."):
		return formats.Target{}, formats.Refuse(formats.NotFound, "%s is made here from all upstreams: it has checksum files and no other company", metadataFile)
	case len(dirs) < 3:
		return formats.Target{}, formats.Refuse(formats.NotFound, "not a path of the Maven repository layout: want group/artifact/version/file")
	}
	return routeFile(segs, dirs, base, alg)
}

// unroutable words the refusal of a path outside the layout. Dotted roots are
// discovery files of other repository managers.
func unroutable(first string) *formats.Refusal {
	switch first {
	case ".meta":
		return formats.Refuse(formats.NotFound, "prefix lists are not offered: this repository unites several upstreams")
	case ".index":
		return formats.Refuse(formats.NotFound, "repository indexes are not offered here")
	}
	return formats.Refuse(formats.NotFound, "not a path of the Maven repository layout")
}

// cutChecksum splits "x.sha1" into "x" and SHA1.
func cutChecksum(file string) (string, formats.Alg) {
	i := strings.LastIndexByte(file, '.')
	if i < 0 {
		return file, ""
	}
	switch alg := formats.Alg(file[i+1:]); alg {
	case formats.MD5, formats.SHA1, formats.SHA256, formats.SHA512:
		return file[:i], alg
	}
	return file, ""
}

// routeMetadata routes maven-metadata.xml and its checksums. "a/b" may be a
// group or an artifact; the document's content decides, the rows are the same.
func routeMetadata(dirs []string, alg formats.Alg) (formats.Target, error) {
	t := formats.Target{Kind: formats.KindListing, Fresh: formats.Revalidate, Variant: string(alg)}
	if n := len(dirs); n >= 3 && isSnapshot(dirs[n-1]) {
		t.Doc, t.Version = dirs[n-1], dirs[n-1]
		dirs = dirs[:n-1]
	}
	if len(dirs) == 0 {
		return t, formats.Refuse(formats.NotFound, "there is no %s at the root of a repository", metadataFile)
	}
	group, artifact := dirs, ""
	if len(dirs) > 1 {
		group, artifact = dirs[:len(dirs)-1], dirs[len(dirs)-1]
	}
	var err error
	t.Name, err = routeName(group, artifact)
	return t, err
}

func routeName(group []string, artifact string) (formats.Name, error) {
	for _, g := range group {
		if !isGroupSegment(g) {
			return formats.Name{}, formats.Refuse(formats.NotFound, "%q cannot be part of a group's path", g)
		}
	}
	if artifact != "" && !isArtifact(artifact) {
		return formats.Name{}, formats.Refuse(formats.NotFound, "%q cannot be an artifact's name", artifact)
	}
	n := nameOf(strings.Join(group, "."), artifact)
	if len(n.Canon) > 1024 {
		return n, formats.Refuse(formats.NotFound, "this name is longer than 1024 bytes")
	}
	return n, nil
}

// routeFile routes group/artifact/version/file.
func routeFile(segs, dirs []string, base string, alg formats.Alg) (formats.Target, error) {
	n := len(dirs)
	artifact, version := dirs[n-2], dirs[n-1]
	name, err := routeName(dirs[:n-2], artifact)
	if err != nil {
		return formats.Target{}, err
	}
	if _, twice := cutChecksum(base); twice != "" {
		return formats.Target{}, formats.Refuse(formats.NotFound, "a checksum file has no checksum file")
	}
	rest, ok := strings.CutPrefix(base, artifact+"-")
	if !ok || rest == "" || rest == version {
		return formats.Target{}, formats.Refuse(formats.NotFound, "not a path of the Maven repository layout: files of %s %s begin with %q and have an extension", artifact, version, artifact+"-")
	}
	if of, ok := baseOf(version); ok {
		return formats.Target{}, formats.Refuse(formats.NotFound, "%s is a build of a snapshot: its files lie in the directory %s", version, of)
	}
	t := formats.Target{Kind: formats.KindAsset, Name: name, Version: version, File: base, Fresh: formats.Immutable, ContentType: contentType(base)}
	if isSnapshot(version) {
		b, ok := parseSnapshotFile(artifact, version, base)
		if !ok {
			return formats.Target{}, formats.Refuse(formats.NotFound, "%s is not a file of %s %s", base, artifact, version)
		}
		if !b.timestamped() {
			t.File = segs[len(segs)-1]
			return documentTarget(segs, t, alg), nil
		}
		if _, ok := baseOf(b.value); ok {
			t.Version = b.value
		}
	}
	if alg == "" {
		return t, nil
	}
	return formats.Target{
		Kind: formats.KindSidecar, Name: name, Version: t.Version, File: segs[len(segs)-1],
		Variant: string(alg), Fresh: formats.Immutable, ContentType: checksumType, Derive: &t,
	}, nil
}

// documentTarget makes t a mutable document kept whole under its own path, as
// is its checksum file: both must come from one upstream.
func documentTarget(segs []string, t formats.Target, alg formats.Alg) formats.Target {
	t.Kind, t.Fresh, t.Doc = formats.KindDocument, formats.Revalidate, strings.Join(segs, "/")
	t.ContentType = contentType(segs[len(segs)-1])
	if alg != "" {
		t.ContentType = checksumType
	}
	return t
}

// build is a file of a snapshot version, taken apart.
type build struct {
	value      string // "1.0-20260102.030405-7", or "1.0-SNAPSHOT"
	timestamp  string // "20260102.030405", "" for the non-unique form
	number     int    // 7
	classifier string
	extension  string
}

func (b build) timestamped() bool { return b.timestamp != "" }

// file is the inverse of parseSnapshotFile.
func (b build) file(artifact string) string {
	s := artifact + "-" + b.value
	if b.classifier != "" {
		s += "-" + b.classifier
	}
	return s + "." + b.extension
}

// newer orders builds of one version in time.
func (b build) newer(o build) bool {
	if b.timestamp != o.timestamp {
		return b.timestamp > o.timestamp
	}
	return b.number > o.number
}

// parseSnapshotFile takes apart artifact-value[-classifier].extension, where
// value is the snapshot version itself or a timestamp and build number in the
// place of SNAPSHOT.
func parseSnapshotFile(artifact, version, file string) (build, bool) {
	rest, ok := strings.CutPrefix(file, artifact+"-")
	if !ok {
		return build{}, false
	}
	b := build{value: version}
	if after, ok := strings.CutPrefix(rest, version); ok {
		rest = after
	} else {
		stem := strings.TrimSuffix(version, snapshot)
		after, ok := strings.CutPrefix(rest, stem)
		if !ok {
			return build{}, false
		}
		stamp := leadingStamp(after)
		if stamp == "" {
			return build{}, false
		}
		b.value = stem + stamp
		b.timestamp, b.number = splitStamp(stamp)
		rest = after[len(stamp):]
	}
	b.classifier, b.extension, ok = splitTail(rest)
	return b, ok
}

// leadingStamp returns "20260102.030405-7" from the start of s, or "". At most
// nine digits of build number are taken, so that it fits an int.
func leadingStamp(s string) string {
	i, want := 0, "########.######-"
	for ; i < len(want); i++ {
		if i >= len(s) || (want[i] == '#') != isDigit(s[i]) || want[i] != '#' && want[i] != s[i] {
			return ""
		}
	}
	j := i
	for j < len(s) && isDigit(s[j]) {
		j++
	}
	if j == i || j-i > 9 {
		return ""
	}
	return s[:j]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func splitStamp(stamp string) (timestamp string, number int) {
	timestamp, digits, _ := strings.Cut(stamp, "-")
	for i := 0; i < len(digits); i++ {
		number = number*10 + int(digits[i]-'0')
	}
	return timestamp, number
}

// longExtensions are those of more than one dot-separated part; a classifier
// may hold dots ("jdk1.5"), so the last dot is where others begin.
func longExtension(tail string) int {
	for _, ext := range []string{".tar.gz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar.zst"} {
		if strings.HasSuffix(tail, ext) {
			return len(tail) - len(ext)
		}
	}
	return strings.LastIndexByte(tail, '.')
}

// splitTail takes apart "[-classifier].extension".
func splitTail(tail string) (classifier, extension string, ok bool) {
	if len(tail) < 2 {
		return "", "", false
	}
	if tail[0] == '.' {
		return "", tail[1:], true
	}
	if tail[0] != '-' {
		return "", "", false
	}
	body, signed := strings.CutSuffix(tail[1:], ".asc")
	i := longExtension(body)
	if i <= 0 || i == len(body)-1 {
		return "", "", false
	}
	extension = body[i+1:]
	if signed {
		extension += ".asc"
	}
	return body[:i], extension, true
}

// isTimestamp reports whether s has the form "20260102.030405".
func isTimestamp(s string) bool {
	return len(s) == len("20260102.030405") && leadingStamp(s+"-0") != ""
}

const checksumType = "text/plain; charset=utf-8"

// contentType answers for the layout's extensions; what upstream says of them
// varies and may be text/html.
func contentType(file string) string {
	i := strings.LastIndexByte(file, '.')
	switch file[i+1:] {
	case "pom", "xml":
		return "application/xml"
	case "jar", "war", "ear", "aar", "rar":
		return "application/java-archive"
	case "module", "json":
		return "application/json"
	case "asc", "sigstore", "txt":
		return "text/plain; charset=utf-8"
	case "zip", "kar", "nar":
		return "application/zip"
	case "gz", "tgz":
		return "application/gzip"
	}
	return "application/octet-stream"
}
