package main

import (
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"larder/formats/npm/npmtest"
)

// npmDocument is what npm publish sends for a tarball.
func npmDocument(t *testing.T, name, version, tgz string) string {
	t.Helper()
	sha, strong := sha1.Sum([]byte(tgz)), sha512.Sum512([]byte(tgz))
	file := name + "-" + version + ".tgz"
	doc, err := json.Marshal(map[string]any{
		"_id": name, "name": name, "dist-tags": map[string]string{"latest": version},
		"versions": map[string]any{version: map[string]any{"name": name, "version": version, "_id": name + "@" + version,
			"dist": map[string]any{"shasum": fmt.Sprintf("%x", sha), "integrity": "sha512-" + base64.StdEncoding.EncodeToString(strong[:])}}},
		"_attachments": map[string]any{file: map[string]any{"content_type": "application/octet-stream",
			"data": base64.StdEncoding.EncodeToString([]byte(tgz)), "length": len(tgz)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// publishNpm publishes a version over the wire, for checks in which that is not
// the point.
func (s *packageSite) publishNpm(t *testing.T, repo, name, version string) {
	t.Helper()
	reg := npmtest.New()
	reg.Add(npmtest.Package{Name: name, Version: version, Files: map[string]string{"README.md": "# " + name + " of " + repo + "\n"}})
	s.wants(t, 201, "PUT", s.path("npm", repo)+name, npmDocument(t, name, version, string(reg.Tarball(name, version))), "Content-Type", "application/json")
}
