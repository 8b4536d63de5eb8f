package npm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"larder/formats"
)

// Query reads the search text and window. The registry's default is 20 results
// and its limit 250; words like "keywords:x" and "scope:y" are searched for
// their value.
func (f *Format) Query(rq *formats.Request) (text string, from, size int) {
	var words []string
	for _, w := range strings.Fields(rq.Query.Get("text")) {
		for _, qualifier := range [...]string{"keywords:", "scope:", "author:", "maintainer:"} {
			w = strings.TrimPrefix(w, qualifier)
		}
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " "), number(rq.Query.Get("from"), 0, 1<<20), number(rq.Query.Get("size"), 20, 250)
}

func number(s string, def, limit int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return def
	}
	return min(n, limit)
}

type searchPackage struct {
	Name        string       `json:"name"`
	Scope       string       `json:"scope"`
	Version     string       `json:"version"`
	Description string       `json:"description,omitempty"`
	Keywords    []string     `json:"keywords,omitempty"`
	Date        string       `json:"date,omitempty"`
	Publisher   *searchUser  `json:"publisher,omitempty"`
	Maintainers []searchUser `json:"maintainers"` // npm search fails without it
	Links       struct{}     `json:"links"`
}

type searchUser struct {
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
}

type searchObject struct {
	Package     searchPackage `json:"package"`
	Score       searchScore   `json:"score"`
	SearchScore float64       `json:"searchScore"`
}

// searchScore is constant: a local catalogue knows nothing of popularity.
type searchScore struct {
	Final  float64 `json:"final"`
	Detail struct {
		Quality     float64 `json:"quality"`
		Popularity  float64 `json:"popularity"`
		Maintenance float64 `json:"maintenance"`
	} `json:"detail"`
}

// Results writes what is found among names held here, in the shape of
// /-/v1/search.
func (f *Format) Results(_ *formats.Request, hits []formats.SearchHit, total int) *formats.Reply {
	out := struct {
		Objects []searchObject `json:"objects"`
		Total   int            `json:"total"`
		Time    string         `json:"time,omitempty"`
	}{Objects: make([]searchObject, 0, len(hits)), Total: total}
	for _, hit := range hits {
		out.Objects = append(out.Objects, searchObject{Package: describe(hit), Score: searchScore{Final: 1}, SearchScore: 1})
	}
	body, err := json.Marshal(out)
	if err != nil { // strings and numbers only: cannot happen
		return formats.JSONReply(http.StatusInternalServerError, `{"error":"search failed"}`)
	}
	return formats.JSONReply(http.StatusOK, string(body))
}

func describe(hit formats.SearchHit) searchPackage {
	p := searchPackage{Name: hit.Name.Show(), Scope: "unscoped", Maintainers: []searchUser{}}
	if hit.Name.NS != "" {
		p.Scope = hit.Name.NS
	}
	if hit.Version != nil {
		p.Version = hit.Version.V
		if at := hit.Version.Published; !at.IsZero() {
			p.Date = stamp(at)
		}
		var user struct{ Name, Email string }
		if raw := find(hit.Version.Raw, "_npmUser"); raw != nil && json.Unmarshal(raw, &user) == nil && user.Name != "" {
			p.Publisher = &searchUser{user.Name, user.Email}
		} else if h := hit.Version.Hosting; h != nil && h.Publisher != "" {
			p.Publisher = &searchUser{Username: h.Publisher}
		}
	}
	said := func(key string) []byte { // of the package, else of its version
		if hit.Head != nil {
			if raw := find(hit.Head.Raw, key); raw != nil {
				return raw
			}
		}
		if hit.Version != nil {
			return find(hit.Version.Raw, key)
		}
		return nil
	}
	p.Description = text(said("description"))
	if raw := said("keywords"); raw != nil && json.Unmarshal(raw, &p.Keywords) != nil {
		p.Keywords = nil
	}
	var people []struct{ Name, Email string }
	if raw := said("maintainers"); raw != nil && json.Unmarshal(raw, &people) == nil {
		for _, m := range people {
			p.Maintainers = append(p.Maintainers, searchUser{m.Name, m.Email})
		}
	}
	return p
}
