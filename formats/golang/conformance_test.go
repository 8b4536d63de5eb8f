package golang

import (
	"testing"

	"larder/formats"
	"larder/formats/formattest"
	"larder/formats/golang/golangtest"
)

func TestConformance(t *testing.T) {
	const upstream = "https://registry.example/go/"
	formattest.Run(t, New(), formattest.Spec{
		Connection: formats.Connection{Name: "public:go-proxy", URL: upstream, Options: map[string]string{
			OptSumDB: golangtest.SumDBName, OptSumDBURL: "https://db.example/", OptNoSumDB: "secret.example"}},
		Listings: []formattest.Listing{
			{Path: "corp.example/plain/@v/list", URL: upstream + "corp.example/plain/@v/list", Body: []byte("v1.0.0 2025-01-01T00:00:00Z\nv1.1.0\nv2.0.0+incompatible\n")},
			{Path: "corp.example/%21burnt%21sushi/@v/list", URL: upstream + "corp.example/!burnt!sushi/@v/list", Body: []byte("v0.3.1\n")},
			{Path: "corp.example/plain/@latest", URL: upstream + "corp.example/plain/@latest",
				Body: []byte(`{"Version":"v1.1.0","Time":"2025-01-02T00:00:00Z","Origin":{"VCS":"git","URL":"https://corp.example/plain"}}`)},
		},
		Assets: []string{"corp.example/plain/@v/v1.0.0.info", "corp.example/plain/@v/v1.0.0.mod", "corp.example/%21burnt/v2/@v/v2.0.0-20250101000000-0123456789ab.zip"},
		Coordinates: []formattest.Coordinate{
			{Name: formats.Name{Canon: "corp.example/BurntSushi/toml"}, Version: "v1.4.0"},
			{Name: formats.Name{Canon: "corp.example/old"}, Version: "v2.0.0+incompatible"},
			{Name: formats.Name{Canon: "gopkg.in/yaml.v3"}, Version: "v3.0.0-20200313102051-9f266ea9e77c"},
		},
	})
}
