package proxy_test

import (
	"fmt"
	"net/http"
	"testing"

	"larder/formats/maven/maventest"
)

// TestUnionAsksAllPlaces: the places of a united name are asked at one time and
// share one answer; the race detector watches what they share.
func TestUnionAsksAllPlaces(t *testing.T) {
	const names = 24
	first, second := maventest.Empty(), maventest.Empty()
	for i := range names {
		first.Add(maventest.Package{Group: maventest.Group, Artifact: fmt.Sprintf("both%d", i), Version: "1.0"})
		second.Add(maventest.Package{Group: maventest.Group, Artifact: fmt.Sprintf("both%d", i), Version: "2.0"})
	}
	w, _ := newWorldOf(t, "maven", first, second)
	for i := range names {
		w.want(w.get(fmt.Sprintf("%sboth%d/maven-metadata.xml", mavenDir, i)), http.StatusOK,
			"<version>1.0</version>", "<version>2.0</version>")
	}
}
