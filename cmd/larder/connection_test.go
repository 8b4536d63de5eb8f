package main

import (
	"reflect"
	"testing"
	"time"

	"larder/formats"
	"larder/proxy/upstream"
)

// TestDialerMapsEveryField fails when a setting of the dialler has no key, or a
// key is not handed on.
func TestDialerMapsEveryField(t *testing.T) {
	var conn Connection
	v := reflect.ValueOf(&conn).Elem()
	for f := range v.NumField() {
		switch field := v.Field(f); field.Interface().(type) {
		case string:
			field.SetString("x" + v.Type().Field(f).Name)
		case bool:
			field.SetBool(true)
		case int:
			field.SetInt(int64(100 + f))
		case Duration:
			field.Set(reflect.ValueOf(Duration{time.Duration(f+1) * time.Second}))
		case []string:
			field.Set(reflect.ValueOf([]string{v.Type().Field(f).Name}))
		case map[string]string:
			field.Set(reflect.ValueOf(map[string]string{"X": v.Type().Field(f).Name}))
		default:
			t.Fatalf("field %s has a type that this test does not know", v.Type().Field(f).Name)
		}
	}
	out := reflect.ValueOf(conn.dialer())
	for f := range out.NumField() {
		name := out.Type().Field(f).Name
		source, ok := v.Type().FieldByName(name)
		if !ok {
			t.Errorf("upstream.Connection.%s has no key in [[connection]]", name)
			continue
		}
		if got, want := out.Type().Field(f).Tag.Get("toml"), source.Tag.Get("toml"); got != want {
			t.Errorf("%s is %q there and %q here", name, got, want)
		}
		want := v.FieldByName(name).Interface()
		if d, ok := want.(Duration); ok {
			want = d.Duration
		}
		if got := out.Field(f).Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is handed on as %v, want %v", name, got, want)
		}
	}
}

// TestDialerDefaultsAgree: what the manual shows is what the dialler would do
// by itself.
func TestDialerDefaultsAgree(t *testing.T) {
	conn := defaultConnection()
	conn.Name, conn.URL = "public:npm", "https://registry.example/"
	client, err := upstream.New(upstream.Config{Connections: []upstream.Connection{conn.dialer()}})
	if err != nil {
		t.Fatal(err)
	}
	client.Close()

	none := Connection{Retries: 0, BreakerFailures: 0}
	if got := none.dialer(); got.Retries != -1 || got.BreakerFailures != -1 {
		t.Errorf("0 retries and failures are handed on as %d and %d, want -1 each, which is none there", got.Retries, got.BreakerFailures)
	}
}

func TestConnectionOf(t *testing.T) {
	conn := connectionOf("npm", formats.Registry{Name: "public:npm", URL: "http://ci:sesame@registry.example:8081/npm/",
		Options: map[string]string{"ca_file": "/etc/ca.pem", "scope": "@team", "url": "http://evil.example/", "unknown": "x"}})
	if conn.URL != "http://registry.example:8081/npm/" || conn.Username != "ci" || conn.Password != "sesame" {
		t.Errorf("the credential of the URL went to %+v", conn)
	}
	if conn.CAFile != "/etc/ca.pem" || conn.Options()["scope"] != "@team" || len(conn.Options()) != 1 {
		t.Errorf("the options became %+v and %v", conn, conn.Options())
	}
	if token := connectionOf("npm", formats.Registry{Options: map[string]string{"token": "t"}}); token.Token != "t" || len(token.Header) != 0 {
		t.Errorf("a token became %+v", token)
	}
	if bare := connectionOf("cargo", formats.Registry{Options: map[string]string{"token": "t"}}); bare.Token != "" || bare.Header["Authorization"] != "t" {
		t.Errorf("cargo's token, which has no scheme word, became %+v", bare)
	}
}
