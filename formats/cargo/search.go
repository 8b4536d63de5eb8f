package cargo

import (
	"encoding/json"
	"net/http"
	"strconv"

	"larder/formats"
)

// Query reads q, page and per_page of a search (The Cargo Book, "Search";
// per_page is 10 by default, 100 at most).
func (*Format) Query(rq *formats.Request) (text string, from, size int) {
	size, err := strconv.Atoi(rq.Query.Get("per_page"))
	if err != nil || size < 1 {
		size = 10
	}
	size = min(size, 100)
	page, err := strconv.Atoi(rq.Query.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	page = min(page, 1<<20)
	return rq.Query.Get("q"), (page - 1) * size, size
}

// searchCrate has the fields that cargo search reads.
type searchCrate struct {
	Name        string `json:"name"`
	MaxVersion  string `json:"max_version"`
	Description string `json:"description"`
}

// Results answers a search from names held here. The index carries no
// description; crates that were published here have theirs in the head.
func (*Format) Results(_ *formats.Request, hits []formats.SearchHit, total int) *formats.Reply {
	answer := struct {
		Crates []searchCrate `json:"crates"`
		Meta   struct {
			Total int `json:"total"`
		} `json:"meta"`
	}{Crates: []searchCrate{}}
	answer.Meta.Total = total
	for _, hit := range hits {
		if hit.Version == nil {
			continue // cargo cannot show a crate without a version
		}
		name := hit.Name.Show()
		if hit.Head != nil && hit.Head.Display != "" {
			name = hit.Head.Display
		}
		crate := searchCrate{Name: name, MaxVersion: hit.Version.V}
		if hit.Head != nil {
			crate.Description = string(hit.Head.Aux)
		}
		answer.Crates = append(answer.Crates, crate)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return formats.JSONReply(http.StatusInternalServerError, `{"errors":[{"detail":"the search answer could not be written"}]}`)
	}
	return formats.JSONReply(http.StatusOK, string(body))
}
