package cargo

import (
	"encoding/json"
	"testing"

	"larder/formats"
	"larder/formats/cargo/cargotest"
	"larder/formats/formattest"
)

func TestConformance(t *testing.T) {
	const upstream = "https://registry.example/index/"
	r := cargotest.New()
	downloads := func(doc []byte) []string {
		var list struct {
			Versions []apiVersion `json:"versions"`
		}
		if err := json.Unmarshal(doc, &list); err != nil {
			t.Errorf("the version list is no JSON: %v", err)
		}
		var out []string
		for _, v := range list.Versions {
			out = append(out, v.DLPath)
		}
		return out
	}
	formattest.Run(t, New(), formattest.Spec{
		Connection: formats.Connection{Name: "public:crates-io", URL: upstream},
		Listings: []formattest.Listing{
			{Path: "ti/ny/tiny-core", URL: upstream + "ti/ny/tiny-core", Body: r.Index(cargotest.Core)},
			{Path: "ca/pi/capital-crate", URL: upstream + "ca/pi/capital-crate", Body: r.Index(cargotest.Capital)},
			{Path: "re/na/renamer", URL: upstream + "re/na/renamer", Body: r.Index(cargotest.Renamer)},
			{Path: "1/q", URL: upstream + "1/q", Body: r.Index(cargotest.One)},
			{Path: "api/v1/crates/Capital-Crate/versions", URL: upstream + "ca/pi/capital-crate", Body: r.Index(cargotest.Capital), URLs: downloads,
				OneWay: "the version list has fewer fields than the index"},
			{Path: "api/v1/crates/build-meta/versions", URL: upstream + "bu/il/build-meta", Body: r.Index(cargotest.Meta), URLs: downloads,
				OneWay: "the version list has fewer fields than the index"},
		},
		Assets: []string{"api/v1/crates/tiny-core/1.0.0/download", "api/v1/crates/Capital-Crate/0.2.0/download", "api/v1/crates/build-meta/0.1.0+meta.1/download"},
		Coordinates: []formattest.Coordinate{
			{Name: nameOf("tiny-core"), Version: "1.3.0-alpha.1"}, {Name: nameOf("Capital-Crate"), Version: "0.2.0"}, {Name: nameOf("build-meta"), Version: "0.1.0+meta.1"},
		},
		Docs: fixedDocs{text: `{"dl":"` + upstream + `dl","api":"` + upstream + `web"}`},
	})
}
