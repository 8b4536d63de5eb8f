package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSiteClientAuthorizes: the token of the configuration reaches the service
// and no other, and what a caller sets by itself does not.
func TestSiteClientAuthorizes(t *testing.T) {
	t.Setenv("HOOK_TOKEN", "s3cret")
	var got []string
	note := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(http.StatusNoContent)
	}
	srv := httptest.NewServer(http.HandlerFunc(note))
	defer srv.Close()
	other := httptest.NewServer(http.HandlerFunc(note))
	defer other.Close()

	client, err := DefaultConfig().siteClient(Connection{Name: "events.webhook", URL: srv.URL + "/hook", TokenEnv: "HOOK_TOKEN"}, false)
	if err != nil {
		t.Fatal(err)
	}
	post := func(url string) error {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		rq.Header.Set("Content-Type", "application/json")
		rq.Header.Set("Authorization", "Bearer of the caller")
		resp, err := client.Do(rq)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := post(srv.URL + "/hook"); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "POST /hook Bearer s3cret application/json {}" {
		t.Errorf("the service got %q", got)
	}
	if err := post(other.URL + "/hook"); err == nil {
		t.Errorf("a private address that the connection does not name was dialled: %q", got)
	}
}
