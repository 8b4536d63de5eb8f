package codeartifact

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	w := newWorld(t)
	var want []string
	w.must("CreateDomain", given{"domain": "main"})
	for i := range 7 {
		name := fmt.Sprintf("repo%d", i)
		want = append(want, name)
		w.must("CreateRepository", given{"domain": "main", "repository": name})
	}
	for _, c := range []struct{ size, pages int }{{1, 7}, {2, 4}, {3, 3}, {7, 1}, {1000, 1}} {
		got, pages := w.pages("ListRepositoriesInDomain", given{"domain": "main", "maxResults": c.size}, "repositories", "name")
		if got != strings.Join(want, " ") || pages != c.pages {
			t.Errorf("pages of %d: %s on %d pages, want %d", c.size, got, pages, c.pages)
		}
	}
	// The default is 50.
	for i := range 50 {
		w.must("CreateRepository", given{"domain": "main", "repository": fmt.Sprintf("x%02d", i)})
	}
	a := w.must("ListRepositories", given{})
	if l, _ := a.body["repositories"].([]any); len(l) != 50 || a.body["nextToken"] == nil {
		t.Errorf("%d repositories on a page without a size", len(l))
	}
	// An entry that goes between two pages moves nothing.
	a = w.must("ListRepositoriesInDomain", given{"domain": "main", "maxResults": 2})
	w.must("DeleteRepository", given{"domain": "main", "repository": "repo1"})
	a = w.must("ListRepositoriesInDomain", given{"domain": "main", "maxResults": 2, "nextToken": a.body["nextToken"]})
	if got := a.column("repositories", "name"); got != "repo2 repo3" {
		t.Errorf("after a deletion: %s", got)
	}
}

func TestTokenBelongsToItsRequest(t *testing.T) {
	w := newWorld(t)
	w.site("main", "aa", "bb", "cc")
	w.site("second", "aa", "bb", "cc")
	token := fmt.Sprint(w.must("ListRepositoriesInDomain", given{"domain": "main", "maxResults": 1}).body["nextToken"])
	w.must("ListRepositoriesInDomain", given{"domain": "main", "nextToken": token, "maxResults": 2})
	w.must("ListRepositoriesInDomain", given{"domain": "main", "nextToken": token, "domainOwner": account})
	const says = "nextToken"
	w.refused("ValidationException", says, "ListRepositoriesInDomain", given{"domain": "second", "nextToken": token})
	w.refused("ValidationException", says, "ListRepositoriesInDomain", given{"domain": "main", "nextToken": token, "repositoryPrefix": "aa"})
	w.refused("ValidationException", says, "ListRepositories", given{"nextToken": token})
	w.refused("ValidationException", says, "ListPackageGroups", given{"domain": "main", "nextToken": token})
	for _, bad := range []string{"x", "=", token + "A", token[1:], "YWJj", base64.StdEncoding.EncodeToString([]byte("++++????++++????"))} {
		w.refused("ValidationException", says, "ListRepositoriesInDomain", given{"domain": "main", "nextToken": bad})
	}
	if a := w.callAs(other, "ListDomains", given{"nextToken": token}); a.status != 400 {
		t.Errorf("another account's token: %d", a.status)
	}
}

// FuzzToken: a token that was not made for this request is refused, whatever it
// is; one that was comes back as its position.
func FuzzToken(f *testing.F) {
	f.Add("aa", "x")
	f.Add("npm\x00@scope/x", "AAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, position, token string) {
		if position == "" {
			return
		}
		c := &call{op: &operation{name: "ListDomains"}, caller: Caller{Account: account}, args: arguments{}}
		made, err := c.token(position)
		if err != nil {
			t.Fatal(err)
		}
		c.args["nextToken"] = made
		if got, err := c.position(); err != nil || got != position {
			t.Errorf("%q came back as %q (%v)", position, got, err)
		}
		if token == made {
			return
		}
		c.args["nextToken"] = token
		if got, err := c.position(); err == nil {
			if again, _ := c.token(got); again != token {
				t.Errorf("%q was taken for %q", token, got)
			}
		}
		c.op = &operation{name: "ListRepositories"}
		c.args["nextToken"] = made
		if _, err := c.position(); err == nil {
			t.Errorf("another operation takes the token of %q", position)
		}
	})
}
