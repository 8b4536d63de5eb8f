package policy

import "testing"

func TestBlocks(t *testing.T) {
	r, err := New(Config{Blocks: []Block{
		{Format: "npm", Name: "@evil/*", Reason: "malware"},
		{Format: "npm", Name: "left-pad", Versions: []string{"1.3.0"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		format, name, version string
		want                  Verdict
		rule                  string
	}{
		{"npm", "left-pad", "1.2.0", Allow, "no-block"},
		{"npm", "left-pad", "1.3.0", Deny, "block[2]"},
		{"npm", "left-pad", "", Allow, "no-block"},
		{"npm", "@evil/x", "", Deny, "block[1]"},
		{"npm", "@evil/x", "9", Deny, "block[1]"},
		{"pypi", "@evil/x", "9", Allow, "no-block"},
		{"npm", "@evilx", "9", Allow, "no-block"},
	} {
		got := r.Decide(Resource{Format: c.format, Name: c.name, Version: c.version})
		if got.Verdict != c.want || got.Rule != c.rule {
			t.Errorf("%s %s@%s: got %v by %s, want %v by %s", c.format, c.name, c.version, got.Verdict, got.Rule, c.want, c.rule)
		}
	}
	var zero Decision
	if zero.Verdict != Deny {
		t.Error("the zero decision must deny")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Blocks: []Block{{Format: "npm"}}},
		{Blocks: []Block{{Format: "npm", Name: "[a"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: want an error", cfg)
		}
	}
}

func BenchmarkBlocks(b *testing.B) {
	r, _ := New(Config{Blocks: []Block{{Format: "npm", Name: "@evil/*"}, {Format: "npm", Name: "x", Versions: []string{"1"}}}})
	res := Resource{Format: "npm", Name: "left-pad", Version: "1.3.0"}
	b.ReportAllocs()
	for b.Loop() {
		r.Decide(res)
	}
}
