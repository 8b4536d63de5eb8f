package main

import "testing"

// A connection that carries a credential is not everybody's to associate.
func TestPrivateConnections(t *testing.T) {
	cfg := &Config{Connection: []Connection{
		{Name: "open", Format: "npm"},
		{Name: "token", Format: "npm", TokenEnv: "T"},
		{Name: "user", Format: "npm", Username: "u"},
		{Name: "header", Format: "npm", HeaderEnv: map[string]string{"X-Key": "K"}},
		{Name: "lent", Format: "npm", TokenFile: "f", Shared: true},
	}}
	got := connectionsOf(cfg)
	for name, want := range map[string]bool{"open": false, "token": true, "user": true, "header": true, "lent": false, "public:npmjs": false} {
		if got.private[name] != want {
			t.Errorf("%s: private %v, want %v", name, got.private[name], want)
		}
	}
	if len(got.formats) != 5 || got.formats["lent"] != "npm" {
		t.Errorf("formats: %v", got.formats)
	}
}
