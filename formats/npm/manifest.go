package npm

import "bytes"

// tarballs makes the URLs that replace upstream's inside manifests.
type tarballs struct {
	open string // the JSON string "BASE/name/-/stem-, still open
	base string
	name string
}

func newTarballs(base, name string) *tarballs {
	open := appendString(nil, base+"/"+name+"/-/"+baseName(name)+"-")
	return &tarballs{string(open[:len(open)-1]), base, name}
}

// keeps reports whether a manifest's member belongs to the abbreviated form
// (npm registry documentation, "package metadata", and what the registry has
// added since: deprecated, cpu, os, libc, funding, peerDependenciesMeta,
// hasInstallScript).
func keeps(key []byte) bool {
	switch string(key) {
	case "name", "version", "deprecated", "dist", "bin", "directories", "engines", "cpu", "os", "libc", "funding",
		"dependencies", "optionalDependencies", "devDependencies", "bundleDependencies", "bundledDependencies",
		"peerDependencies", "peerDependenciesMeta", "acceptDependencies", "_hasShrinkwrap", "hasInstallScript":
		return true
	}
	return false
}

// manifest appends one version's manifest. All bytes are upstream's but for the
// URLs inside dist; the abbreviated form leaves whole members out.
func (o *output) manifest(v string, raw []byte, url *tarballs, abbreviated bool) {
	var m member
	if !abbreviated {
		done := 0
		for ob, ok := openObject(raw); ok && ob.next(&m); {
			if string(m.key) == "dist" {
				o.raw(raw[done:m.from])
				o.dist(v, raw[m.from:m.till], url)
				done = m.till
			}
		}
		o.raw(raw[done:])
		return
	}
	o.str("{")
	start := len(o.buf)
	installs, told := false, false
	for ob, ok := openObject(raw); ok && ob.next(&m); {
		if !keeps(m.key) {
			if string(m.key) == "scripts" {
				installs = installScript(raw[m.from:m.till])
			}
			continue
		}
		if len(o.buf) > start {
			o.str(",")
		}
		switch string(m.key) {
		case "dist":
			o.raw(raw[m.start:m.from])
			o.dist(v, raw[m.from:m.till], url)
			continue
		case "hasInstallScript":
			told = true
		}
		o.raw(raw[m.start:m.till])
	}
	// The registry adds this fact when it abbreviates; Bun and lockfiles rely on
	// it to know that scripts exist.
	if installs && !told {
		if len(o.buf) > start {
			o.str(",")
		}
		o.str(`"hasInstallScript":true`)
	}
	o.str("}")
}

// installScript reports whether scripts name one that runs at installation.
func installScript(scripts []byte) bool {
	var m member
	for ob, ok := openObject(scripts); ok && ob.next(&m); {
		switch string(m.key) {
		case "preinstall", "install", "postinstall":
			if len(unquote(scripts[m.from:m.till])) > 0 {
				return true
			}
		}
	}
	return false
}

// dist appends a dist object with the tarball's URL, and that of the
// attestations if there are any, replaced by ours. npm keeps only the path of
// the latter and asks it of the registry's host, so it must carry our prefix.
func (o *output) dist(v string, dist []byte, url *tarballs) {
	var m member
	done := 0
	for ob, ok := openObject(dist); ok && ob.next(&m); {
		switch string(m.key) {
		case "tarball":
			o.raw(dist[done:m.from])
			o.str(url.open)
			o.str(v)
			o.str(`.tgz"`)
			done = m.till
		case "attestations":
			o.raw(dist[done:m.from])
			o.attestations(v, dist[m.from:m.till], url)
			done = m.till
		}
	}
	o.raw(dist[done:])
}

func (o *output) attestations(v string, att []byte, url *tarballs) {
	var m member
	done := 0
	for ob, ok := openObject(att); ok && ob.next(&m); {
		if string(m.key) == "url" {
			o.raw(att[done:m.from])
			o.quoted(url.base + "/" + attestationsPath + escapeName(url.name) + "@" + v)
			done = m.till
		}
	}
	o.raw(att[done:])
}

// manifestStub is what a client needs to see of a version that it may not have.
func manifestStub(dst []byte, name, v string, raw []byte) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendString(dst, name)
	dst = append(dst, `,"version":`...)
	dst = appendString(dst, v)
	for _, key := range [...]string{"engines", "deprecated"} {
		if val := find(raw, key); val != nil && !bytes.Equal(val, []byte("null")) {
			dst = append(append(append(append(dst, `,"`...), key...), `":`...), val...)
		}
	}
	return append(dst, '}')
}

// platformBound reports whether a manifest names the platforms it is for.
func platformBound(raw []byte) bool {
	var m member
	for ob, ok := openObject(raw); ok && ob.next(&m); {
		switch string(m.key) {
		case "os", "cpu", "libc":
			if val := raw[m.from:m.till]; val[0] == '"' && len(val) > 2 || val[0] == '[' && bytes.IndexByte(val, '"') > 0 {
				return true
			}
		}
	}
	return false
}
