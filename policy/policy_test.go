package policy

import "testing"

func TestDecide(t *testing.T) {
	r, err := New(Config{
		AnonymousRead: true,
		Tokens:        []Token{{"ci", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}, // "test"
		Blocks: []Block{
			{Format: "npm", Name: "@evil/*", Reason: "malware"},
			{Format: "npm", Name: "left-pad", Versions: []string{"1.3.0"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	anon, _ := r.Authenticate("")
	for _, c := range []struct {
		a                     Action
		format, name, version string
		want                  Verdict
		rule                  string
	}{
		{ReadFromRepository, "npm", "left-pad", "1.2.0", Allow, "read"},
		{ReadFromRepository, "npm", "left-pad", "1.3.0", Deny, "block[2]"},
		{ReadFromRepository, "npm", "left-pad", "", Allow, "read"},
		{ReadFromRepository, "npm", "@evil/x", "", Deny, "block[1]"},
		{ReadFromRepository, "npm", "@evil/x", "9", Deny, "block[1]"},
		{ReadFromRepository, "pypi", "@evil/x", "9", Allow, "read"},
		{ReadFromRepository, "npm", "@evilx", "9", Allow, "read"},
		{PublishPackageVersion, "npm", "mine", "1", Deny, "no-publish"},
	} {
		got := r.Decide(anon, c.a, Resource{Format: c.format, Name: c.name, Version: c.version})
		if got.Verdict != c.want || got.Rule != c.rule {
			t.Errorf("%s %s %s@%s: got %v by %s, want %v by %s", c.a, c.format, c.name, c.version, got.Verdict, got.Rule, c.want, c.rule)
		}
	}
	if p, ok := r.Authenticate("test"); !ok || p.Name != "ci" {
		t.Errorf("token: got %v %v", p, ok)
	}
	if _, ok := r.Authenticate("tesT"); ok {
		t.Error("a wrong token was accepted")
	}
	closed, _ := New(Config{})
	if closed.Decide(anon, ReadFromRepository, Resource{Format: "npm", Name: "x"}).Verdict != Deny {
		t.Error("anonymous read must be denied by default")
	}
	var zero Decision
	if zero.Verdict != Deny {
		t.Error("the zero decision must deny")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Tokens: []Token{{"x", "12"}}},
		{Tokens: []Token{{"", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}},
		{Blocks: []Block{{Format: "npm"}}},
		{Blocks: []Block{{Format: "npm", Name: "[a"}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: want an error", cfg)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	r, _ := New(Config{AnonymousRead: true, Blocks: []Block{{Format: "npm", Name: "@evil/*"}, {Format: "npm", Name: "x", Versions: []string{"1"}}}})
	p, _ := r.Authenticate("")
	res := Resource{Format: "npm", Name: "left-pad", Version: "1.3.0"}
	b.ReportAllocs()
	for b.Loop() {
		r.Decide(p, ReadFromRepository, res)
	}
}
