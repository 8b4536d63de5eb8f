package pypi

import (
	"bytes"
	"encoding/json"
	"time"

	"larder/formats"
)

// The project JSON API is no specification but what one registry has always
// offered at pypi/NAME/json; update checkers read it. We answer the part that
// follows from rows: releases and their files. Descriptions, authors and
// vulnerabilities are not in a project page and are left out, not invented.
type projectDoc struct {
	Info     projectInfo              `json:"info"`
	Releases map[string][]projectFile `json:"releases,omitzero"`
	URLs     []projectFile            `json:"urls"`
}

type projectInfo struct {
	Name           string  `json:"name"`
	Version        string  `json:"version"`
	RequiresPython *string `json:"requires_python"`
	Yanked         bool    `json:"yanked"`
	YankedReason   *string `json:"yanked_reason"`
}

type projectFile struct {
	Filename       string            `json:"filename"`
	URL            string            `json:"url"`
	Digests        map[string]string `json:"digests"`
	PackageType    string            `json:"packagetype"`
	PythonVersion  string            `json:"python_version"`
	RequiresPython *string           `json:"requires_python"`
	Size           *int64            `json:"size,omitempty"`
	UploadTime     string            `json:"upload_time,omitempty"`
	UploadTimeISO  string            `json:"upload_time_iso_8601,omitempty"`
	Yanked         bool              `json:"yanked"`
	YankedReason   *string           `json:"yanked_reason"`
}

// writeProject writes all releases, or the one that t names.
func (d *document) writeProject(b *bytes.Buffer, t formats.Target) error {
	releases := make(map[string][]projectFile)
	for _, v := range d.versions {
		releases[v.V] = []projectFile{}
	}
	for i := range d.entries {
		e := &d.entries[i]
		releases[e.version.V] = append(releases[e.version.V], d.projectFile(e))
	}
	want := latest(releases)
	if t.Variant == variantRelease {
		want = ""
		for text := range releases {
			if text == t.Version || want == "" && versionKey(text) == versionKey(t.Version) {
				want = text
			}
		}
		if want == "" {
			return formats.Refuse(formats.NotFound, "%s has no version %s", d.view.Name.Canon, t.Version)
		}
	}
	doc := projectDoc{Info: projectInfo{Name: d.displayName(), Version: want}, URLs: releases[want]}
	if doc.URLs == nil {
		doc.URLs = []projectFile{}
	}
	doc.Info.Yanked = len(doc.URLs) > 0
	for _, f := range doc.URLs {
		doc.Info.Yanked = doc.Info.Yanked && f.Yanked
		doc.Info.RequiresPython = f.RequiresPython
	}
	if doc.Info.Yanked {
		doc.Info.YankedReason = doc.URLs[0].YankedReason
	}
	if t.Variant == variantProject {
		doc.Releases = releases
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

// displayName is the project's name as the first place that says so spells it.
func (d *document) displayName() string {
	for _, layer := range d.view.Layers {
		if layer.Head != nil && layer.Head.Display != "" {
			return layer.Head.Display
		}
	}
	return d.view.Name.Canon
}

func (d *document) projectFile(e *entry) projectFile {
	f := projectFile{
		Filename:      e.asset.File,
		URL:           d.view.Base + "/" + href(d.view.Name.Canon, e.version.V, e.asset.File),
		Digests:       e.hashes(),
		PackageType:   packageType(e.asset.File),
		PythonVersion: pythonTag(e.asset.File),
		Yanked:        e.file.yanked,
	}
	if f.Digests == nil {
		f.Digests = map[string]string{}
	}
	if e.file.requiresPython != "" {
		f.RequiresPython = &e.file.requiresPython
	}
	if e.file.yankedReason != "" {
		f.YankedReason = &e.file.yankedReason
	}
	if n := e.size(); n >= 0 {
		f.Size = &n
	}
	if at := e.asset.Uploaded; !at.IsZero() {
		f.UploadTime = at.UTC().Format("2006-01-02T15:04:05")
		f.UploadTimeISO = at.UTC().Format(time.RFC3339Nano)
	}
	return f
}

// latest is the newest release that is neither yanked nor a prerelease, else
// the newest of all.
func latest(releases map[string][]projectFile) string {
	best, bestRank := "", -1
	for text, files := range releases {
		rank := 0
		if len(files) > 0 && !allYanked(files) {
			rank = 1
			if v, ok := parseVersion(text); ok && !v.prerelease() {
				rank = 2
			}
		}
		if rank > bestRank || rank == bestRank && compareVersions(text, best) > 0 {
			best, bestRank = text, rank
		}
	}
	return best
}

func allYanked(files []projectFile) bool {
	for _, f := range files {
		if !f.Yanked {
			return false
		}
	}
	return true
}
