package main

import "testing"

// TestCodeArtifactPackages are the checks of what a faithful server must pass
// about packages, upstreams and events, named by their numbers.
func TestCodeArtifactPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("checks with real clients do not run with -short")
	}
	s := newSite(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"15-login-npm", checkNpmLogin},
		{"16-login-npm-scope", checkNpmScope},
		{"17-login-pip", checkPipLogin},
		{"18-login-twine", checkTwineLogin},
		{"24-npm-republish", checkNpmRepublish},
		{"25-npm-tags", checkNpmTags},
		{"26-tarball-host", checkTarballHost},
		{"27-pypi-simple", checkSimpleAPI},
		{"28-twine-revisions", checkTwineRevisions},
		{"29-maven-deploy", checkMavenDeploy},
		{"30-maven-checksums", checkMavenChecksums},
		{"31-maven-snapshots", checkMavenSnapshots},
		{"32-cargo", checkCargo},
		{"46-twine-conflict", checkTwineConflict},
		{"35-generic", checkGeneric},
		{"36-version-lists", checkVersionLists},
		{"37-assets", checkAssets},
		{"38-status-moves", checkStatusMoves},
		{"40-copy", checkCopy},
		{"39-npm-statuses", checkNpmStatuses},
		{"41-retention", checkRetention},
		{"42-diamonds", checkDiamonds},
		{"43-upstream-down", checkUpstreamDown},
		{"44-before-retention", checkBeforeRetention},
		{"45-origin-controls", checkOriginControls},
		{"51-events", checkEvents},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, s)
		})
	}
}
